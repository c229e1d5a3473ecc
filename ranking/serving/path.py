"""One request from end to end: retrieve, filter, score, order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from time import perf_counter
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from feature_repo.columns import ITEM, USER
from feature_repo.config import OrderConfig
from feature_repo.errors import DataError, MissingError
from ranking import model_store
from ranking.model_store import RankingModel
from ranking.serving.catalogue import Catalogue
from ranking.serving.features import FeatureReader, ModelColumns, knows_user
from ranking.serving.ordering import ORDERS, Order, check_order, with_unfamiliar
from ranking.serving.parts import make
from ranking.serving.pool import CATEGORIES, USER_CATEGORIES, USER_SHARES, Pool
from ranking.serving.request import CALLER, EXPLORATION, Answer, Ask, Reasons, Served
from ranking.serving.retrieve import Retrieved, Retriever, user_key
from ranking.serving.rules import Rule, check_rules, make_rules

if TYPE_CHECKING:
    from feature_repo.stores.packed_answer import Answer as Read
    from feature_repo.workspace import Workspace

NamedRule = tuple[str, Rule]
_PROPOSED: Final = "_proposed"
_FAMILIARITY: Final = (CATEGORIES, USER_CATEGORIES, USER_SHARES)


@dataclass(frozen=True)
class Scored:
    """What the model saw and said, kept for the log: `matrix` has the columns of the model, rows follow `items`.

    `read`: what the matrix was made of, and `names` the columns of it; `origins`: who proposed each item.
    """

    ask: Ask
    items: pa.Array
    origins: Mapping[str, np.ndarray]
    read: Read
    names: tuple[str, ...]
    matrix: np.ndarray
    scores: np.ndarray
    shown: np.ndarray
    now: datetime


@dataclass(frozen=True)
class RequestPath:
    """Everything that a request needs, opened once; safe to share between threads."""

    workspace: Workspace
    model: RankingModel
    columns: ModelColumns
    reader: FeatureReader
    catalogue: Catalogue
    retriever: Retriever
    rules: Sequence[NamedRule]
    order: Order
    proposers: Mapping[str, str]

    @classmethod
    def open(cls, workspace: Workspace, name: str | None = None) -> RequestPath:
        """Open a model (default: the current one) over the online store of a workspace.

        Raises MissingError without a model, ContractError for a model that was trained on other columns, ConfigError
        for a rule or an order that is not known.
        """
        from ranking.service import service_columns
        from ranking.serving.clock import ServingClock

        settings = workspace.config.serving
        manifest = model_store.read_manifest(workspace, name)
        model = model_store.load(workspace, service_columns(workspace, manifest.service), manifest.name)
        reader, catalogue = FeatureReader.open(workspace), Catalogue.read(workspace)
        configured = [rule for rule in settings.rules if rule.name != "seen" or not workspace.allow_repeats]
        where = f"{workspace.config_path}, key serving"
        path = cls(
            workspace=workspace,
            model=model,
            columns=ModelColumns.of(model),
            reader=reader,
            catalogue=catalogue,
            retriever=Retriever.open(reader, catalogue, settings, ServingClock(workspace).now()),
            rules=make_rules(configured, f"{where}.rules"),
            order=make(ORDERS, settings.order.kind, settings.order.params, what="kind", where=f"{where}.order"),
            proposers={
                source: f"{source}{_PROPOSED}"
                for source in workspace.config.candidates.sources
                if reader.has(f"{source}{_PROPOSED}")
            },
        )
        check_order(path.order, settings.order.kind, reader.references)
        check_rules(path.rules, reader.references, {word: None for _, rule in path.rules for word in rule.context})
        return path

    def warm_up(self) -> None:
        """Do what the first request would otherwise wait for."""
        from ranking.serving.clock import ServingClock

        now = ServingClock(self.workspace).now()
        self.hold()
        self.catalogue.popular()
        items = tuple(self.catalogue.items.slice(0, 5).to_pylist())
        user = 0 if self.catalogue.user_type == "int64" else ""
        self.answer(Ask(user, len(items), items=items), now)
        self.retriever.retrieve(user, now, 0, 0)

    def hold(self) -> None:
        """Compile what walks the trees, and hold what is known of items in memory."""
        self.model.scorer.warm_up()
        self.reader.keep(self.wanted)

    @property
    def wanted(self) -> Iterable[str]:
        """The columns that a request reads that brings no rules or order of its own."""
        return self._wanted(self.rules, self.order)

    def most_k(self) -> int:
        """The longest list that a request may ask for."""
        proposed = sum(source.depth for source in self.workspace.config.candidates.sources.values())
        return min(self.workspace.config.serving.max_k, proposed, len(self.catalogue.items))

    def answer(self, ask: Ask, now: datetime) -> tuple[Answer, Scored | None]:
        """Answer one request as of `now`; the second part is what the model saw, None where it was not asked.

        Raises DataError for a k, an item or a context that can't be, MissingError for an unknown item, ConfigError for
        an unknown rule or order.
        """
        settings, times = ask.order or self.workspace.config.serving.order, [perf_counter()]
        rules, order = self._rules(ask), self._order(ask)
        check_rules(rules, self.reader.references, ask.context)
        check_k(ask.k, self.most_k() if ask.items is None else len(ask.items))
        found = self.retrieved([ask], settings, now)[0]
        times.append(perf_counter())
        pool = self._read(ask, found, rules, order, now)
        times.append(perf_counter())
        kept, removed = filtered(pool, rules)
        times.append(perf_counter())
        matrix = self.columns.matrix(pool.answer) if found.popularity is None or ask.reasons else None
        scores = found.popularity if found.popularity is not None else self.score(matrix, kept)
        times.append(perf_counter())
        shown = arranged(pool, np.flatnonzero(kept), scores, ask, settings, order, rules)
        reasons = self._reasons(matrix[shown]) if ask.reasons else [None] * len(shown)
        answer = Answer(
            user=ask.user,
            known=found.popularity is None if ask.items is None else knows_user(pool.answer),
            model=self.model.manifest.name,
            items=self._served(pool, shown, scores, reasons),
            counts={
                **{name: int(origin.sum()) for name, origin in found.origins.items()},
                **{f"removed by {name}": count for name, count in removed.items()},
                "scored": int(kept.sum()),
                "returned": len(shown),
            },
            ms=_milliseconds([*times, perf_counter()]),
        )
        if found.popularity is not None:
            return answer, None
        return answer, Scored(
            ask, pool.items, pool.origins, pool.answer, self.columns.names, matrix, scores, shown, now
        )

    def score(self, matrix: np.ndarray, kept: np.ndarray | None = None) -> np.ndarray:
        """Return float64 scores, NaN where `kept` is false; on one thread: requests do not wait for each other."""
        if kept is None or kept.all():
            return self.model.scorer.predict(matrix)
        scores = np.full(len(matrix), np.nan)
        # Where most are kept, scoring the others too costs less than a copy of the matrix.
        if 2 * kept.sum() > len(kept):
            return np.where(kept, self.model.scorer.predict(matrix), scores)
        if kept.any():
            scores[kept] = self.model.scorer.predict(matrix[kept])
        return scores

    def _rules(self, ask: Ask) -> Sequence[NamedRule]:
        if not ask.rules:
            return self.rules
        return [*self.rules, *make_rules(ask.rules, "the request")]

    def _order(self, ask: Ask) -> Order:
        if ask.order is None:
            return self.order
        order = make(ORDERS, ask.order.kind, ask.order.params, what="kind", where="the request, order")
        check_order(order, ask.order.kind, self.reader.references)
        return order

    def retrieved(self, asks: Sequence[Ask], settings: OrderConfig, now: datetime) -> list[Retrieved]:
        """Return the candidates of each request; they have one seed, and all or none bring their items."""
        pinned = self.catalogue.array(list(settings.pin)) if settings.pin else None
        if asks[0].items is not None:
            brought = [self.catalogue.array(list(ask.items)) for ask in asks]
            return [Retrieved(items, {CALLER: np.ones(len(items), bool)}) for items in brought]
        users = [ask.user for ask in asks]
        found = self.retriever.retrieve_many(users, now, settings.explore, asks[0].seed)
        return found if pinned is None else [_with_pinned(one, pinned) for one in found]

    def _read(self, ask: Ask, found: Retrieved, rules: Sequence[NamedRule], order: Order, now: datetime) -> Pool:
        wanted = self._wanted(rules, order)
        if ask.unfamiliar is not None:
            wanted = dict.fromkeys([*wanted, *_FAMILIARITY])
        entities = {USER: user_key(ask.user, len(found.items)), ITEM: found.items}
        answer = self.reader.read(wanted, entities, now)
        return Pool(found.items, found.origins, answer, now, ask.context)

    def _wanted(self, rules: Sequence[NamedRule], order: Order) -> Iterable[str]:
        """Return the columns that a request reads."""
        wanted = [*self.columns.names, *self.proposers.values()]
        wanted += [column for _, rule in rules for column in rule.columns]
        return dict.fromkeys([*wanted, *order.columns])

    def _served(
        self, pool: Pool, rows: np.ndarray, scores: np.ndarray, reasons: Sequence[Reasons | None]
    ) -> list[Served]:
        items = pool.items.take(pa.array(rows))
        sources = self._sources(pool, rows)
        return [
            Served(*one)
            for one in zip(
                items.to_pylist(), self.catalogue.titles_of(items), scores[rows].tolist(), sources, reasons, strict=True
            )
        ]

    def _sources(self, pool: Pool, rows: np.ndarray) -> list[tuple[str, ...]]:
        """Name who proposed each row: the sources of stage one, then the ways of retrieval."""
        proposed = pool.answer.matrix(list(self.proposers.values()), np.float32)[rows] > 0
        marks = [proposed, *(origin[rows, None] for origin in pool.origins.values())]
        names = [*self.proposers, *pool.origins]
        return [tuple(names[place] for place in np.flatnonzero(row)) for row in np.hstack(marks)]

    def _reasons(self, matrix: np.ndarray) -> list[Reasons]:
        from ranking.families import columns_by_family

        manifest = self.model.manifest
        values = self.model.contributions(matrix)
        places = columns_by_family(manifest.encoding.names, manifest.families)
        summed = {name: values[:, columns].sum(axis=1) for name, columns in places.items()}
        result = []
        for row, base in enumerate(values[:, -1].tolist()):
            families = {name: float(moves[row]) for name, moves in summed.items() if moves[row]}
            ordered = sorted(families.items(), key=lambda family: (-abs(family[1]), family[0]))
            result.append(Reasons(base, dict(ordered)))
        return result


def check_k(k: int, most: int) -> None:
    """Raise DataError for a k that can't be filled."""
    if 1 <= k <= most:
        return
    raise DataError(
        "k", expected=f"1 to {most}, as many items as there can be", got=str(k), fix="Give another k, or raise "
        "`depth` under `candidates` (then `rankhouse refresh`) or `serving.max_k` in rankhouse.yaml.",
    )  # fmt: skip


def require_known(path: RequestPath, ask: Ask, now: datetime) -> tuple[Answer, Scored | None]:
    """Answer a request without any rule; raises MissingError for a user of whom nothing is online."""
    answer, scored = replace(path, rules=()).answer(ask, now)
    if answer.known:
        return answer, scored
    raise MissingError(
        "the user",
        expected="a user of whom something is online",
        got=repr(ask.user),
        fix="Post an event of the user, or run `rankhouse refresh`.",
    )


def filtered(pool: Pool, rules: Sequence[NamedRule]) -> tuple[np.ndarray, dict[str, int]]:
    """Return which candidates stay, bool per row (rules look at one row at a time), and how many each rule removed."""
    kept, removed = np.ones(len(pool), bool), {}
    for name, rule in rules:
        mask = rule.keep(pool)
        if mask is not None:
            removed[name] = removed.get(name, 0) + int((kept & ~mask).sum())
            kept &= mask
    return kept, removed


def arranged(
    pool: Pool,
    rows: np.ndarray,
    scores: np.ndarray,
    ask: Ask,
    settings: OrderConfig,
    order: Order,
    rules: Sequence[NamedRule],
) -> np.ndarray:
    """Return the rows of the list: pinned items, the arranged ones, then those that are tried out."""
    ranked = rows[np.argsort(-scores[rows], kind="stable")]
    pinned = _pinned_rows(pool, ranked, settings)
    listed = ranked[~np.isin(ranked, pinned)] if len(pinned) else ranked
    explored = ranked[:0]
    if EXPLORATION in pool.origins:
        tried = _only_tried(pool)[listed]
        explored = listed[tried][: max(min(settings.explore, ask.k - len(pinned)), 0)]
        listed = listed[~tried]
    room = ask.k - len(explored)
    places = max(room - len(pinned), 0)
    if ask.unfamiliar is not None:
        listed = with_unfamiliar(pool, listed, places, ask.unfamiliar)
    listed = np.concatenate([pinned, order.arrange(pool, listed, scores, places)])
    listed = _trimmed(pool, listed, rules, room)
    return _trimmed(pool, np.concatenate([listed, explored]), rules, ask.k) if len(explored) else listed


def _trimmed(pool: Pool, rows: np.ndarray, rules: Sequence[NamedRule], k: int) -> np.ndarray:
    for _, rule in rules:
        rows = rule.trim(pool, rows, k)
    return rows[:k]


def _pinned_rows(pool: Pool, rows: np.ndarray, settings: OrderConfig) -> np.ndarray:
    """Return the rows of the pinned items that passed the rules, in the order in which they are pinned."""
    if not settings.pin:
        return rows[:0]
    place = {str(item): row for row, item in enumerate(pool.items.to_pylist())}
    allowed = set(rows.tolist())
    wanted = [place.get(str(item), -1) for item in settings.pin]
    return np.array([row for row in wanted if row in allowed], np.int64)


def _only_tried(pool: Pool) -> np.ndarray:
    """Return which items only exploration proposed, bool per item."""
    others = [origin for name, origin in pool.origins.items() if name != EXPLORATION]
    return pool.origins[EXPLORATION] & ~np.logical_or.reduce(others)


def _with_pinned(found: Retrieved, pinned: pa.Array) -> Retrieved:
    from ranking.serving.retrieve import union

    parts = {name: found.items.filter(pa.array(mask)) for name, mask in found.origins.items()}
    merged = union({**parts, "pinned": pinned})
    if found.popularity is None:
        return merged
    popularity = np.zeros(len(merged.items))
    popularity[np.isin(merged.items.to_numpy(zero_copy_only=False), found.items.to_numpy(zero_copy_only=False))] = (
        found.popularity
    )
    return Retrieved(merged.items, merged.origins, popularity)


def _milliseconds(times: Sequence[float]) -> dict[str, float]:
    names = ("retrieve", "read", "filter", "score", "order")
    steps = np.diff(times) * 1e3
    return {**{name: round(float(step), 3) for name, step in zip(names, steps, strict=True)},
            "total": round((times[-1] - times[0]) * 1e3, 3)}  # fmt: skip
