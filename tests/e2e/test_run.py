"""`zspiderd run`: one command from a script to its results, and again."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from tests.support.addresses import free_port
from tests.support.cluster import ARTICLE, ZSPIDERD, expected_article_urls, urls_of, zspiderd
from tests.support.nginx import Nginx
from tests.support.process import ROOT, Process, eventually

ALL = 11_110
FAST = ("--rate", "100000", "--burst", "100000")


def results(script: Path, data_dir: Path) -> list[dict[str, object]]:
    """What the verb `results` writes, while no master runs."""
    exported = zspiderd("results", script.stem, "--data-dir", data_dir)
    assert exported.code == 0, str(exported)
    return [json.loads(line) for line in exported.out.splitlines()]


@pytest.mark.timeout(300)
def test_the_tour_s_first_command_ends_with_every_article_and_says_so_again(tmp_path: Path) -> None:
    script = tmp_path / "article.py"
    port = free_port()
    text = (ROOT / "examples" / "article.py").read_text()
    script.write_text(text.replace(":8000/", f":{port}/"))
    first = zspiderd("run", "--demo-site", "--demo-port", str(port), script)
    assert first.code == 0, str(first)
    assert "11,110 results" in first.out, str(first)
    assert first.out.count("/article/") >= 5, "the first five results are shown"
    titles = {row["result"]["title"] for row in results(script, tmp_path / "article.py.zspider")}  # type: ignore[index]
    assert len(titles) == ALL

    again = zspiderd("run", "--demo-site", "--demo-port", str(port), script)
    assert again.code == 0, str(again)
    assert "all is done already" in again.out
    assert "11,110 results" in again.out


def test_a_run_fetches_every_page_once_and_stores_url_and_title(site: Nginx, tmp_path: Path) -> None:
    pages = 2000
    script = tmp_path / "article.py"
    script.write_text(ARTICLE.format(site=site.url, pages=pages))
    ran = zspiderd("run", script, *FAST)
    assert ran.code == 0, str(ran)
    stored = results(script, tmp_path / "article.py.zspider")
    assert urls_of(stored) == expected_article_urls(site.url, pages)
    row = next(row for row in stored if str(row["url"]).endswith("/article/7.html"))
    assert row["result"]["url"] == row["url"]  # type: ignore[index]
    assert row["result"]["title"].startswith("Article 7: ")  # type: ignore[index]
    assert set(site.counts().values()) == {1}

    site.forget()
    assert zspiderd("run", script, *FAST).code == 0
    assert site.requests() == []  # nothing is left to do
    fresh = zspiderd("run", "--fresh", script, *FAST)
    assert fresh.code == 0, str(fresh)
    assert len(site.requests()) == pages


def test_a_run_without_a_rate_goes_at_pyspider_s_pace_and_says_what_holds_it_back(site: Nginx, tmp_path: Path) -> None:
    script = tmp_path / "article.py"
    script.write_text(ARTICLE.format(site=site.url, pages=9))
    ran = zspiderd("run", script)
    assert ran.code == 0, str(ran)
    assert "limited by rate 1/s" in ran.err, str(ran)
    moments = [request.time_s for request in site.requests()]
    assert len(moments) == 9
    # A burst of 3, of which on_start may take one, then one a second.
    assert moments[-1] - moments[0] > 4.0


def test_the_rate_lines_of_a_script_count_and_flags_count_more(site: Nginx, tmp_path: Path) -> None:
    script = tmp_path / "article.py"
    script.write_text("# rate: 5000\n# burst: 5000\n" + ARTICLE.format(site=site.url, pages=300))
    assert zspiderd("run", script).code == 0
    moments = [request.time_s for request in site.requests()]
    assert len(moments) == 300
    assert moments[-1] - moments[0] < 30  # 300 s at the default
    site.forget()
    assert zspiderd("run", "--fresh", script, "--rate", "60", "--burst", "1").code == 0
    moments = [request.time_s for request in site.requests()]
    assert moments[-1] - moments[0] >= 4.7  # 300 pages at 60 a second


def test_a_killed_run_goes_on_where_it_was(site: Nginx, tmp_path: Path) -> None:
    pages = 1500
    script = tmp_path / "article.py"
    script.write_text(ARTICLE.format(site=site.url, pages=pages))
    with Process([*ZSPIDERD, "run", script, "--rate", "300", "--burst", "20"]) as killed:
        eventually(lambda: site.answered() > 400, 40, "the crawl is under way")
        family = killed.family()
        assert len(family) >= 4  # run, master, slave, processors
        killed.kill()
        eventually(lambda: not any(one.is_running() for one in family), 60, "what the run started has ended with it")
    ran = zspiderd("run", script, *FAST)
    assert ran.code == 0, str(ran)
    assert "going on where the last run stopped" in ran.err, str(ran)
    data_dir = tmp_path / "article.py.zspider"
    assert urls_of(results(script, data_dir)) == expected_article_urls(site.url, pages)
    with closing(sqlite3.connect(data_dir / "zspider.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
