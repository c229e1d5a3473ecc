"""What users went on to take after a cut: the pairs that a report on stage one looks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from candidate_gen.interactions import Interactions, encode
from feature_repo.columns import CONSUMING, ITEM, TARGET_WEIGHT, TIME, USER
from feature_repo.errors import DataError
from feature_repo.periods import Window

if TYPE_CHECKING:
    import duckdb

_RELEVANT = f"""
SELECT DISTINCT {USER}, {ITEM} FROM events AS target
WHERE {TIME} >= $start AND {TIME} < $stop AND {TARGET_WEIGHT} > 0
  AND {ITEM} IN (SELECT {ITEM} FROM events WHERE {TIME} < $start)
  AND ($repeats OR NOT EXISTS (
      SELECT 1 FROM events AS seen WHERE seen.{TIME} < $start AND seen.{CONSUMING}
      AND seen.{USER} = target.{USER} AND seen.{ITEM} = target.{ITEM}))
ORDER BY {USER}, {ITEM}"""


@dataclass(frozen=True)
class Relevant:
    """Distinct target items of a window that had an event before it and that the user had not consumed by then.

    `users`: own ids, ascending, with at least one such item, whether or not they have an event before the cut.
    `pairs`: int64, ascending, position in `users` times `items` plus item code. `items`: number of item codes.
    """

    users: pa.Array
    pairs: np.ndarray
    items: int

    @property
    def counts(self) -> np.ndarray:
        """How many items are relevant to each user, int64."""
        return np.bincount(self.pairs // self.items, minlength=len(self.users))

    def holds(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Return bool per pair of a position in `users` and an item code."""
        wanted = users * self.items + items
        place = np.minimum(np.searchsorted(self.pairs, wanted), len(self.pairs) - 1)
        return self.pairs[place] == wanted


def read_relevant(
    connection: duckdb.DuckDBPyConnection, interactions: Interactions, window: Window, *, allow_repeats: bool
) -> Relevant:
    """Read the window's relevant pairs in the codes of a log before its start; raise DataError where there are none."""
    params = {"start": window.start, "stop": window.end, "repeats": allow_repeats}
    table = connection.sql(_RELEVANT, params=params).to_arrow_table()
    if not table.num_rows:
        raise DataError(
            f"the window [{window.start:%Y-%m-%d %H:%M:%S}, {window.end:%Y-%m-%d %H:%M:%S}) UTC",
            expected="a user with a relevant item",
            got="none",
            fix="A report needs labels after its cut: move the cut.",
        )
    ids = table[USER].combine_chunks()
    users, width = pc.unique(ids), interactions.shape[1]
    user, item = encode(ids, users).astype(np.int64), interactions.encode_items(table[ITEM].combine_chunks())
    return Relevant(users, np.sort(user * width + item), width)
