"""Malformed calls of every admin verb, through a real master: `make fuzz-admin`, or CALLS=200 SEED=3 make fuzz-admin.

Each is answered in one line, none ends the master, none is an internal error, and the database is whole afterwards.
"""

import os
import sqlite3
import sys
import tempfile
from pathlib import Path

from tests.support.admin_fuzz import VERBS, fuzz
from tests.support.cluster import PORT, Cluster


def main() -> int:
    calls, seed = int(os.environ.get("CALLS", "2000")), int(os.environ.get("SEED", "1"))
    with tempfile.TemporaryDirectory() as directory, Cluster(Path(directory), prints_logs=False) as cluster:
        master = cluster.master().start()
        answers, unforeseen, seconds = fuzz(master.address, PORT, master.data_dir, seed=seed, calls=calls)
        ended = master.process.returncode
        code = master.stop()
        with sqlite3.connect(master.data_dir / "zspider.db") as database:
            checked = database.execute("PRAGMA integrity_check").fetchone()[0]
        database.close()
    print(f"seed {seed}: {len(VERBS)} verbs x {calls} calls in {seconds:.0f} s: {dict(sorted(answers.items()))}")
    print(f"master: {'served to the end' if ended is None else f'ended with {ended}'}, stopped with {code}")
    print(f"database: {checked}; internal errors: {len(unforeseen)}")
    print(*unforeseen[:20], sep="\n")
    return int(ended is not None or code != 0 or checked != "ok" or bool(unforeseen))


if __name__ == "__main__":
    sys.exit(main())
