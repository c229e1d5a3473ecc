"""Feast's retrieval jobs over this store: lazy, Arrow first, streamed to Parquet where they are saved."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.saved_dataset import SavedDatasetStorage

from feature_repo.errors import ContractError
from feature_repo.stores.parquet_writer import save
from feature_repo.stores.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

    from feature_repo.stores.retrieval import HistoricalRetrieval


@dataclass
class TableJob(RetrievalJob):
    """A job whose rows come from `read`, and in parts from `parts`; no on-demand views."""

    read: Callable[[], pa.Table]
    parts: Callable[[], Iterator[pa.Table]]
    settings: Settings
    sql: Callable[[], str] | None = None

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        return self.read()

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        return self.read().to_pandas()

    @property
    def full_feature_names(self) -> bool:
        return False

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        return []

    @property
    def metadata(self) -> RetrievalMetadata | None:
        return None

    def slices(self) -> Iterator[pa.Table]:
        """Yield the result in order, a part at a time, on-demand features included."""
        return self.parts()

    def persist(self, storage: SavedDatasetStorage, allow_overwrite: bool = False, timeout: int | None = None) -> None:
        """Stream the result to the storage's Parquet path.

        Raises Feast's SavedDatasetLocationAlreadyExists where something is there and may not be replaced.
        """
        save(self.slices(), storage, self.settings, allow_overwrite=allow_overwrite)

    def to_sql(self) -> str:
        """Return SQL for DuckDB that yields the same rows; raise ContractError where there is none."""
        if self.sql is None:
            raise ContractError(
                "to_sql", expected="an SQL entity frame", got="a frame in memory", fix="Pass the frame as SQL."
            )
        return self.sql()


class HistoricalJob(TableJob):
    """What `get_historical_features` returns."""

    def __init__(
        self,
        retrieval: HistoricalRetrieval,
        feature_refs: Sequence[str],
        on_demand: Sequence[OnDemandFeatureView],
        full_feature_names: bool,
        sql: Callable[[], str] | None,
    ) -> None:
        super().__init__(retrieval.table, retrieval.slices, retrieval.settings, sql)
        self._retrieval = retrieval
        self._refs = list(feature_refs)
        self._on_demand = list(on_demand)
        self._full_feature_names = full_feature_names

    @property
    def full_feature_names(self) -> bool:
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        return self._on_demand

    @property
    def metadata(self) -> RetrievalMetadata:
        entities = self._retrieval.entities
        first, last = entities.time_range
        keys = [name for name in entities.table.column_names if name != entities.time]
        return RetrievalMetadata(self._refs, keys, first, last)

    def numbered_parts(self) -> Iterator[pa.Table]:
        """Yield the result in parts without on-demand features, a column of lists as a dictionary array of them."""
        return self._retrieval.slices(numbered_lists=True)

    def slices(self) -> Iterator[pa.Table]:
        for part in self.parts():
            yield _SliceJob(part, self).to_arrow()


class _SliceJob(HistoricalJob):
    """One slice as a job of its own: Feast's `to_arrow` runs the on-demand views over it."""

    def __init__(self, part: pa.Table, whole: HistoricalJob) -> None:
        self.__dict__.update(whole.__dict__)
        self.read = lambda: part
