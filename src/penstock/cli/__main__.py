"""`python -m penstock.cli`: the command line where no script is installed; the supervisor starts workers by it."""

from __future__ import annotations

import sys

from penstock.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
