"""What lists are like apart from being right: how much of the catalogue they show, how novel, diverse and popular."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import combinations
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from candidate_gen.interactions import encode
from feature_repo.columns import CONSUMING, ITEM, TARGET_WEIGHT, TIME, USER

if TYPE_CHECKING:
    import duckdb
    from scipy.sparse import csr_matrix

    from ranking.truth import Truth

_ITEMS: Final = f"""
WITH counted AS (
    SELECT {ITEM}, count(*) FILTER (WHERE {TARGET_WEIGHT} > 0) AS targets,
        count(DISTINCT {USER}) FILTER (WHERE {CONSUMING}) AS consumers
    FROM events WHERE {TIME} < $cut GROUP BY {ITEM}),
described AS (SELECT {ITEM}, arg_max(categories, {TIME}) AS categories FROM items WHERE {TIME} <= $cut GROUP BY {ITEM})
SELECT coalesce(counted.{ITEM}, described.{ITEM}) AS {ITEM}, coalesce(targets, 0) AS targets,
    coalesce(consumers, 0) AS consumers, list_distinct(coalesce(categories, [])) AS categories
FROM counted FULL JOIN described ON counted.{ITEM} = described.{ITEM} ORDER BY {ITEM}"""


@dataclass(frozen=True)
class Catalogue:
    """The items as they were known at a cut, ascending own ids.

    `targets`: target events; `consumers`: users who had consumed it; `categories`: bool (items, categories), sparse;
    `users`: how many users had consumed anything.
    """

    items: pa.Array
    targets: np.ndarray
    consumers: np.ndarray
    categories: csr_matrix
    users: int

    def places(self, items: pa.Array) -> np.ndarray:
        """Return the place of every item, -1 for an item that was not known."""
        return encode(items, self.items).astype(np.int64)


def read_catalogue(connection: duckdb.DuckDBPyConnection, cut: datetime) -> Catalogue:
    """Read the items from a connection over the lake (`Workspace.connect`), events before the cut only."""
    from scipy.sparse import csr_matrix

    table = connection.sql(_ITEMS, params={"cut": cut}).to_arrow_table()
    lists = table["categories"].combine_chunks()
    codes = lists.flatten().dictionary_encode()
    owners = pc.list_parent_indices(lists).to_numpy()
    shape = (table.num_rows, max(len(codes.dictionary), 1))
    ones = np.ones(len(owners), np.int32)
    categories = csr_matrix((ones, (owners, codes.indices.to_numpy(zero_copy_only=False))), shape)
    [(users,)] = connection.execute(
        f"SELECT count(DISTINCT {USER}) FROM events WHERE {TIME} < ? AND {CONSUMING}", [cut]
    ).fetchall()
    targets, consumers = (table[name].to_numpy().astype(np.int64) for name in ("targets", "consumers"))
    return Catalogue(table[ITEM].combine_chunks(), targets, consumers, categories, users)


def beyond_accuracy(places: np.ndarray, truth: Truth, catalogue: Catalogue, k: int) -> dict[str, float | None]:
    """Return coverage, novelty, diversity and popularity of the first k items of the judged users' lists.

    `places`: int (users, k), the catalogue's place of each user's item at each rank, -1 where none is.
    Coverage: the share of the items with an event before the cut that anybody is shown. Novelty: mean self-information,
    -log2 of the share of users who had consumed the item (one user more is counted, so that none is infinite).
    Diversity: mean Jaccard distance of the categories over the pairs of a list, None without categories. Popularity
    (ARP): mean number of target events per item. The last three are means over the users who get a list.
    """
    filled = places >= 0
    shown = filled.any(axis=1)
    places, filled = places[shown], filled[shown]
    count = np.maximum(filled.sum(axis=1), 1)
    information = -np.log2((catalogue.consumers + 1) / (catalogue.users + 1))
    diversity = _diversity(places, catalogue.categories)
    return {
        f"coverage@{k}": len(np.unique(places[filled])) / truth.catalogue,
        f"novelty@{k}": _mean((information[places] * filled).sum(axis=1) / count),
        f"diversity@{k}": _mean(diversity[~np.isnan(diversity)]) if catalogue.categories.nnz else None,
        f"popularity@{k}": _mean((catalogue.targets[places] * filled).sum(axis=1) / count),
    }


def _diversity(places: np.ndarray, categories: csr_matrix) -> np.ndarray:
    """Return the mean Jaccard distance of each list's pairs, NaN where no pair has categories."""
    sizes = np.asarray(categories.sum(axis=1)).ravel()
    total, pairs = np.zeros(len(places)), np.zeros(len(places))
    for left, right in combinations(places.T, 2):
        common = np.asarray(categories[left].multiply(categories[right]).sum(axis=1)).ravel()
        either = sizes[left] + sizes[right] - common
        known = (left >= 0) & (right >= 0) & (sizes[left] > 0) & (sizes[right] > 0)
        total += np.where(known, 1.0 - common / np.maximum(either, 1), 0.0)
        pairs += known
    return np.divide(total, pairs, out=np.full(len(places), np.nan), where=pairs > 0)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else 0.0
