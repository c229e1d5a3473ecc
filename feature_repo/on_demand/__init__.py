"""On-demand feature views: features of a request and of a pair, computed from columns of other views.

A module defines `define(views)` and its `FUNCTION` works on whole Arrow columns, the same one for a training set and
for one request. `define` returns None where a view that it reads is left out.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from feature_repo.on_demand.columns import PairFunction


def function_of(view: str) -> PairFunction | None:
    """Return the vectorised function behind an on-demand view, None for one that Feast has to run by itself."""
    if find_spec(f"{__name__}.{view}") is None:
        return None
    return getattr(import_module(f"{__name__}.{view}"), "FUNCTION", None)
