"""The point-in-time join written out as SQL for DuckDB: to read, to hand on, and to check the fast one against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from feature_repo.stores.duckdb_scan import identifier
from feature_repo.stores.scans import open_scan, source_sql
from feature_repo.stores.settings import Settings
from feature_repo.stores.times import ticks_of
from feature_repo.stores.view_spec import ViewSpec


def historical_sql(
    query: str, tables: Mapping[str, str], time: str, specs: Sequence[ViewSpec], settings: Settings
) -> str:
    """Return SQL that joins each row of `query` with the latest visible row of each view, in no particular order.

    `tables` are the names that the query may use. It means what the job computes, but for two things: rows equal in
    event and created time tie, and features keep their stored types. Run it with `SET TimeZone = 'UTC'`.
    """
    named = [f"{identifier(name)} AS (SELECT * FROM {table})" for name, table in tables.items()]
    entities = f"entities AS (\n{query.strip().rstrip(';')}\n)"
    columns = ["e.*"]
    joins = []
    for place, asked in enumerate(specs):
        spec = asked.in_source(open_scan(asked.source, settings, asked.declared).schema)
        columns += [f"v{place}.{identifier(feature.output)}" for feature in spec.features]
        joins.append(f"LEFT JOIN LATERAL (\n{_latest(spec, time, settings)}\n) AS v{place} ON true")
    body = "\n".join([f"SELECT {', '.join(columns)}", "FROM entities AS e", *joins])
    return f"WITH {', '.join([*named, entities])}\n{body}"


def _latest(spec: ViewSpec, time: str, settings: Settings) -> str:
    asked = f"CAST(e.{identifier(time)} AS TIMESTAMPTZ)"
    event = f"CAST(s.{identifier(spec.time)} AS TIMESTAMPTZ)"
    conditions = [f"s.{identifier(key)} = e.{identifier(name)}" for key, name in spec.keys]
    conditions.append(f"{event} <= {asked}")
    if spec.ttl is not None:
        conditions.append(f"{event} >= {asked} - INTERVAL {ticks_of(spec.ttl, 'us')} MICROSECONDS")
    if spec.newest_cut_only:
        cut = identifier(spec.time if spec.cut is None else spec.cut)
        cuts = f"SELECT max({cut}) FROM {source_sql(spec.source, settings)} AS c"
        conditions.append(f"{event} >= ({cuts} WHERE CAST(c.{cut} AS TIMESTAMPTZ) <= {asked})")
    order = [f"{event} DESC"]
    if spec.created:
        created = f"CAST(s.{identifier(spec.created)} AS TIMESTAMPTZ)"
        order.append(f"{created} DESC NULLS LAST")
        if settings.strict:
            conditions.append(f"{created} <= {asked}")
    features = ", ".join(f"s.{identifier(f.column)} AS {identifier(f.output)}" for f in spec.features)
    return "\n".join(
        [
            f"  SELECT {features}",
            f"  FROM {source_sql(spec.source, settings)} AS s",
            f"  WHERE {' AND '.join(conditions)}",
            f"  ORDER BY {', '.join(order)} LIMIT 1",
        ]
    )
