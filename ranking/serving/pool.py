"""The candidates of one request beside everything that was read about them: what rules and orders look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from feature_repo.on_demand.lists import RowLists, shared_codes
from feature_repo.stores.packed_answer import Answer, number_values

CATEGORIES = "item_categories"
USER_CATEGORIES = "user_categories"
USER_SHARES = "user_category_share_all"


@dataclass
class Pool:
    """`items`: own ids, ascending and distinct; `origins`: who proposed each, bool per item."""

    items: pa.Array
    origins: Mapping[str, np.ndarray]
    answer: Answer
    now: datetime
    context: Mapping[str, Any]
    _numbers: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.items)

    def numbers(self, name: str) -> np.ndarray:
        """Return a number column, null is NaN; a time as microseconds since 1970."""
        if name not in self._numbers:
            self._numbers[name] = number_values(name, self.answer.array(name))
        return self._numbers[name]

    def column(self, name: str) -> pa.Array:
        return self.answer.array(name)

    def vectors(self, name: str) -> np.ndarray:
        """Return a list-of-float column as unit vectors (items, width); zeros where there is none."""
        lists = RowLists.of(self.answer.array(name))
        width = int(lists.lengths.max(initial=0))
        result = np.zeros((len(self), width), np.float32)
        whole = lists.lengths == width
        if width and whole.any():
            result[whole] = lists.values.to_numpy(zero_copy_only=False).reshape(-1, width)
        norm = np.linalg.norm(result, axis=1, keepdims=True)
        return np.divide(result, norm, out=np.zeros_like(result), where=norm > 0)

    @cached_property
    def membership(self) -> np.ndarray:
        """The categories of every item, bool (items, categories of the pool and of the user)."""
        lists, codes, width = self._item_categories
        member = np.zeros((len(self), width), bool)
        member[lists.rows, codes] = True
        return member

    @cached_property
    def user_shares(self) -> np.ndarray:
        """The share of the user's history that each category of `membership` has, float64; zeros without a history."""
        shares = np.zeros(self.membership.shape[1])
        values = self.answer.array(USER_SHARES).slice(0, 1).flatten().to_numpy(zero_copy_only=False)
        codes = self._codes[1]
        if len(codes):
            shares[codes] = np.nan_to_num(values)
        return shares

    @cached_property
    def familiarity(self) -> np.ndarray:
        """How much of the user's history lies in the item's best-known category, float64 per item; 0: nothing."""
        if not self.membership.shape[1]:
            return np.zeros(len(self))
        return (self.membership * self.user_shares).max(axis=1)

    @cached_property
    def _item_categories(self) -> tuple[RowLists, np.ndarray, int]:
        lists = RowLists.of(self.answer.array(CATEGORIES))
        codes, _, width = self._codes
        return lists, codes, width

    @cached_property
    def _codes(self) -> tuple[np.ndarray, np.ndarray, int]:
        values = RowLists.of(self.answer.array(CATEGORIES)).values
        mine = self.answer.array(USER_CATEGORIES).slice(0, 1).flatten()
        return shared_codes(values, mine)
