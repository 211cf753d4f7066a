"""URLs from a file against a real master."""

import json

import pytest
from tests.support.process import eventually
from zspider.task import ADD_URLS_MAX, URL_BYTES_MAX

SCRIPT = """\
from zspider import BaseHandler


class Handler(BaseHandler):
    def page(self, response):
        return {"text": response.text}
"""


@pytest.fixture
def project(ask, tmp_path, request):
    """A project of its own for each test, which is not worked on."""
    path = tmp_path / f"{request.node.originalname[-50:]}.py"
    path.write_text(SCRIPT)
    ask("project", "push", path, "--status", "STOP")
    return path.stem


def counts(ask, project):
    return json.loads(ask("project", "show", project, "--json").out)["counts"]


def test_urls_of_a_file_wait_once_however_often_it_is_given(ask, project, tmp_path):
    file = tmp_path / "urls.txt"
    number = 2 * ADD_URLS_MAX + 1
    file.write_text("\n".join(f"http://example.org/{n}" for n in range(number)) + "\n\n")
    first = json.loads(ask("tasks", "add", project, "--file", file, "--callback", "page", "--json").out)
    assert first == {"added": number, "dropped": 0, "skipped": 0}
    again = ask("tasks", "add", project, "--file", file, "--callback", "page").out
    assert again == f"{project}: 0 added, {number} dropped, 0 skipped\n"
    assert counts(ask, project)["waiting"] == number
    forced = ask("tasks", "add", project, "--file", file, "--callback", "page", "--force", "--json").out
    assert json.loads(forced)["added"] == number


def test_the_tasks_are_what_crawl_makes_of_the_url(ask, project, tmp_path):
    file = tmp_path / "urls.txt"
    file.write_text("http://example.org/\u4e2d?q=1\n", encoding="utf-8")
    ask("tasks", "add", project, "--file", file, "--callback", "page", "--priority", 3, "--age", 60)
    (row,) = json.loads(ask("tasks", project, "--json").out)
    task = json.loads(ask("task", project, row["taskid"], "--json").out)
    assert row["url"] == "http://example.org/%E4%B8%AD?q=1"
    assert task["process"] == {"callback": "page"}
    assert (task["priority"], task["age_ms"]) == (3, 60_000)
    assert task["schedule"] == {"priority": 3, "age": 60}


def test_long_urls_travel_in_requests_that_the_master_takes(ask, project, tmp_path):
    file = tmp_path / "urls.txt"
    file.write_text("".join(f"http://example.org/{n:08000}\n" for n in range(600)))
    answer = json.loads(ask("tasks", "add", project, "--file", file, "--callback", "page", "--json").out)
    assert answer["added"] == 600


def test_lines_that_are_no_urls_are_told_and_skipped(ask, project, tmp_path):
    file = tmp_path / "urls.txt"
    file.write_text(f"data:,one\nnonsense\x1b[2J\nhttp://example.org/{'x' * URL_BYTES_MAX}\ndata:,two\n")
    ran = ask("tasks", "add", project, "--file", file, "--callback", "page", code=1)
    assert ran.out == f"{project}: 2 added, 0 dropped, 2 skipped\n"
    assert "line 2, nonsense\\x1b[2J" in ran.err
    assert "line 3, " in ran.err


def test_a_file_that_is_no_text_and_a_project_that_is_not_there_are_one_line(ask, project, tmp_path):
    file = tmp_path / "urls.bin"
    file.write_bytes(b"\xff\xfe")
    assert len(ask("tasks", "add", project, "--file", file, "--callback", "page", code=2).err.splitlines()) == 1
    file.write_text("data:,one\n")
    assert len(ask("tasks", "add", "nobody", "--file", file, "--callback", "page", code=1).err.splitlines()) == 1


def test_what_is_added_is_crawled(ask, project, tmp_path):
    file = tmp_path / "urls.txt"
    file.write_text("data:,one\ndata:,two\n")
    ask("project", "set", project, "--status", "RUNNING")
    ask("tasks", "add", project, "--file", file, "--callback", "page")

    def texts():
        lines = ask("results", project, "--format", "jsonl").out.splitlines()
        return {json.loads(line)["result"]["text"] for line in lines}

    eventually(lambda: texts() == {"one", "two"}, 30, "both results are there")
