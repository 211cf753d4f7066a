"""Results as files: what is written for whom."""

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zspider.cli.exports import FORMATS, Checked, write
from zspider.json_text import json_fault

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


def rows(*results, url="http://e/1"):
    return [
        {
            "taskid": f"t{at}",
            "url": url,
            "result": json.dumps(result, ensure_ascii=False),
            "updated_ms": 1_700_000_000_500,
        }
        for at, result in enumerate(results)
    ]


def written(form, *results, **more):
    out = io.StringIO(newline="")
    assert write(rows(*results, **more), form, out) == len(results)
    return out.getvalue()


def cells(*results, **more):
    return list(csv.DictReader(io.StringIO(written("csv", *results, **more), newline="")))


@given(st.lists(json_values, max_size=5))
def test_jsonl_holds_each_result_as_it_is_stored(results):
    lines = written("jsonl", *results).split("\n")
    assert lines.pop() == ""
    assert [json.loads(line)["result"] for line in lines] == results
    assert all(json.loads(line)["updatetime"] == 1_700_000_000.5 for line in lines)


@given(st.lists(json_values, max_size=5))
def test_json_is_one_array(results):
    assert [one["result"] for one in json.loads(written("json", *results))] == results


def test_jsonl_changes_nothing_that_a_spreadsheet_would_run():
    assert '"result": {"a": "=1+1"}' in written("jsonl", {"a": "=1+1"})


def test_the_header_of_a_csv_is_all_keys_in_order_of_appearance():
    text = written("csv", {"title": "a", "price": 1}, {"title": "b", "stock": True})
    assert text.splitlines()[0] == "taskid,url,updatetime,title,price,stock"
    assert [row["stock"] for row in cells({"title": "a"}, {"title": "b", "stock": 3})] == ["", "3"]


def test_a_csv_cell_that_a_spreadsheet_would_run_begins_with_an_apostrophe():
    for start in "=+-@\t\r":
        (row,) = cells({"cell": f"{start}cmd", f"{start}key": "x"}, url=f"{start}http://e/")
        assert row["cell"] == f"'{start}cmd"
        assert row["url"] == f"'{start}http://e/"
        assert f"'{start}key" in row
    (row,) = cells({"number": -5, "text": "5-3"})
    assert (row["number"], row["text"]) == ("-5", "5-3")  # numbers are no formulas


def test_a_result_that_is_no_map_has_a_column_of_its_own_and_nested_values_are_json():
    first, second = cells(["a", "b"], {"tags": ["x", "é"], "none": None})
    assert json.loads(first["result"]) == ["a", "b"]
    assert second["tags"] == '["x", "é"]'
    assert second["none"] == ""


def test_a_result_may_repeat_the_url_of_its_task_or_have_another():
    (row,) = cells({"url": "http://e/1", "title": "t"})
    assert row == {"taskid": "t0", "url": "http://e/1", "updatetime": "1700000000.5", "title": "t"}
    (row,) = cells({"url": "http://other/"})
    assert (row["url"], row["result.url"]) == ("http://e/1", "http://other/")


def test_no_results_are_an_empty_file_of_their_format():
    assert (written("jsonl"), json.loads(written("json")), written("csv").strip()) == ("", [], "")


@given(st.lists(st.dictionaries(st.text(), json_values, max_size=4), max_size=4))
def test_any_results_make_a_csv_that_can_be_read_back(results):
    text = written("csv", *results)
    assert len(list(csv.reader(io.StringIO(text, newline="")))) == len(results) + 1


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "text", ["not json {", "\x00\x01", "", '{"a": NaN}', '{"a": "\x1b[2J"}', "[" * 100_000, '"\\ud800"']
)
def test_a_stored_result_that_is_no_json_is_exported_and_counted(form, text):
    stored = [
        *rows({"a": 1}),
        {"taskid": "bad", "url": "http://e/bad", "result": text, "updated_ms": 0},
        *rows({"a": 2}),
    ]
    checked, out = Checked(stored), io.StringIO(newline="")
    assert (write(checked, form, out), checked.damaged) == (3, 1)
    written = out.getvalue()
    written.encode()
    if form == "csv":
        assert [row["a"] for row in csv.DictReader(io.StringIO(written, newline=""))][::2] == ["1", "2"]
        return
    lines = written.split("\n")[:-1] if form == "jsonl" else [json.dumps(one) for one in json.loads(written)]
    assert not any(map(json_fault, map(str.encode, lines)))
    kept = {json.dumps(json.loads(line)["result"]) for line in lines}
    assert kept > {'{"a": 1}', '{"a": 2}'}


def test_numbers_that_python_cannot_hold_stand_in_a_csv_as_they_are():
    digits = "1" * 5000
    row = {"taskid": "t", "url": "http://e/", "result": f'{{"a": {digits}, "b": 1e999}}', "updated_ms": 0}
    out = io.StringIO(newline="")
    write([row], "csv", out)
    assert out.getvalue().splitlines()[1] == f"t,http://e/,0.0,{digits},1e999"


def test_a_result_too_deep_for_this_process_stands_in_a_csv_as_it_is():
    text = "[" * 5000 + "]" * 5000
    out = io.StringIO(newline="")
    write([{"taskid": "t", "url": "http://e/", "result": text, "updated_ms": 0}], "csv", out)
    assert out.getvalue().splitlines()[1] == f"t,http://e/,0.0,{text}"
