"""Rules and orders by the names that configuration and requests give them; their parameters are checked here."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, TypeVar, get_args, get_type_hints

from feature_repo.errors import ConfigError, did_you_mean

Part = TypeVar("Part")


def make(known: Mapping[str, type[Part]], name: str, params: Mapping[str, Any], *, what: str, where: str) -> Part:
    """Make the part called `name`; raises ConfigError for an unknown name, a parameter too many, missing or wrong."""
    if name not in known:
        raise ConfigError(
            f"{where}, {what} {name}",
            expected=f"one of {', '.join(sorted(known))}",
            got=repr(name),
            fix=f"Correct the name.{did_you_mean(name, known)}",
        )
    signature = inspect.signature(known[name])
    for word in params:
        if word not in signature.parameters:
            raise ConfigError(
                f"{where}, {what} {name}, parameter {word}",
                expected=f"one of {', '.join(signature.parameters) or 'none'}",
                got=repr(word),
                fix=f"Correct the name.{did_you_mean(word, signature.parameters)}",
            )
    missing = [p.name for p in signature.parameters.values() if p.default is p.empty and p.name not in params]
    if missing:
        raise ConfigError(
            f"{where}, {what} {name}",
            expected=f"the parameters {', '.join(missing)}",
            got=", ".join(params) or "none",
            fix="Give them under `params`.",
        )
    checked = _checked(known[name], params, f"{where}, {what} {name}")
    try:
        return known[name](**checked)
    except ValueError as error:
        raise ConfigError(
            f"{where}, {what} {name}", expected=str(error), got=str(checked), fix="Give a value in this range."
        ) from None


def _checked(kind: type[Part], params: Mapping[str, Any], where: str) -> dict[str, Any]:
    hints = get_type_hints(kind)
    result = {}
    for name, value in params.items():
        wanted = _plain_types(hints[name])
        value = tuple(value) if isinstance(value, list) else value
        whole_as_float = float in wanted and isinstance(value, int) and not isinstance(value, bool)
        too_large = isinstance(value, int) and not -(1 << 63) <= value < 1 << 63
        if too_large or (type(value) not in wanted and not whole_as_float):
            raise ConfigError(
                f"{where}, parameter {name}",
                expected=" or ".join(sorted("list" if one is tuple else one.__name__ for one in wanted)),
                got=repr(value)[:120],
                fix="Give a value of that type.",
            )
        result[name] = value
    return result


def _plain_types(hint: Any) -> set[type]:
    origin = getattr(hint, "__origin__", None)
    if origin is not None:
        return {origin}
    parts = get_args(hint)
    return {hint} if not parts else {one for part in parts for one in _plain_types(part)}
