"""`python -m tests.fault.shortage`: every place and error, one after the other, and a table of what happened."""

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.fault.shortage.campaign import attempt, is_asserted, one_each, places
from tests.fault.shortage.world import RATE, World
from tests.support.shortage import preloadable

TRIAL_S = 4.0  # what one takes, at most on average: so long the crawl has to last


def main() -> int:
    """Exit code 1 when a daemon ended or a page was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.fault.shortage")
    parser.add_argument("--all", action="store_true", help="each place with each error; else with one of them")
    parser.add_argument("--list", action="store_true", help="only say which places there are")
    parser.add_argument("--call", action="append", help="only places of this call")
    parser.add_argument("--victim", choices=["master", "slave"], help="only this daemon")
    parser.add_argument(
        "--asserted", action="store_true", help="only those for which libzmq is known to end its process"
    )
    parser.add_argument("--trials", type=int, default=400, help="for how many the crawl is long enough")
    given = parser.parse_args()
    if preloadable() is None:
        print("needs gcc", file=sys.stderr)
        return 2
    directory = Path(tempfile.mkdtemp(prefix="zspider-shortage-"))
    with World(directory, int(given.trials * TRIAL_S * RATE)) as world:
        found = [
            trial
            for trial in places(world)
            if (not given.call or trial.place.call in given.call)
            and given.victim in (None, trial.victim)
            and is_asserted(trial) == given.asserted
        ]
        trials = found if given.all else one_each(found)
        print(f"{len({(trial.victim, trial.place.key) for trial in found})} places, {len(trials)} trials", flush=True)
        if given.list:
            for trial in trials:
                print(f"{trial.victim:6} {trial.place.call:14} {trial.place.where:70} {trial.event}", *trial.place[1:4])
            return 0
        told = []
        for trial in trials:
            told.append(attempt(world, trial))
            print(told[-1].row(), flush=True)
        lost = world.finish()
    by_victim = Counter(one.trial.victim for one in told if one.failed)
    print(f"passed: {dict(by_victim)}, not passed: {sum(not one.failed for one in told)}")
    print(f"{len(world.ended)} daemons ended, {lost} pages lost or doubled; logs are in {directory}")
    return 1 if world.ended or lost else 0


if __name__ == "__main__":
    sys.exit(main())
