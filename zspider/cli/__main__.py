"""`python -m zspider.cli`: the same as `zspiderd`, for children that must run under this very interpreter."""

import sys

from zspider.cli import main

if __name__ == "__main__":
    sys.exit(main())
