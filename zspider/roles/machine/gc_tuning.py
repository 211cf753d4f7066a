"""How often Python looks for garbage in cycles, in processes that make little of it."""

import gc

# Waiting tasks live long and make no cycles: looking for cycles every 700 objects took 8 % of a busy master's time.
_THRESHOLDS = (20_000, 20, 20)


def collect_rarely() -> None:
    """Look for garbage rarely from now on. Call it when everything is set up: what is there stays."""
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
