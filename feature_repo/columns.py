"""Column names, defined once and imported everywhere."""

from __future__ import annotations

from typing import Final

USER: Final = "user_id"
ITEM: Final = "item_id"
TIME: Final = "event_timestamp"
CREATED: Final = "created_timestamp"
EVENT_TYPE: Final = "event_type"
VALUE: Final = "value"
ORIGIN: Final = "origin"

# Columns that the runner derives from the event roles before feature SQL and generators see the log.
TARGET_WEIGHT: Final = "target_weight"  # > 0 where the event is a label, 0 elsewhere
CONSUMING: Final = "consuming"  # True where the event means that the user has seen the item

SCORE: Final = "score"
RANK: Final = "rank"
LABEL: Final = "label"
CUT: Final = "cut"

EVENT_COLUMNS: Final = (USER, ITEM, TIME, EVENT_TYPE, VALUE, ORIGIN)
PAIR: Final = (USER, ITEM)
