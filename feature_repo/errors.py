"""What can go wrong in a way that the caller can mend.

RankhouseError
├── ConfigError     rankhouse.yaml or a mapping file does not say what it must
├── DataError       a file, a lake table or a row breaks its contract
│   └── FutureError an event or a cut lies where the clock has not been yet
├── MissingError    something was not made yet: a lake, a view, a service, a model
├── ContractError   two things that must fit do not: a model and its service, a view and its SQL
└── UnreachableError  a server that the configuration names does not answer

Every message is built from facts: where, what was expected, what came, and the next step.
The command line prints it and exits with status 2; nothing on disk has changed by then.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class RankhouseError(Exception):
    """An error that a user can act on."""

    def __init__(self, where: object, *, expected: str, got: str, fix: str) -> None:
        self.where, self.expected, self.got, self.fix = str(where), expected, got, fix
        super().__init__(f"{where}: expected {expected}, got {got}. {fix}")


class ConfigError(RankhouseError):
    """A configuration or mapping file does not say what it must."""


class DataError(RankhouseError):
    """A file, table or row breaks its contract."""


class FutureError(DataError):
    """An event or a cut lies after the declared clock."""


class MissingError(RankhouseError):
    """Something that a command reads has not been made yet."""


class ContractError(RankhouseError):
    """Two things that must fit each other do not."""


class UnreachableError(RankhouseError):
    """A server that the configuration names does not answer."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``' Did you mean "x"?'`` for the closest known word, or an empty string.

    >>> did_you_mean("popularty", ["popularity", "als"])
    ' Did you mean "popularity"?'
    """
    close = get_close_matches(word, list(known), n=1)
    return f' Did you mean "{close[0]}"?' if close else ""
