"""``python -m skyweave.cli``: the command line for launchers that start a module, such as torchrun."""

from skyweave.cli import main

raise SystemExit(main())
