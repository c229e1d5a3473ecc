"""`rankhouse` and `python -m ranking`."""

from __future__ import annotations

import os
import sys
from typing import Final

from feature_repo import feast_checks
from feature_repo.errors import RankhouseError
from ranking.cli import app

DEFINING: Final = frozenset({"apply", "features", "refresh", "demo"})
"""Commands that read what users define: Feast checks it."""


def main() -> None:
    """Run the command line; a RankhouseError becomes one message and exit status 2."""
    if not DEFINING.intersection(sys.argv[1:2]):
        feast_checks.leave_out()
    # OpenMP's threads spin while they wait, which takes the cores from whoever else is at work.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app()
    except RankhouseError as error:
        from rich.console import Console
        from rich.text import Text

        # A path may hold what Rich would take for markup.
        Console(stderr=True).print(Text.assemble(("Error ", "bold red"), str(error)))
        sys.exit(2)


if __name__ == "__main__":
    main()
