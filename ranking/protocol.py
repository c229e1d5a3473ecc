"""What a stranger needs to judge exported lists: where the log is cut, what is a label, what counts as seen."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from ranking.evaluation import Evaluation

if TYPE_CHECKING:
    from feature_repo.workspace import Workspace

KEY: Final = b"rankhouse"
"""Where the protocol lies in the metadata of an exported file, as JSON."""


@dataclass(frozen=True)
class Protocol:
    """The truth protocol with this data set's values; ranking/README.md says how to score by it.

    Times are ISO 8601 in UTC; the window holds the events at `test_start` and none at `test_end`. `targets`: weight by
    event type. `users`, `pairs`, `catalogue`: what the protocol must lead to.
    """

    data: str
    model: str
    test_start: str
    test_end: str
    k: int
    allow_repeats: bool
    targets: dict[str, float]
    consuming: list[str]
    users: int
    pairs: int
    catalogue: int

    def json(self) -> str:
        return json.dumps(asdict(self), indent=2)


def protocol_of(workspace: Workspace, report: Evaluation) -> Protocol:
    """Return the protocol by which a report was made."""
    roles = workspace.lake.roles(workspace.config)
    return Protocol(
        data=workspace.lake.manifest().name,
        model=report.model,
        test_start=report.test_start,
        test_end=report.test_end,
        k=report.k,
        allow_repeats=workspace.allow_repeats,
        targets=dict(roles.targets),
        consuming=list(roles.consuming),
        users=report.users,
        pairs=report.pairs,
        catalogue=report.catalogue,
    )


def with_protocol(lists: pa.Table, protocol: Protocol) -> pa.Table:
    """Return lists that carry the protocol in their schema's metadata."""
    return lists.replace_schema_metadata({KEY: protocol.json()})
