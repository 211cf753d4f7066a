"""Results as JSONL, JSON or CSV, written row by row; a result set larger than memory is no problem."""

import csv
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from math import isfinite
from typing import IO, Any, Protocol

from zspider.json_text import json_fault, repaired

Row = Mapping[str, Any]  # taskid, url, result (JSON text), updated_ms


class Out(Protocol):
    """A text file that results are written to, opened with newline=""."""

    def write(self, text: str, /) -> Any:
        """Write some text."""
        ...


FORMATS = ("jsonl", "csv", "json")
SPOOL_BYTES = 8 * 1024 * 1024  # results up to this size are kept in memory while the CSV header is found
# What a spreadsheet runs as a formula when it stands first in a cell (OWASP: CSV injection).
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_INT_DIGITS_MAX = 4000  # Python makes no number of more than 4,300 digits


class Checked:
    """Rows whose results are JSON, and how many had to be made so: of an older version, or damaged."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = rows
        self.damaged = 0

    def __iter__(self) -> Iterator[Row]:
        for row in self._rows:
            text = str(row["result"])
            if json_fault(text.encode("utf-8", "surrogatepass")):
                self.damaged += 1
                yield {**row, "result": repaired(text)}
            else:
                yield row


def write(rows: Iterable[Row], form: str, out: Out) -> int:
    """Write results in one of FORMATS. Returns how many.

    rows: their results are JSON: `Checked` sees to that.

    jsonl and json: {"taskid", "url", "result", "updatetime" (seconds)} per result, `result` as it is stored.
    csv: taskid, url, updatetime and one column per key of the results, in order of appearance; a result that
    is no map stands in the column `result`. Texts that a spreadsheet would run as formulas begin with '.
    """
    return {"jsonl": _write_jsonl, "csv": _write_csv, "json": _write_json}[form](rows, out)


def record(row: Row) -> str:
    """Return one result as a line of JSON; the stored JSON text goes in untouched."""
    head = json.dumps({"taskid": row["taskid"], "url": row["url"]}, ensure_ascii=False)
    result = str(row["result"]).replace("\n", " ")  # a newline in JSON text can only be layout
    return f'{head[:-1]}, "result": {result}, "updatetime": {row["updated_ms"] / 1000}}}'


def _write_jsonl(rows: Iterable[Row], out: Out) -> int:
    count = 0
    for row in rows:
        out.write(f"{record(row)}\n")
        count += 1
    return count


def _write_json(rows: Iterable[Row], out: Out) -> int:
    count = 0
    for count, row in enumerate(rows, 1):
        out.write(f"{',' if count > 1 else '['}\n{record(row)}")
    out.write("\n]\n" if count else "[]\n")
    return count


def _write_csv(rows: Iterable[Row], out: Out) -> int:
    """Keys are known at the end only, so rows wait in a file of their own until then."""
    with tempfile.SpooledTemporaryFile(SPOOL_BYTES, "w+", encoding="utf-8", errors="surrogatepass") as spool:
        keys: dict[str, None] = {}
        count = 0
        for row in rows:
            flat = _flat(row)
            keys.update(dict.fromkeys(flat))
            spool.write(f"{json.dumps(flat)}\n")
            count += 1
        spool.seek(0)
        writer = csv.writer(out)
        writer.writerow([_harmless(key) for key in keys])
        for flat in _spooled(spool):
            writer.writerow([_harmless(value) if isinstance(value, str) else value for value in map(flat.get, keys)])
    return count


def _spooled(spool: IO[str]) -> Iterator[dict[str, object]]:
    for line in spool:
        yield json.loads(line)


def _flat(row: Row) -> dict[str, Any]:
    """Return a row's cells. A result's own `url` or `taskid` stands for itself; the task's is `url` already."""
    columns: dict[str, Any] = {"taskid": row["taskid"], "url": row["url"], "updatetime": row["updated_ms"] / 1000}
    try:
        result = json.loads(row["result"], parse_int=_integer, parse_float=_number)
        cells = {
            key: _cell(value) for key, value in (result if isinstance(result, dict) else {"result": result}).items()
        }
    except RecursionError:  # deeper than this process reads
        cells = {"result": str(row["result"])}
    for key, value in cells.items():
        columns[f"result.{key}" if key in columns and value != columns[key] else key] = value
    return columns


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= _INT_DIGITS_MAX else digits


def _number(digits: str) -> float | str:
    number = float(digits)
    return number if isfinite(number) else digits


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text
