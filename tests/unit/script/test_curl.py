"""curl commands: what browsers copy, what people write, and how bash cuts them into words."""

import os
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.scripts import crawled
from zspider.script.crawl.bash_words import split_words
from zspider.script.crawl.curl import curl_to_arguments

# As Chrome 138 writes it ("Copy as cURL (bash)")
CHROME = r"""curl 'https://shop.example/api/cart?ids\[\]=7&q=%C3%BC' \
  -X 'PUT' \
  -H 'accept: application/json, text/plain, */*' \
  -H 'accept-language: de-DE,de;q=0.9' \
  -H 'content-type: application/json' \
  -b 'sid=ab12; theme="dark"' \
  -H 'origin: https://shop.example' \
  -H 'priority: u=1, i' \
  -H 'sec-ch-ua: "Not)A;Brand";v="8", "Chromium";v="138"' \
  -H 'x-empty;' \
  -H $'x-note: it\'s \u0021' \
  --data-raw $'{"text":"it\'s 5 o\'clock\u0021\\n","smile":"\ud83d\ude00","name":"Zo\u00eb M\u00fcller"}' \
  --insecure"""

# As Chrome writes a form with a file, whose body holds what is no text
CHROME_MULTIPART = r"""curl 'https://shop.example/upload' \
  -H 'content-type: multipart/form-data; boundary=----WebKitFormBoundaryAB' \
  --data-raw $'------WebKitFormBoundaryAB\r\nContent-Disposition: form-data; name="f"; filename="a.bin"\r\n\r\n\xff\x00\u0001\r\n------WebKitFormBoundaryAB--\r\n' \
  --compressed"""  # noqa: E501

# As Firefox 140 writes it ("Copy as cURL (POSIX)")
FIREFOX = r"""curl 'https://forum.example/login.php?next=%2F' --compressed -X POST -H 'User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0' -H 'Accept-Encoding: gzip, deflate, br, zstd' -H 'Content-Type: application/x-www-form-urlencoded' -H 'Cookie: a=1' -H 'TE: trailers' --data-raw 'user=jo&pass=%26x'"""  # noqa: E501


def test_what_chrome_copies_is_read():
    assert curl_to_arguments(CHROME) == {
        "urls": ["https://shop.example/api/cart?ids[]=7&q=%C3%BC"],
        "method": "PUT",
        "headers": {
            "accept": "application/json, text/plain, */*",
            "accept-language": "de-DE,de;q=0.9",
            "content-type": "application/json",
            "Cookie": 'sid=ab12; theme="dark"',
            "origin": "https://shop.example",
            "priority": "u=1, i",
            "sec-ch-ua": '"Not)A;Brand";v="8", "Chromium";v="138"',
            "x-empty": "",
            "x-note": "it's !",
        },
        "data": '{"text":"it\'s 5 o\'clock!\\n","smile":"😀","name":"Zoë Müller"}',
        "validate_cert": False,
    }


def test_a_copied_body_that_is_no_text_stays_as_it_is():
    arguments = curl_to_arguments(CHROME_MULTIPART)
    assert arguments["data"] == (
        b'------WebKitFormBoundaryAB\r\nContent-Disposition: form-data; name="f"; filename="a.bin"\r\n\r\n'
        b"\xff\x00\x01\r\n------WebKitFormBoundaryAB--\r\n"
    )
    assert (arguments["method"], arguments["use_gzip"]) == ("POST", True)


def test_what_firefox_copies_is_read():
    assert curl_to_arguments(FIREFOX) == {
        "urls": ["https://forum.example/login.php?next=%2F"],
        "use_gzip": True,
        "method": "POST",
        "headers": {
            "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
            "Accept-Encoding": "gzip, deflate, br, zstd",
            "Content-Type": "application/x-www-form-urlencoded",
            "Cookie": "a=1",
            "TE": "trailers",
        },
        "data": "user=jo&pass=%26x",
    }


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", {}),
        ("-XPOST", {"method": "POST"}),
        ("-X POST", {"method": "POST"}),
        ("--request=POST", {"method": "POST"}),
        ("-sSL", {"allow_redirects": True}),
        ("-skXPOST -d a", {"validate_cert": False, "method": "POST", "data": "a"}),
        ("-sSLo /dev/null", {"allow_redirects": True}),
        ("-I", {"method": "HEAD"}),
        ("--location --insecure --http2 -v", {"allow_redirects": True, "validate_cert": False}),
        ("-d a=1 --data b=2 --data-ascii c", {"data": "a=1&b=2&c", "method": "POST"}),
        ("--data-raw @literal", {"data": "@literal", "method": "POST"}),
        ("--data-binary '$1'", {"data": "$1", "method": "POST"}),
        ("-d ''", {"data": "", "method": "POST"}),
        ("--data-urlencode 'q=a b&ü~'", {"data": "q=a+b%26%C3%BC~", "method": "POST"}),
        ("--data-urlencode 'a b' --data-urlencode '=c='", {"data": "a+b&c%3D", "method": "POST"}),
        ("-G -d q=1 --data-urlencode 'w=ü x'", {"params": "q=1&w=%C3%BC+x"}),
        (
            "--json '{}'",
            {
                "data": "{}",
                "method": "POST",
                "headers": {"Content-Type": "application/json", "Accept": "application/json"},
            },
        ),
        ("-H 'A: b' -H 'C;' -H 'D:' -H junk -H 'a: 2'", {"headers": {"A": "2", "C": "", "D": ""}}),
        ("-A me -e http://r/;auto", {"headers": {"User-Agent": "me", "Referer": "http://r/"}}),
        ("-u jo:p:w", {"headers": {"Authorization": "Basic am86cDp3"}}),
        ("-H 'cookie: a=1' -b b=2", {"headers": {"cookie": "a=1; b=2"}}),
        ("--max-time 2.5 --connect-timeout 1 -m 3", {"timeout": 3.0, "connect_timeout": 1.0}),
        ("--max-redirs 2", {"max_redirects": 2}),
        ("-x socks5://p:1080 -U 'u@x:pw'", {"proxy": "socks5://u%40x:pw@p:1080"}),
        ("--proxy p:3128", {"proxy": "p:3128"}),
        ("-F a=1 -F 'b=2;type=text/csv'", {"files": [("a", (None, "1")), ("b", (None, "2", "text/csv"))]}),
        ('-F \'a="x;y";filename="n.txt"\'', {"files": [("a", ("n.txt", "x;y"))]}),
        ("--form-string 'a=@x;type=y'", {"files": [("a", (None, "@x;type=y"))]}),
    ],
)
def test_an_option_is_read(words, expected):
    assert curl_to_arguments(f"curl http://a.com/x {words}") == {"urls": ["http://a.com/x"], **expected}


def test_several_urls_and_a_glob_that_is_none():
    assert curl_to_arguments("curl http://a/1 --url http://a/2")["urls"] == ["http://a/1", "http://a/2"]
    assert curl_to_arguments(r"curl 'http://a/\{x\}'")["urls"] == ["http://a/{x}"]
    assert curl_to_arguments(r"curl -g 'http://a/\{x\}'")["urls"] == [r"http://a/\{x\}"]


@pytest.mark.parametrize(
    ("command", "error", "text"),
    [
        ("curl -Z http://a/", TypeError, "Unknow curl option: -Z"),
        ("curl -sZ http://a/", TypeError, "Unknow curl option: -sZ"),
        ("curl - http://a/", TypeError, "Unknow curl option: -"),
        ("curl --resolve=x http://a/", TypeError, "Unknow curl option: --resolve=x"),
        ("curl --location=x http://a/", TypeError, "Unknow curl option: --location=x"),
        ("curl -L", TypeError, "curl: no URL specified!"),
        ("curl http://a/ -H", TypeError, "curl: option -H needs a value"),
        ("curl http://a/ --data", TypeError, "curl: option --data needs a value"),
        ("curl http://a/ -d @f", TypeError, "curl: data from a file is not read: @f"),
        ("curl http://a/ --data-urlencode n@f", TypeError, "curl: data from a file is not read: n@f"),
        ("curl http://a/ -b jar.txt", TypeError, "curl: cookies from a file are not read: jar.txt"),
        ("curl http://a/ -H @f", TypeError, "curl: headers from a file are not read: @f"),
        ("curl http://a/ -F f=@f", TypeError, "curl: a form field from a file is not read: f=@f"),
        ("curl http://a/ -F f", TypeError, "curl: a form field is name=content, not 'f'"),
        ("curl http://a/ -F f=1 -d x", TypeError, "curl: data and a form are two bodies, one request has one"),
        ("curl http://a/ -m soon", TypeError, "curl: timeout must be a number, not 'soon'"),
        ("curl 'http://a/", ValueError, "No closing quotation"),
    ],
)
def test_what_cannot_be_done_is_said(command, error, text):
    with pytest.raises(error) as caught:
        curl_to_arguments(command)
    assert str(caught.value) == text


def test_crawl_takes_a_curl_command_and_the_caller_wins():
    [follow] = crawled("crawl('curl http://a.com/ -F a=1 -H \"A: b\" -m 5', timeout=9, headers={'C': 'd'})")
    assert follow["fetch"]["timeout"] == 9
    assert b'name="a"\r\n\r\n1\r\n' in follow["fetch"]["data"]
    assert set(follow["fetch"]["headers"]) == {"C", "Content-Type"}
    [follow] = crawled("crawl('curl http://a.com/?z=1 -G -d q=ü')")
    assert (follow["url"], follow["fetch"]) == ("http://a.com/?z=1&q=%C3%BC", {})


# --- words -----------------------------------------------------------------------------------------

_PLAIN = st.text("abü= \t!#-", max_size=4)
_ESCAPES = st.sampled_from(
    [r"\n", r"\t", r"\\", r"\'", r"\"", r"\?", r"\a", r"\e", r"\x41", r"\xc3\xbc", r"\xff", r"\101", r"\303\274"]
) | st.sampled_from([r"\u00fc", r"\u4e2d", r"\u21", r"\U0001f600", r"\cA", r"\q", "ü"])
_DOUBLE = st.sampled_from([r"\"", r"\\", r"\$", r"\`", r"\n", "'", "x y", "\\\n", "ü", "#"])
_PIECES = st.one_of(
    _PLAIN.map(lambda text: f"'{text}'"),
    st.lists(_ESCAPES, max_size=5).map(lambda parts: "$'" + "".join(parts) + "'"),
    st.lists(_DOUBLE, max_size=5).map(lambda parts: '"' + "".join(parts) + '"'),
    st.sampled_from(["a", "-H", "ü", "x=1", r"\'", r"\ ", r"\\", "\\\n", " ", "  ", "\t", " \\\n  "]),
)


@settings(max_examples=40, deadline=None)  # each one is a bash
@given(st.lists(st.lists(_PIECES, max_size=8).map("".join), min_size=1, max_size=40))
def test_words_are_cut_as_bash_cuts_them(commands):
    script = "say() { printf '%s\\0' $# \"$@\"; }\n" + "\n".join(f"say {command}\n:" for command in commands)
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        capture_output=True,
        timeout=30,
        check=True,
        env={"LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]},
    )
    said = iter(done.stdout.split(b"\0"))
    for command in commands:
        assert [next(said) for _ in range(int(next(said)))] == [os.fsencode(word) for word in split_words(command)]


def test_a_lone_half_of_a_character_is_replaced():
    assert split_words(r"$'\ud83d' $'\udc00'") == ["\ufffd", "\ufffd"]
    assert split_words("a\\\r\nb 'c\nd' \\") == ["ab", "c\nd"]
