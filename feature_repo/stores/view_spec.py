"""What a point-in-time join needs to know of a feature view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import pyarrow as pa
from feast.data_source import DataSource
from feast.feature_view import DUMMY_ENTITY_ID, FeatureView
from feast.field import Field
from feast.infra.offline_stores.file_source import FileSource
from feast.types import from_feast_to_pyarrow_type

from feature_repo.errors import ContractError, did_you_mean
from feature_repo.first_stage import SWAP_BY, SWAP_CUT, SWAP_TAG


@dataclass(frozen=True)
class Feature:
    """One feature: its column, its column in the result, its declared type (None: as stored)."""

    column: str
    output: str
    declared: pa.DataType | None


@dataclass(frozen=True)
class ViewSpec:
    """One view of one request. `keys` pairs a column of the view with a column of the entity frame.

    `newest_cut_only`: the view holds outputs of one fit after another (tag `swap: cut`); at any time only rows of the
    newest fit count, and a key that is not among them has no row. `cut`: the column that tells the fits apart, where it
    is not the event time (tag `swap_by`): then rows that are as new as the newest fit count.
    """

    name: str
    source: FileSource
    keys: tuple[tuple[str, str], ...]
    time: str
    created: str | None
    ttl: timedelta | None
    features: tuple[Feature, ...]
    newest_cut_only: bool = False
    cut: str | None = None

    @property
    def declared(self) -> pa.Schema:
        """The schema of a view that was declared but not computed yet."""
        names = [*(key for key, _ in self.keys), self.time, *([self.created] if self.created else [])]
        features = {feature.column: feature.declared or pa.null() for feature in self.features}
        return pa.schema([*((name, pa.null()) for name in names if name not in features), *features.items()])

    def in_source(self, schema: pa.Schema) -> ViewSpec:
        """Return the spec in the source's own column names; raise ContractError where the source lacks a column.

        A mapping applies only where its stored column exists: Feast's sources may name columns that they lack.
        """
        stored = {new: old for old, new in self.source.field_mapping.items() if old in schema.names}
        found = replace(
            self,
            keys=tuple((stored.get(key, key), name) for key, name in self.keys),
            time=stored.get(self.time, self.time),
            created=stored.get(self.created, self.created) if self.created else None,
            cut=stored.get(self.cut, self.cut) if self.cut else None,
            features=tuple(replace(f, column=stored.get(f.column, f.column)) for f in self.features),
        )
        for column in found.declared.names:
            if column not in schema.names:
                raise ContractError(
                    f"view {self.name}, source {self.source.path}",
                    expected=f"a column {column!r}",
                    got=f"columns {', '.join(schema.names)}",
                    fix=f"Recompute the view or correct its definition.{did_you_mean(column, schema.names)}",
                )
        return found


def view_spec(view: FeatureView, feature_refs: Sequence[str], full_feature_names: bool) -> ViewSpec:
    """Read a view as Feast hands it to a store: projection, aliases and join key map applied, mapped names kept.

    Raises ContractError for a feature that the view does not have.
    """
    source = file_source(view.batch_source, view.name)
    prefix = f"{view.projection.name_to_use()}:"
    shown = view.projection.name_alias or view.name
    names = dict.fromkeys(ref.removeprefix(prefix) for ref in feature_refs if ref.startswith(prefix))
    fields = {field.name: field for field in view.features}
    for name in names:
        if name not in fields:
            raise ContractError(
                f"view {view.name}",
                expected=f"one of its features ({', '.join(fields)})",
                got=repr(name),
                fix=f"Correct the reference.{did_you_mean(name, fields)}",
            )
    return ViewSpec(
        name=view.projection.name_to_use(),
        source=source,
        keys=tuple((key, view.projection.join_key_map.get(key, key)) for key in join_keys(view)),
        time=source.timestamp_field,
        created=source.created_timestamp_column or None,
        ttl=view.ttl or None,
        features=tuple(
            Feature(name, f"{shown}__{name}" if full_feature_names else name, declared_type(fields[name]))
            for name in names
        ),
        newest_cut_only=view.tags.get(SWAP_TAG) == SWAP_CUT,
        cut=view.tags.get(SWAP_BY),
    )


def join_keys(view: FeatureView) -> list[str]:
    """Return the view's join keys; none for a view without entities, whose rows are about everything."""
    return [field.name for field in view.entity_columns if field.name != DUMMY_ENTITY_ID]


def file_source(source: DataSource | None, name: str) -> FileSource:
    """Return the Parquet source of a view; raise ContractError for what this store can't read."""
    if isinstance(source, FileSource) and type(source.file_format).__name__ in ("NoneType", "ParquetFormat"):
        return source
    raise ContractError(
        f"view {name}",
        expected="a FileSource over Parquet",
        got="no batch source" if source is None else f"{type(source).__name__} {source.name}",
        fix="Store the view as Parquet, or select the offline store of that source in feature_store.yaml.",
    )


def declared_type(field: Field) -> pa.DataType | None:
    """Return the Arrow type that a field declares, None for kinds that are taken as they are stored."""
    try:
        data_type = from_feast_to_pyarrow_type(field.dtype)
    except ValueError:
        return None
    scalar = data_type.value_type if pa.types.is_list(data_type) else data_type
    plain = pa.types.is_integer(scalar) or pa.types.is_floating(scalar) or pa.types.is_boolean(scalar)
    return data_type if plain or pa.types.is_string(scalar) else None
