"""What stage one publishes in the store: the columns of its views, as the configured sources name them.

`candidates` (the entity table) is keyed by user and item, `user_candidates` by user. What the sources learned is keyed
by user (`user_vectors`, `user_history`) or by item (`item_vectors`, `item_neighbours`). Writers, definitions and the
functions that read them all ask here.
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

USER_VECTORS: Final = "user_vectors"
ITEM_VECTORS: Final = "item_vectors"
ITEM_NEIGHBOURS: Final = "item_neighbours"
USER_HISTORY: Final = "user_history"
HISTORY_ITEMS: Final = "history_items"
HISTORY_TIMES: Final = "history_times"
HISTORY_WEIGHTS: Final = "history_weights"

# A view with this tag holds outputs of one fit: both stores let its newest cut replace the older ones as a whole.
SWAP_TAG: Final = "swap"
SWAP_CUT: Final = "cut"
# Names the column that says of which cut a row is, in a view whose rows events renew between two fits.
SWAP_BY: Final = "swap_by"


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


def learned_fields(config: Config, item_id_type: IdType) -> dict[str, list[tuple[str, pa.DataType]]]:
    """Return the features of the views that hold what stage one learned, by view; one that nothing goes to is left out.

    All rows of a view carry the cut of the fit, under a name of its own: functions over two views compare them.
    """
    import pyarrow as pa

    vector, number = pa.list_(pa.float32()), pa.float32()
    item = pa.int64() if item_id_type == "int64" else pa.string()
    fields: dict[str, list[tuple[str, pa.DataType]]] = {}
    for view, side in ((USER_VECTORS, "user"), (ITEM_VECTORS, "item")):
        fields[view] = []
        for name in published(config, "vectors"):
            fields[view] += [(vector_column(side, name), vector), (norm_column(side, name), number)]
        fields[view] += [(bias_column(side, name), number) for name in published(config, "biases")]
    fields[ITEM_NEIGHBOURS], fields[USER_HISTORY] = [], []
    for name in published(config, "neighbours"):
        fields[ITEM_NEIGHBOURS] += [(neighbours_column(name), pa.list_(item)), (weights_column(name), vector)]
    if fields[ITEM_NEIGHBOURS]:
        history = (HISTORY_ITEMS, pa.list_(item)), (HISTORY_TIMES, pa.list_(_time())), (HISTORY_WEIGHTS, vector)
        fields[USER_HISTORY] += history
    return {view: [*columns, (cut_column(view), _time())] for view, columns in fields.items() if columns}


def published(config: Config, what: str) -> list[str]:
    """Return the configured sources that publish `vectors`, `biases` or `neighbours`."""
    return [name for name, source in config.candidates.sources.items() if what in source.publish]


def vector_column(side: str, source: str) -> str:
    return f"{side}_{source}_vector"


def norm_column(side: str, source: str) -> str:
    return f"{side}_{source}_norm"


def bias_column(side: str, source: str) -> str:
    return f"{side}_{source}_bias"


def neighbours_column(source: str) -> str:
    return f"{source}_neighbours"


def weights_column(source: str) -> str:
    return f"{source}_neighbour_weights"


def cut_column(view: str) -> str:
    return f"{view}_{CUT}"


def _time() -> pa.DataType:
    import pyarrow as pa

    return pa.timestamp("us", tz="UTC")
