"""Feast without the checks of its own argument types, for processes that read definitions and write none.

Feast has typeguard rewrite each of its classes when it is imported, which is three quarters of the seconds that this
takes; reading a registry is slower by half. What a user defines is checked where it is registered.
"""

from __future__ import annotations

from typing import Any


def leave_out() -> None:
    """Let Feast be imported without its checks from now on; where it is imported already they stay."""
    import typeguard

    typeguard.typechecked = _as_it_is


def _as_it_is(target: Any = None, **_: Any) -> Any:
    """Stand for `typeguard.typechecked`, a decorator with or without arguments."""
    return _as_it_is if target is None else target
