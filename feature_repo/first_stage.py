"""What stage one publishes in the store: the columns of its two views, as the configured sources name them.

`candidates` (the entity table) is keyed by user and item, `user_candidates` by user. Writers and definitions both ask
here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from feature_repo.columns import CUT

if TYPE_CHECKING:
    import pyarrow as pa

    from feature_repo.config import Config
    from feature_repo.lake import IdType

CANDIDATES: Final = "candidates"
USER_CANDIDATES: Final = "user_candidates"
CANDIDATE_ITEMS: Final = "candidate_items"
CANDIDATE_SCORES: Final = "candidate_scores"

# A view with this tag holds outputs of one fit: both stores let its newest cut replace the older ones as a whole.
SWAP_TAG: Final = "swap"
SWAP_CUT: Final = "cut"


def candidate_fields(config: Config) -> list[tuple[str, pa.DataType]]:
    """Return the features of `candidates`: five per configured source, then what the sources say together.

    A pair that a source did not propose but can score has its score, z-score and percentile; null: not scorable.
    """
    import pyarrow as pa

    fields: list[tuple[str, pa.DataType]] = []
    for source in config.candidates.sources:
        fields += [
            (f"{source}_proposed", pa.bool_()),
            (f"{source}_score", pa.float32()),
            (f"{source}_rank", pa.int32()),
            (f"{source}_zscore", pa.float32()),
            (f"{source}_percentile", pa.float32()),
        ]
    return [*fields, ("sources_count", pa.int32()), ("best_rank", pa.int32()), (CUT, _time())]


def user_candidate_fields(item_id_type: IdType) -> list[tuple[str, pa.DataType]]:
    """Return the features of `user_candidates`: the user's items in the order of retrieval, their scores, the cut."""
    import pyarrow as pa

    item = pa.int64() if item_id_type == "int64" else pa.string()
    return [(CANDIDATE_ITEMS, pa.list_(item)), (CANDIDATE_SCORES, pa.list_(pa.float32())), (CUT, _time())]


def _time() -> pa.DataType:
    import pyarrow as pa

    return pa.timestamp("us", tz="UTC")
