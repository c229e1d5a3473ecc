"""Positives that no source proposed, as rows to learn from: an option, since such pairs look unlike what is ranked.

Training cuts alone get them, and the validation cut in its role as one more; lists that are judged or served never do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from feature_repo.columns import CONSUMING, ITEM, LABEL, TIME, USER
from feature_repo.periods import Window
from ranking.labels import read_labels
from ranking.training_set import Spine, with_cut

if TYPE_CHECKING:
    import duckdb

_WITH_LOST: Final = f"""
SELECT {USER}, {ITEM}, {LABEL} FROM spine UNION ALL
SELECT {USER}, {ITEM}, {LABEL} FROM label
    SEMI JOIN spine USING ({USER})
    ANTI JOIN spine USING ({USER}, {ITEM})
    SEMI JOIN (SELECT {ITEM} FROM events WHERE {TIME} < $start) USING ({ITEM})
    ANTI JOIN (SELECT {USER}, {ITEM} FROM events WHERE {TIME} < $start AND {CONSUMING} AND NOT $repeats)
        USING ({USER}, {ITEM})
ORDER BY {USER}, {ITEM}"""


def with_lost_positives(
    connection: duckdb.DuckDBPyConnection, spine: Spine, window: Window, gains: list[float], *, allow_repeats: bool
) -> Spine:
    """Return the spine of a window's cut with those target pairs of its users that it lacks, sorted as before.

    Left out, and still counted as lost, is what a list could not have shown: items without an event before the cut and,
    unless repeats are allowed, what the user had consumed.
    """
    connection.register("label", read_labels(connection, window, gains, before=window.end))
    connection.register("spine", spine.rows.select([USER, ITEM, LABEL]))
    times = {"start": window.start, "repeats": allow_repeats}
    rows = connection.sql(_WITH_LOST, params=times).to_arrow_table()
    connection.unregister("label")
    connection.unregister("spine")
    return Spine(with_cut(rows, window.start), spine.lost - (rows.num_rows - spine.rows.num_rows))
