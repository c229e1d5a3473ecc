"""A mapping file with its data as a data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from feature_repo.columns import EVENT_TYPE, ITEM, ORIGIN, TIME, USER, VALUE
from feature_repo.config import Roles
from feature_repo.errors import ConfigError, DataError
from feature_repo.lake import ALLOW_REPEATS, IdType, quote
from feature_repo.loading import typed
from feature_repo.loading.dataset import Dataset, Field, Kind, SourceTable, fingerprint_files
from feature_repo.loading.layout import Layout, find_files, read_layouts
from feature_repo.loading.mapping import (
    DEFAULT_TYPE,
    Attribute,
    EventRole,
    EventsMapping,
    ItemsMapping,
    Mapping,
    TimeForm,
    UsersMapping,
    load_mapping,
)
from feature_repo.loading.tables import identifier

if TYPE_CHECKING:
    import duckdb

_KINDS = {"category": Kind.CATEGORY, "number": Kind.NUMBER, "text": Kind.TEXT}


def read_mapping(connection: duckdb.DuckDBPyConnection, path: Path, base: Path) -> Dataset:
    """Describe the data set of a mapping file whose files lie under `base`."""
    mapping = load_mapping(path)
    _check_formats(connection, path, mapping)
    sections = [section for section in (mapping.events, mapping.users, mapping.items) if section is not None]
    files = [file for section in sections for file in find_files(base, section)]
    tables = {"events": _events(connection, path, base, mapping)}
    if mapping.users is not None:
        tables["users"] = _users(connection, path, base, mapping.users, mapping.id_type.user_id)
    if mapping.items is not None:
        tables["items"] = _items(connection, path, base, mapping.items, mapping.id_type.item_id)
    return Dataset(
        name=mapping.name,
        source=path.name,
        fingerprint=fingerprint_files(files, mapping.model_dump_json()),
        tables=tables,
        roles=_roles(mapping.events),
        event_types=frozenset(_types(mapping.events)),
        user_attributes=_kinds(mapping.users.attributes) if mapping.users else {},
        item_attributes=_kinds(mapping.items.attributes) if mapping.items else {},
        id_types=mapping.id_type.model_dump(),
        settings={} if mapping.allow_repeats is None else {ALLOW_REPEATS: mapping.allow_repeats},
    )


def _check_formats(connection: duckdb.DuckDBPyConnection, path: Path, mapping: Mapping) -> None:
    import duckdb

    forms = [("events.time", mapping.events.time)]
    if mapping.users is not None:
        forms.append(("users.time", mapping.users.time))
    if mapping.items is not None:
        forms += [("items.time", mapping.items.time), ("items.released", mapping.items.released)]
    for key, form in forms:
        if form.format is None:
            continue
        try:
            connection.execute("SELECT try_strptime('', ?)", [form.format])
        except duckdb.Error as error:
            raise ConfigError(
                f"{path}, key {key}.format",
                expected="a format such as %Y-%m-%d %H:%M:%S",
                got=repr(form.format),
                fix=str(error).splitlines()[0],
            ) from error


def _kinds(attributes: dict[str, Attribute]) -> dict[str, str]:
    return {name: attribute.kind for name, attribute in attributes.items()}


def _types(events: EventsMapping) -> dict[str, EventRole]:
    """The declared types; a log of one type needs no declaration: it is the label."""
    return events.types or {events.type or DEFAULT_TYPE: EventRole(weight=1.0)}


def _roles(events: EventsMapping) -> Roles:
    types = _types(events)
    targets = {name: role.weight for name, role in types.items() if role.weight > 0}
    return Roles(targets=targets, consuming=[name for name, role in types.items() if role.is_consuming])


@dataclass(frozen=True)
class _Columns:
    """Builds fields from the columns of one section's files."""

    layout: Layout

    def key(self, name: str, column: str, declared: IdType | None) -> Field:
        sql_type = self.layout.type_of(column)
        made = typed.key(f"raw_{name}", sql_type, declared)
        if made is None:
            raise DataError(
                f"{self.layout.where}, column {identifier(column)}",
                expected="ids that are whole numbers or texts",
                got=f"type {sql_type}",
                fix=f"Write them as integers or texts, or declare `id_type: {{{name}: int64}}` in the mapping.",
            )
        value, staged_type = made
        if self.layout.is_csv and declared is None:
            staged_type = None  # any id looks like a text there: all of them together decide
        return Field(name, Kind.KEY, self._raw(column), value, staged_type, self._is_text(column), column)

    def time(self, name: str, kind: Kind, column: str, form: TimeForm) -> Field:
        sql_type = self.layout.type_of(column)
        if typed.is_time(sql_type) and (form.unit or form.format):
            raise ConfigError(
                f"the mapping's time of column {identifier(column)}",
                expected="neither `unit` nor `format`: the file says that these are times",
                got=f"type {sql_type}",
                fix="Leave it out.",
            )
        value = typed.time(f"raw_{name}", sql_type, form)
        if value is None:
            raise ConfigError(
                f"the mapping's time of column {identifier(column)}",
                expected="`unit: s`, `ms`, `us` or `ns`, or a `format`",
                got=f"neither, and numbers of type {sql_type}",
                fix="Add it to the mapping.",
            )
        hint = "Mend the row, or declare the times' `unit` (s, ms, us, ns) or `format` in the mapping."
        return Field(name, kind, self._raw(column), value, None, self._is_text(column), column, hint)

    def number(self, name: str, column: str) -> Field:
        value = typed.number(f"raw_{name}")
        return Field(name, Kind.NUMBER, self._raw(column), value, None, self._is_text(column), column)

    def text(self, name: str, column: str, kind: Kind = Kind.TEXT) -> Field:
        return Field(name, kind, self._raw(column), f"CAST(raw_{name} AS VARCHAR)", label=column)

    def categories(self, column: str, separator: str | None) -> Field:
        value = typed.categories("raw_categories", self.layout.type_of(column), separator)
        return Field("categories", Kind.LIST, self._raw(column), value, label=column)

    def attribute(self, name: str, attribute: Attribute) -> Field:
        column = attribute.column or name
        kind = _KINDS[attribute.kind]
        return self.number(name, column) if kind is Kind.NUMBER else self.text(name, column, kind)

    def optional(self, named: str | None, own: str) -> str | None:
        """The file's column for a lake column that need not exist: the one named, else one of the same name."""
        return named or (own if own in self.layout.columns else None)

    def _is_text(self, column: str) -> bool:
        return self.layout.type_of(column) == "VARCHAR"

    def _raw(self, column: str) -> str:
        return self.layout.raw(column)


def _layout(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    base: Path,
    section: EventsMapping | UsersMapping | ItemsMapping,
) -> Layout:
    named = [column for column in section.columns.model_dump().values() if column is not None]
    if not isinstance(section, EventsMapping):
        named += [attribute.column or name for name, attribute in section.attributes.items()]
    return read_layouts(connection, path, find_files(base, section), section, named)


def _events(connection: duckdb.DuckDBPyConnection, path: Path, base: Path, mapping: Mapping) -> SourceTable:
    section, columns = mapping.events, mapping.events.columns
    made = _Columns(_layout(connection, path, base, section))
    value = made.optional(columns.value, VALUE)
    origin = made.optional(columns.origin, ORIGIN)
    type_column = None if section.type else made.optional(columns.event_type, EVENT_TYPE)
    _check_types(path, section, type_column, value)
    constant = section.type or DEFAULT_TYPE
    raw_type = made.layout.raw(type_column) if type_column else quote(constant)
    event_type = _event_type(_types(section))
    fields = (
        made.key(USER, columns.user_id, mapping.id_type.user_id),
        made.key(ITEM, columns.item_id, mapping.id_type.item_id),
        made.time(TIME, Kind.EVENT_TIME, columns.event_timestamp, section.time),
        made.number(VALUE, value) if value else Field(VALUE, Kind.NUMBER, "NULL::DOUBLE"),
        made.text(ORIGIN, origin, Kind.CATEGORY) if origin else Field(ORIGIN, Kind.CATEGORY, "NULL::VARCHAR"),
        Field(EVENT_TYPE, Kind.EVENT_TYPE, f"CAST({raw_type} AS VARCHAR)", event_type, label=type_column or "type",
              hint=f"Declare the types in {path.name} under events.types, or leave them out with events.ignore."),
    )  # fmt: skip
    return SourceTable(made.layout.scans, fields, _rows_to_keep(section, event_type))


def _rows_to_keep(section: EventsMapping, event_type: str) -> str | None:
    conditions = []
    if section.ignore:
        ignored = ", ".join(map(quote, section.ignore))
        conditions.append(f"NOT coalesce(raw_{EVENT_TYPE} IN ({ignored}) AND ({event_type}) IS NULL, false)")
    if section.on_blank_id == "skip":
        conditions += [f"coalesce(trim(CAST(raw_{key} AS VARCHAR)), '') <> ''" for key in (USER, ITEM)]
    return " AND ".join(conditions) or None


def _check_types(path: Path, section: EventsMapping, type_column: str | None, value: str | None) -> None:
    if type_column is not None and not section.types:
        raise ConfigError(
            f"{path}, key events.types",
            expected=f"the meaning of each event type in column {identifier(type_column)}",
            got="nothing",
            fix="Add for example `types: {purchase: {weight: 1}, view: {}}`; the README of loading explains it.",
        )
    if value is None and any(role.min_value is not None for role in section.types.values()):
        raise ConfigError(
            f"{path}, key events.columns.value",
            expected="the column that `min_value` looks at",
            got="nothing",
            fix="Name it under events.columns.",
        )


def _event_type(types: dict[str, EventRole]) -> str:
    """SQL for the lake's event type: the highest threshold that a row reaches, null for a type nobody declared."""

    def threshold(entry: tuple[str, EventRole]) -> float:
        least = entry[1].min_value
        return float("inf") if least is None else -least

    cases = []
    for name, role in sorted(types.items(), key=threshold):
        raw_types = ", ".join(map(quote, role.raw_types or [name]))
        reached = "" if role.min_value is None else f" AND {typed.number(f'raw_{VALUE}')} >= {role.min_value!r}"
        cases.append(f"WHEN raw_{EVENT_TYPE} IN ({raw_types}){reached} THEN {quote(name)}")
    return f"CASE {' '.join(cases)} END"


def _users(
    connection: duckdb.DuckDBPyConnection, path: Path, base: Path, section: UsersMapping, id_type: IdType | None
) -> SourceTable:
    made = _Columns(_layout(connection, path, base, section))
    fields = [made.key(USER, section.columns.user_id, id_type)]
    since = made.optional(section.columns.event_timestamp, TIME)
    if since:
        fields.append(made.time(TIME, Kind.KNOWN_SINCE, since, section.time))
    fields += [made.attribute(name, attribute) for name, attribute in section.attributes.items()]
    return SourceTable(made.layout.scans, tuple(fields), keep_one=section.on_duplicate == "keep_one")


def _items(
    connection: duckdb.DuckDBPyConnection, path: Path, base: Path, section: ItemsMapping, id_type: IdType | None
) -> SourceTable:
    made = _Columns(_layout(connection, path, base, section))
    columns = section.columns
    fields = [made.key(ITEM, columns.item_id, id_type)]
    if since := made.optional(columns.event_timestamp, TIME):
        fields.append(made.time(TIME, Kind.KNOWN_SINCE, since, section.time))
    if title := made.optional(columns.title, "title"):
        fields.append(made.text("title", title))
    if names := made.optional(columns.categories, "categories"):
        fields.append(made.categories(names, section.separator))
    if released := made.optional(columns.released_at, "released_at"):
        fields.append(made.time("released_at", Kind.RELEASED, released, section.released))
    fields += [made.attribute(name, attribute) for name, attribute in section.attributes.items()]
    return SourceTable(made.layout.scans, tuple(fields), keep_one=section.on_duplicate == "keep_one")
