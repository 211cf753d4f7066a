"""The examples do what their comments say, on pages of the demo site."""

import json
from pathlib import Path

import pytest
from tests.support.scripts import page
from zspider.roles.demo_site import Site
from zspider.script.loader import LoadedScript, load
from zspider.script.pyspider import shim
from zspider.script.runner import RunResult, run

EXAMPLES = Path(__file__).parents[3] / "examples"
HOST = "http://127.0.0.1:8000"
SITE = Site(250)


def example(name: str) -> LoadedScript:
    shim.install()
    return load({"name": name, "status": "RUNNING"}, (EXAMPLES / f"{name}.py").read_text())


def visit(script: LoadedScript, callback: str, path: str, **result) -> RunResult:
    content = SITE.page(path)
    assert content is not None
    outcome = run(script, *page(callback, content, url=HOST + path, **result))
    assert outcome.reason == ""
    return outcome


def test_article_submits_all_pages_and_takes_titles():
    script = example("article")
    started = run(script, *page("on_start", url="data:,on_start"))
    assert started.follows_count == 11_110
    assert (started.follows[0].url, started.follows[0].priority) == (f"{HOST}/article/1.html", 2)
    (result,) = visit(script, "detail_page", "/article/7.html").results
    assert json.loads(result)["url"] == f"{HOST}/article/7.html"
    assert json.loads(result)["title"].startswith("Article 7: ")


def test_shelves_leads_from_lists_to_details():
    script = example("shelves")
    assert script.info().min_tick == 86400
    (start,) = run(script, *page("on_start", url="data:,on_start")).follows
    assert start.url == f"{HOST}/index.html"
    shelves = visit(script, "start_page", "/index.html").follows
    assert [shelf.url for shelf in shelves] == [f"{HOST}/index/{n}.html" for n in (1, 2, 3)]
    assert shelves[0].age_ms == 12 * 3600 * 1000
    articles = visit(script, "shelf_page", "/index/3.html").follows
    assert [article.url for article in articles] == [f"{HOST}/article/{n}.html" for n in range(201, 251)]
    (result,) = visit(script, "article_page", "/article/201.html", save={"shelf": shelves[2].url}).results
    article = json.loads(result)
    assert article["shelf"] == f"{HOST}/index/3.html"
    assert len(article["sections"]) >= 5


@pytest.mark.parametrize("name", [path.stem for path in EXAMPLES.glob("*.py")])
def test_every_example_can_be_loaded(name):
    assert example(name).info().error == ""
