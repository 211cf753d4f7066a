"""What a master asks of its database while it works on a job: how often, about how many rows, at what cost.

    python -m benchmarks.statements [--pages 9900] [--mariadb]

The graph job with a master whose statements are timed: by the clock of its writer thread (its CPU: preparing rows,
packing and unpacking; in SQLite the whole work) and by the wall (waiting for MariaDB, for the disk). The timing itself
costs about 3 us a statement.
"""

import argparse
import json
import re
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from tests.support.cluster import Master
from tests.support.mariadb import private_server
from tests.support.nginx import Nginx
from zspider.cli import main as zspiderd
from zspider.roles.demo_site import export_site

from benchmarks.subjects import ZspiderSqlite

SUMS = "sums.json"  # what a timed master writes into its directory
RARE = 2000  # what was sent less than once in so many pages is not shown
KEYS = re.compile(r"\((?:(?:\?|%\(\w+\)s|%s)(?:, )?)+\)")


class Timer:
    """Sums up calls, rows, wall and CPU seconds by statement, of all threads of this process."""

    def __init__(self) -> None:
        self._sums: dict[str, list[float]] = defaultdict(lambda: [0, 0, 0.0, 0.0])
        event.listen(sa.Engine, "before_cursor_execute", self._begin)
        event.listen(sa.Engine, "after_cursor_execute", self._end)
        event.listen(sa.Engine, "commit", self._count_commit)

    def _count_commit(self, _conn: sa.Connection) -> None:
        self._sums["COMMIT"][0] += 1

    def _begin(self, conn: sa.Connection, *_: Any) -> None:
        conn.info["began"] = (time.perf_counter(), time.thread_time())

    def _end(self, conn: sa.Connection, cursor: Any, sql: str, params: Any, context: Any, many: bool) -> None:
        wall_s, cpu_s = conn.info["began"]
        sums = self._sums[shape(sql)]
        sums[0] += 1
        sums[1] += len(params) if many else 0
        sums[2] += time.perf_counter() - wall_s
        sums[3] += time.thread_time() - cpu_s

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(self._sums))


def shape(sql: str) -> str:
    """A statement without its lists of columns, keys and marks."""
    one = KEYS.sub("(...)", " ".join(sql.replace("`", "").replace('"', "").split()))
    found = re.match(r"(SELECT) .*? FROM (.*)", one) or re.match(r"(INSERT INTO \w+) .*(DO .*|ON DUP.*)", one)
    text = f"{found[1]} {found[2]}" if found else one
    return text[:100]


class TimedMaster(Master):
    """A master that writes down what it sent to its database."""

    @property
    def program(self) -> Sequence[str]:
        return (sys.executable, "-m", "benchmarks.statements", "zspiderd", str(self.directory / SUMS))


class Timed(ZspiderSqlite):
    master_class = TimedMaster


def table(sums: dict[str, list[float]], pages: int) -> str:
    """By cost, per page."""
    lines = [f"{'per page':>9} {'rows/page':>9} {'CPU us':>7} {'wall us':>8}  statement"]
    for sql, (calls, rows, wall_s, cpu_s) in sorted(sums.items(), key=lambda item: -item[1][2]):
        if calls < pages / RARE:
            continue
        lines.append(
            f"{calls / pages:9.3f} {rows / pages:9.2f} {cpu_s / pages * 1e6:7.1f} {wall_s / pages * 1e6:8.1f}  {sql}"
        )
    return "\n".join(lines)


def measure(articles: int, *, on_mariadb: bool) -> str:
    """Run the job once and return the table."""
    work = Path(tempfile.mkdtemp(prefix="zspider-bench-"))
    try:
        pages = export_site(work / "site", articles) - 1
        with ExitStack() as stack:
            server = stack.enter_context(private_server() if on_mariadb else nullcontext())
            nginx = stack.enter_context(Nginx(work / "site", work / "nginx", buffered=True))
            (work / "subject").mkdir()
            address = server.address(server.new_database()) if server else ""
            Timed(is_graph=True).crawl(nginx.url, pages, work / "subject", address, [])
        (sums,) = work.rglob(SUMS)
        return table(json.loads(sums.read_text()), pages)
    finally:
        shutil.rmtree(work)


def main() -> int:
    """Measure, or be the master that is measured."""
    if sys.argv[1:2] == ["zspiderd"]:
        timer = Timer()
        try:
            return zspiderd(sys.argv[3:])
        finally:
            timer.write(Path(sys.argv[2]))
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--pages", type=int, default=9900, help="articles of the site")
    arguments.add_argument("--mariadb", action="store_true", help="instead of SQLite")
    given = arguments.parse_args()
    print(measure(given.pages, on_mariadb=given.mariadb))
    return 0


if __name__ == "__main__":
    sys.exit(main())
