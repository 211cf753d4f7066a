"""Start a processor: `python -m zspider.roles.processor --pipe FD --running FD`."""

import sys

from zspider.roles.processor.loop import main

sys.exit(main())
