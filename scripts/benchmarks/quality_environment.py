"""The peers' environment of the quality benchmark, made once: see peer_environment."""

from __future__ import annotations

import sys
from pathlib import Path

from peer_environment import peer_python


def peers_python() -> Path:
    """Return the interpreter that has requirements-quality.txt; make its environment where it is not current."""
    if sys.version_info >= (3, 13):
        raise SystemExit("RecTools 0.19 needs numpy 1.26, and so Python 3.11 or 3.12, for the peers.")
    return peer_python("quality")
