"""Reading features for serving: columns by name from whichever views have them, and a model's matrix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from feature_repo.columns import ITEM, USER
from feature_repo.stores.packed_answer import Answer
from ranking.model_store import RankingModel

if TYPE_CHECKING:
    from feature_repo.stores.bulk import BulkReader
    from feature_repo.workspace import Workspace


_AT_ONCE: Final = 1 << 18
"""Values that stay in the processor's cache while they are looked through."""


@dataclass(frozen=True)
class FeatureReader:
    """`references`: `view:column` by column, for every feature of the registry whose name is its own."""

    reader: BulkReader
    references: Mapping[str, str]
    views: Mapping[str, tuple[str, ...]]

    @classmethod
    def open(cls, workspace: Workspace) -> FeatureReader:
        """Open the store of a workspace as its registry is now."""
        from feature_repo.store import open_store, quiet
        from feature_repo.stores.bulk import BulkReader

        store = open_store(workspace)
        with quiet():
            registered = [*store.list_feature_views(), *store.list_on_demand_feature_views()]
            reader = BulkReader(store)
        views = {view.name: tuple(feature.name for feature in view.features) for view in registered}
        references = {name: f"{view}:{name}" for view, names in views.items() for name in names}
        return cls(reader, references, views)

    @property
    def forks(self) -> bool:
        """Whether a forked process may read on."""
        return self.reader.forks

    def has(self, *columns: str) -> bool:
        return all(column in self.references for column in columns)

    def keep(self, columns: Iterable[str]) -> None:
        """Hold what the columns' views know of items in memory, as it is now, where it fits."""
        self.reader.keep([self.references[name] for name in columns], (ITEM,))

    def read(self, columns: Iterable[str], entities: Mapping[str, pa.Array], now: datetime) -> Answer:
        """Read columns for rows of join keys; what is computed on demand is computed as of `now`."""
        from feature_repo.on_demand.columns import REQUEST_TIME

        return self.reader.answer([self.references[name] for name in columns], entities, {REQUEST_TIME: now})


@dataclass(frozen=True)
class ModelColumns:
    """The columns that a model's trees split on, and how they lie in its matrix.

    A column without a split changes no score and is not read: it stays NaN.
    """

    names: tuple[str, ...]
    places: tuple[int, ...]
    width: int
    vocabularies: Mapping[str, pa.Array]

    @classmethod
    def of(cls, model: RankingModel) -> ModelColumns:
        columns = model.manifest.encoding.columns
        places = np.flatnonzero(model.booster.feature_importance("split") > 0)
        used = [columns[place] for place in places]
        return cls(
            names=tuple(column.name for column in used),
            places=tuple(places.tolist()),
            width=len(columns),
            vocabularies={c.name: pa.array(c.vocabulary, pa.string()) for c in used if c.kind == "category"},
        )

    def matrix(self, answer: Answer) -> np.ndarray:
        """Return the model's matrix, float32 (rows, columns of the model), as `Encoding.encode` makes it.

        It lies column by column: so it is written, and so our trees read it.
        """
        columns = np.empty((self.width, answer.request.rows), np.float32)
        columns[self._unread] = np.nan
        answer.fill(columns.T, self.names, self.places, self.vocabularies)
        some = max(_AT_ONCE // max(answer.request.rows, 1), 1)
        for start in range(0, self.width, some):
            part = columns[start : start + some]
            infinite = np.isinf(part)
            if infinite.any():
                part[infinite] = np.nan
        return columns.T

    @cached_property
    def _unread(self) -> np.ndarray:
        return np.setdiff1d(np.arange(self.width), self.places)


def knows_user(answer: Answer) -> bool:
    """Whether any view that is keyed by the user alone has a row for the answer's user."""
    return any(
        rows.found.any() for read, rows in zip(answer.plan.reads, answer.rows, strict=True) if read.keys == (USER,)
    )
