"""`python -m tests.simulation --histories 10000`: many histories. `--replay SEED`: one, told in full."""

import argparse
import sys
import traceback

from tests.simulation.faults import MODES
from tests.simulation.run import Failure, Summary, histories, quiet
from tests.simulation.world import World

TELL_EVERY = 500


def main() -> int:
    """0: all histories held."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--histories", type=int, default=1000, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="of the first one; the next has the next")
    parser.add_argument("--mode", choices=sorted(MODES), help="only this kind of faults")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--replay", type=int, metavar="SEED", help="play one history and tell all of it")
    args = parser.parse_args()
    quiet()
    if args.replay is not None:
        return replay(args.replay, args.mode)
    summary = Summary()
    try:
        for told in histories(range(args.seed, args.seed + args.histories), args.mode, args.jobs):
            summary.add(told)
            if summary.histories % TELL_EVERY == 0:
                print(f"{summary.histories} histories", file=sys.stderr, flush=True)
    except Failure as failure:
        print(failure, "", sep="\n")
        return replay(failure.seed, failure.mode)
    print(*summary.lines(), sep="\n")
    return 0


def replay(seed: int, mode: str | None) -> int:
    """Tell a history as it happens."""
    world = World(seed, mode, say=print)
    print(f"seed {seed}: {world.mode}, {len(world.site.pages)} pages")
    try:
        print(world.run())
    except Exception:
        traceback.print_exc(file=sys.stdout)
        return 1
    return 0


sys.exit(main())
