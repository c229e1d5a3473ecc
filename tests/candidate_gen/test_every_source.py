"""What holds for every configured source: a fit at T owes nothing to what happened at or after T."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from candidate_gen.configured import configured_sources
from candidate_gen.interactions import Interactions, read_interactions
from candidate_gen.source import Vectors
from feature_repo.building.leaks import perturb
from feature_repo.config import SourceConfig, load_config
from feature_repo.workspace import Workspace

SHIPPED = load_config().candidates
CONFIG = SHIPPED.model_copy(
    update={
        "sources": {
            **SHIPPED.sources,
            "repeat": SourceConfig.model_validate({"class": "candidate_gen.repeat.RepeatConsumption"}),
        }
    }
)

# Ids that sort before all others, at the cut itself and in the past of nobody.
STRANGERS = """
INSERT INTO perturbed_events SELECT * REPLACE (-user_id - 1 AS user_id, -item_id - 1 AS item_id)
FROM perturbed_events WHERE event_timestamp >= $at"""


@pytest.fixture(scope="module")
def logs(tiny_lake: Workspace) -> tuple[Interactions, Interactions, Interactions]:
    """The log before the cut; the same with another future; and one with an event more in the past."""
    cut = tiny_lake.periods.test.start
    with tiny_lake.connect() as connection:
        actual = read_interactions(connection, cut)
    with tiny_lake.connect() as connection:
        perturb(connection, cut)
        connection.execute(STRANGERS, {"at": cut})
        other_future = read_interactions(connection, cut)
    with tiny_lake.connect() as connection:
        later = read_interactions(connection, tiny_lake.now)
    return actual, other_future, later


def learned(name: str, log: Interactions) -> list[bytes]:
    """Everything that a source says after it was fitted: scores, proposals, and what it publishes."""
    source = configured_sources(CONFIG)[name].fit(log)
    users = np.append(np.arange(log.shape[0], dtype=np.int32), np.int32(-1))
    top = source.recommend(log.user_ids, 20)
    parts = [source.score_batch(users).tobytes(), repr(top.to_pydict()).encode()]
    for found in (source.vectors(), source.similar_items()):
        if isinstance(found, Vectors):
            parts += [part.tobytes() for part in found if part is not None]
        elif sparse.issparse(found):
            parts += [part.tobytes() for part in (found.data, found.indices, found.indptr)]
    return parts


@pytest.mark.parametrize("name", CONFIG.sources)
def test_the_future_changes_no_byte(name: str, logs: tuple[Interactions, ...]) -> None:
    actual, other_future, later = logs
    before = learned(name, actual)
    assert learned(name, other_future) == before
    assert learned(name, later) != before  # the comparison can fail


def test_each_kind_of_source_is_among_them() -> None:
    assert len({source.class_path for source in CONFIG.sources.values()}) >= 12
    publishing = [name for name, source in SHIPPED.sources.items() if "neighbours" in source.publish]
    assert len(publishing) >= 3
