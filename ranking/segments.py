"""Who and what the judged users and items are: by length of history, by any user attribute, by popularity of items."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from candidate_gen.interactions import encode
from feature_repo.columns import CONSUMING, ITEM, TIME, USER
from feature_repo.errors import DataError, did_you_mean

if TYPE_CHECKING:
    import duckdb

    from feature_repo.workspace import Workspace
    from ranking.beyond_accuracy import Catalogue
    from ranking.truth import Truth

HISTORY: Final = "history"
ITEMS: Final = "items"
HOT_SHARE: Final = 0.1
COLD_EVENTS: Final = 5
UNKNOWN: Final = "unknown"
_LENGTHS: Final = ((0, 0, "0"), (1, 5, "1-5"), (6, 20, "6-20"), (21, None, "21+"))
# More values than this of a number become four ranges of equal size.
_MOST_VALUES: Final = 10


@dataclass(frozen=True)
class Segment:
    """Some of the judged users: `chosen` bool (users,). `by` is what they are told apart by, `name` their value."""

    by: str
    name: str
    chosen: np.ndarray


@dataclass(frozen=True)
class ItemClass:
    """Some of the items, by popularity before the cut: `chosen` bool per item of the catalogue."""

    name: str
    chosen: np.ndarray


def history_segments(connection: duckdb.DuckDBPyConnection, truth: Truth) -> list[Segment]:
    """Return the judged users by how many items they had consumed before the cut."""
    table = connection.sql(
        f"SELECT {USER}, count(DISTINCT {ITEM}) AS items FROM events WHERE {CONSUMING} AND {TIME} < $cut GROUP BY ALL",
        params={"cut": truth.window.start},
    ).to_arrow_table()
    lengths = np.zeros(len(truth.users), np.int64)
    place = truth.position(table[USER].combine_chunks())
    lengths[place[place >= 0]] = table["items"].to_numpy()[place >= 0]
    return [
        Segment(HISTORY, name, (lengths >= least) & (most is None or lengths <= most))
        for least, most, name in _LENGTHS
        if ((lengths >= least) & (most is None or lengths <= most)).any()
    ]


def attribute_segments(
    workspace: Workspace, connection: duckdb.DuckDBPyConnection, truth: Truth, attribute: str
) -> list[Segment]:
    """Return the judged users by an attribute as it was known at the cut; raise DataError for an unknown one."""
    known = workspace.lake.manifest().user_attributes
    if attribute not in known:
        raise DataError(
            "--by", expected=f"a user attribute of the data ({', '.join(known) or 'there is none'})", got=attribute,
            fix=f"Name one of them.{did_you_mean(attribute, known)}",
        )  # fmt: skip
    name = '"' + attribute.replace('"', '""') + '"'
    table = connection.sql(
        f"SELECT {USER}, arg_max({name}, {TIME}) AS value FROM users WHERE {TIME} <= $cut GROUP BY {USER}",
        params={"cut": truth.window.start},
    ).to_arrow_table()
    values = table["value"].combine_chunks().take(_places(table[USER].combine_chunks(), truth.users))
    codes, names = _ranges(values) if known[attribute] == "number" else _words(values)
    segments = [Segment(attribute, name, codes == code) for code, name in enumerate([*names, UNKNOWN])]
    return [segment for segment in segments if segment.chosen.any()]


def item_classes(catalogue: Catalogue) -> list[ItemClass]:
    """Return hot items (the most popular tenth of those with target events), cold (at most 5 such events), and warm."""
    targets = catalogue.targets
    sold = np.sort(targets[targets > 0])
    hot_from = sold[int(len(sold) * (1 - HOT_SHARE))] if len(sold) else 1
    hot = targets >= max(hot_from, COLD_EVENTS + 1)
    cold = targets <= COLD_EVENTS
    return [ItemClass("hot", hot), ItemClass("warm", ~hot & ~cold), ItemClass("cold", cold)]


def _places(users: pa.Array, wanted: pa.Array) -> pa.Array:
    """Return where each wanted user's row is, null without one."""
    codes = encode(wanted, users)
    return pa.array(codes, mask=codes < 0)


def _words(values: pa.Array) -> tuple[np.ndarray, list[str]]:
    """Return the code of every value and the names of the codes; a null gets the code after the last."""
    texts = values.cast(pa.string())
    names = sorted(pc.unique(texts.drop_null()).to_pylist())
    return encode(texts, pa.array(names, pa.string())) % (len(names) + 1), names


def _ranges(values: pa.Array) -> tuple[np.ndarray, list[str]]:
    """As `_words` for numbers: the numbers themselves, or the quarter of the users that they lie in."""
    numbers = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    known = numbers[~np.isnan(numbers)]
    bounds = np.unique(known)
    names = [f"{number:g}" for number in bounds]
    if len(bounds) > _MOST_VALUES:
        bounds = np.unique(np.quantile(known, [0, 0.25, 0.5, 0.75, 1]))
        names = [f"{low:g} to {high:g}" for low, high in pairwise(bounds)]
    place = np.searchsorted(bounds, np.nan_to_num(numbers), side="right") - 1
    return np.where(np.isnan(numbers), len(names), np.clip(place, 0, len(names) - 1)), names
