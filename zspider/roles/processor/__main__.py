"""Start a processor: `python -m zspider.roles.processor --pipe FD --running FD`.

It must start quickly: no settings library, no database.
"""

import argparse
import gc
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from zspider.broker.pipe import Pipe
from zspider.roles.machine.limits import become_script_runner, limit_memory, memory_limit_lifter
from zspider.roles.processor.current_page import CurrentPage
from zspider.roles.processor.loop import Processor
from zspider.roles.processor.options import ProcessorOptions
from zspider.script.pyspider import shim

NICE = 5  # the slave, which has many pages under way and a master to talk to, goes first
# A page's garbage is not in cycles, and what is imported stays: the usual 700 cost 2 % of the time.
GARBAGE_THRESHOLD = 10_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a processor until its slave says Stop or SIGTERM comes."""
    parser = argparse.ArgumentParser(prog="python -m zspider.roles.processor")
    parser.add_argument("--pipe", type=int, required=True, help="the descriptor of our end of the slave's pipe")
    parser.add_argument("--running", type=int, required=True, help="the descriptor where we say which page we run")
    parser.add_argument("--index", type=int, default=0, help="which processor of its slave this is, for `ps`")
    parser.add_argument("--parent", type=int, default=os.getppid(), help="the slave's pid")
    parser.add_argument("--options", default="{}", help="JSON of ProcessorOptions")
    given = parser.parse_args(arguments)
    options = msgspec.json.decode(given.options, type=ProcessorOptions)
    become_script_runner(given.parent, nice=NICE)
    shim.install()
    pipe = Pipe.inherited(given.pipe)
    running = CurrentPage(given.running)
    processor = Processor(pipe, running, options)
    os.register_at_fork(after_in_child=processor.forked)

    def stop(number: int, frame: Any) -> None:
        processor.stopping = True

    signal.signal(signal.SIGTERM, stop)
    make_room = memory_limit_lifter()
    limit_memory(options.memory_bytes)
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)
    try:
        processor.run()
    except MemoryError:
        make_room()  # or Python 3.13 never ends
        raise
    finally:
        pipe.close()
        running.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
