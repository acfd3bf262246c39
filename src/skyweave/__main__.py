"""``python -m skyweave``: the command line, as ``torchrun`` starts it."""

import sys

from skyweave.cli import main

sys.exit(main())
