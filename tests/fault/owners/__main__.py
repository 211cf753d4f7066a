"""`python -m tests.fault.owners`: two masters take one database from each other, again and again, and write meanwhile.

On one MariaDB server, and on two nodes of a Galera cluster that is started for it where its packages are installed. No
commit may be stale. Last, a check that does not hold there is planted, and has to be found.
"""

import argparse
import sys

from tests.fault.owners.rivals import fight, plant_shared_lock
from tests.support.galera import LIBRARY, galera_nodes, has_galera
from tests.support.mariadb import private_server


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fault.owners", description=__doc__)
    parser.add_argument("--take-overs", type=int, default=2000, help="on each kind of server (default: 2000)")
    parser.add_argument("--planted", type=int, default=4000, help="most take-overs with the planted mistake")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with private_server() as server:
        one = fight([server, server], args.take_overs, args.seed)
        print(f"one server: {one}", flush=True)
    if not has_galera():
        print(f"no cluster: {LIBRARY} is missing (Debian: apt-get install galera-4)")
        return 1 if one.stale else 0
    with galera_nodes() as nodes:
        two = fight(nodes[:2], args.take_overs, args.seed)
        print(f"two nodes: {two}", flush=True)
        is_found = False
        for taken in range(0, args.planted, 500):
            planted = fight(nodes[:2], 500, args.seed + taken, plant_shared_lock)
            print(f"two nodes, a shared lock planted: {planted}", flush=True)
            if is_found := planted.stale > 0:
                break
    return 0 if is_found and not one.stale and not two.stale else 1


if __name__ == "__main__":
    sys.exit(main())
