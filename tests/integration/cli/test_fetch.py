"""`zspiderd fetch` against a real server: what is sent, what is shown, how it ends."""

import errno
import json
import os
import pty
import subprocess

import pytest
from tests.support.addresses import free_port
from tests.support.cluster import ZSPIDERD
from tests.support.process import environment, run
from tests.support.site import Site

ESC = b"\x1b]0;owned\x07"


def fetch(*arguments, code=0, env=None):
    ran = run([*ZSPIDERD, "fetch", *map(str, arguments)], env=env)
    assert ran.code == code, ran
    return ran


def refused(*arguments):
    ran = fetch(*arguments, code=2)
    assert (ran.out, ran.err.count("\n")) == ("", 1), ran
    return ran.err


def test_status_redirects_encoding_headers_and_text_are_shown(site):
    ran = fetch(site.url("/redirect?to=/hello&code=301"))
    head, headers, text = ran.out.split("\n\n")
    assert head.splitlines()[:3] == [
        "HTTP 200 OK",
        f"url        {site.url('/hello')}",
        f"redirect   301 {site.url('/redirect?to=/hello&code=301')}",
    ]
    assert "size       5 bytes" in head
    assert head.endswith("encoding   utf-8 (Content-Type header)")
    assert headers == "Content-Type: text/html; charset=utf-8\nContent-Length: 5"
    assert text == "hello\n"


def test_the_options_are_what_is_sent(site):
    options = ["-H", "X-One: 1", "--header", "Cookie: a=b", "--user-agent", "tester", "--data", "q=ü"]
    asked = json.loads(json.loads(fetch(site.url("/echo"), *options, "--json").out)["content"])
    assert (asked["method"], asked["body"].encode("latin-1").decode()) == ("POST", "q=ü")
    sent = {name.lower(): value for name, value in asked["headers"].items()}
    assert (sent["x-one"], sent["cookie"], sent["user-agent"]) == ("1", "a=b", "tester")
    fetch(site.url("/echo"), "--method", "put", "--proxy", f"127.0.0.1:{site.port}")
    assert (site.log[-1].method, site.log[-1].target) == ("PUT", site.url("/echo"))


def test_a_curl_command_is_sent_as_a_browser_copied_it(site):
    command = f"curl '{site.url('/echo')}' -H 'accept: text/x' -b 'k=v' --data-raw 'a=1' --compressed"
    fetch(command)
    asked = site.log[-1]
    assert (asked.method, asked.header("accept"), asked.header("cookie")) == ("POST", "text/x", "k=v")
    assert asked.body == b"a=1"


def test_an_environment_for_slaves_counts(site):
    fetch(site.url("/hello"), env={"ZSPIDER_FETCH__USER_AGENT": "ours/1"})
    assert site.log[-1].header("user-agent") == "ours/1"


def test_any_status_is_an_answer_and_a_redirect_can_be_looked_at(site):
    assert fetch(site.url("/status/503")).out.startswith("HTTP 503 Service Unavailable\n")
    ran = fetch(site.url("/redirect?to=/hello"), "--no-redirects")
    assert ran.out.startswith("HTTP 302 Found\n")
    assert "\nLocation: /hello\n" in ran.out


def test_what_cannot_be_fetched_is_one_line_and_exit_code_1(site):
    address = f"http://127.0.0.1:{free_port()}/"
    for url, text, options in (
        (address, "Could not connect", ()),
        (site.url("/redirect-loop"), "Maximum (5) redirects followed", ()),
        (site.url("/silent"), "timed out", ("--timeout", "0.3")),
    ):
        ran = fetch(url, *options, code=1)
        assert (ran.out, ran.err.count("\n")) == ("", 1)
        assert ran.err.startswith(f"zspiderd: {url}: HTTP 599: ")
        assert text in ran.err
    ran = fetch(site.url("/redirect-loop"), "--json", code=1)
    told = json.loads(ran.out)
    assert (told["status_code"], len(told["redirects"])) == (599, 6)
    assert "Maximum (5) redirects" in ran.err


def test_a_certificate_nobody_knows_is_taken_only_when_asked():
    with Site(tls=True) as secure:
        url = secure.url("/hello", host="localhost")
        assert "certificate" in fetch(url, code=1).err
        assert fetch(url, "--insecure").out.endswith("\n\nhello\n")


def test_the_body_is_written_as_it_came(site, tmp_path):
    file = tmp_path / "body"
    ran = fetch(site.url("/gzip"), "--body", file)
    assert file.read_bytes() == b"packed " * 100
    assert "packed" not in ran.out


def test_a_terminal_gets_the_beginning_of_a_long_page_unless_all_is_wanted(site):
    url = site.url("/bytes?n=9000")
    shown = at_a_terminal(url)
    assert "... (5,000 characters more: --all shows them)" in shown
    assert shown.count("x" * 4000) == 1
    assert at_a_terminal(url, "--all").count("x") >= 9000
    assert fetch(url).out.endswith("x" * 9000 + "\n")  # a pipe gets all of it


def at_a_terminal(*arguments):
    """All that `zspiderd fetch` shows on a terminal."""
    ours, theirs = pty.openpty()
    shown = b""
    with subprocess.Popen([*ZSPIDERD, "fetch", *arguments], stdin=theirs, stdout=theirs, env=environment()) as process:
        os.close(theirs)
        try:
            while data := os.read(ours, 65536):
                shown += data
        except OSError as exc:  # how a terminal ends whose other side is closed
            if exc.errno != errno.EIO:
                raise
        assert process.wait(20) == 0
    os.close(ours)
    return shown.decode()


def test_a_page_does_not_act_on_the_terminal(site):
    raw = b"HTTP/1.1 200 O" + ESC + b"K\r\nX-Evil: " + ESC + b"\r\nContent-Type: text/plain\r\n\r\nline\r\n\tx" + ESC
    ran = fetch(site.url(f"/raw?hex={raw.hex()}"))
    assert ran.out.endswith("\n\nline\n\tx\\x1b]0;owned\\x07\n")
    assert "\x1b" not in ran.text
    assert json.loads(fetch(site.url(f"/raw?hex={raw.hex()}"), "--json").out)["content"].endswith(ESC.decode())


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["example.com"], "not a URL: 'example.com'"),
        (["ftp://example.com/"], "scheme 'ftp' is not fetched, only http and https are"),
        (["curl http://a/ http://b/"], "one URL is wanted, got 2"),
        (["curl http://a/ --foo"], "Unknow curl option: --foo"),
        (["http://a/", "-H", "nonsense"], "-H: 'NAME: VALUE' is wanted, got 'nonsense'"),
        (["http://a/", "-H", "a b: c"], "invalid header name 'a b'"),
        (["http://a/", "--method", "G T"], "unknown method 'G T'"),
        (["http://a/", "--proxy", "no proxy"], "invalid proxy, expected [user:password@]host[:port]"),
        (["http://a/", "--timeout", "0"], "Invalid value for '--timeout'"),
        (["data:,x", "--body", "/none/of/this"], "/none/of/this: cannot be written: No such file or directory"),
    ],
)
def test_wrong_usage_is_one_line_that_names_the_value(arguments, text):
    assert text in refused(*arguments)
