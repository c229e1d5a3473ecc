"""The HTTP service: `rankhouse serve` runs it, `create` makes it for a workspace named in the environment."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse
from starlette.exceptions import HTTPException

from feature_repo.columns import ITEM
from feature_repo.errors import MissingError, RankhouseError, UnreachableError
from ranking.serving.clock import ServingClock
from ranking.serving.current import Current
from ranking.serving.events import EventSink
from ranking.serving.guard import Guard
from ranking.serving.measured import Measured
from ranking.serving.memory import keep_memory, settle
from ranking.serving.metrics import Metrics
from ranking.serving.path import RequestPath, require_known
from ranking.serving.request import Answer, Ask
from ranking.serving.schemas import (
    ErrorAnswer,
    EventsAnswer,
    EventsBody,
    ExplainAnswer,
    RankBody,
    RecommendAnswer,
    RecommendBody,
    SimilarAnswer,
    SimilarBody,
    Status,
)
from ranking.serving.served_log import ServedLog

if TYPE_CHECKING:
    from feature_repo.workspace import Workspace

LARGEST_MOVES: Final = 10
_FLUSH_POLL: Final = 5.0
_ERRORS: Final = {code: {"model": ErrorAnswer} for code in (400, 401, 404, 413, 422, 503)}
_log = logging.getLogger(__name__)


class Service:
    """What the endpoints share."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.clock = ServingClock(workspace)
        self.metrics = Metrics()
        self.current = Current(workspace, on_change=self.metrics.models.inc)
        self.events = EventSink(workspace, self.clock)
        self.served = ServedLog(workspace, self.metrics, before_write=self.events.pushed.flush)

    def path(self) -> RequestPath:
        """Return the path that serves now; raises NotReady before there is one."""
        if self.current.path is None:
            raise NotReady(self.current.problem or "starting")
        return self.current.path

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        """Open everything, flush journals while it runs, leave nothing behind."""
        keep_memory()
        await asyncio.to_thread(self.events.start)
        await asyncio.to_thread(self.current.start)
        self.served.start()
        await asyncio.to_thread(settle)
        flusher = asyncio.create_task(self._flush())
        yield
        flusher.cancel()
        await asyncio.to_thread(self.current.stop)
        await asyncio.to_thread(self.events.flush)
        await asyncio.to_thread(self.served.stop)

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(_FLUSH_POLL)
            try:
                await asyncio.to_thread(self.events.flush_if_due)
            except (OSError, RankhouseError) as error:
                _log.error("the journal waits: %s", error)


class NotReady(Exception):
    """Nothing can be answered yet."""


def create(workspace: Workspace | None = None) -> Guard:
    """Make the application for a workspace (default: the one that the environment names)."""
    from feature_repo.workspace import Workspace

    workspace = workspace or Workspace.open()
    settings = workspace.config.serving
    service = Service(workspace)
    app = FastAPI(title="Rankhouse", version="0.1.0", lifespan=service.lifespan, responses=_ERRORS)
    _handle_errors(app)
    _add_requests(app, service)
    _add_status(app, service)
    app.add_middleware(Measured, metrics=service.metrics)
    app.state.service = service
    key = os.environ.get(settings.api_key_env) or None
    return Guard(app, key, settings.max_body_kb * 1024)


def _add_requests(app: FastAPI, service: Service) -> None:
    @app.post("/recommend", response_model=RecommendAnswer)
    async def recommend(body: RecommendBody) -> Response:
        """Retrieve, filter, score and order items for a user."""
        return _answered(service, body, body.k)

    @app.post("/rank", response_model=RecommendAnswer)
    async def rank(body: RankBody) -> Response:
        """Filter, score and order the caller's items for a user."""
        return _answered(service, body, len(set(body.items)) if body.k is None else body.k)

    @app.post("/similar", response_model=SimilarAnswer)
    async def similar(body: SimilarBody) -> Response:
        """Items that the published neighbour lists of an item name."""
        import pyarrow as pa

        from ranking.serving.path import check_k

        path = service.path()
        item = path.catalogue.item(body.item)
        check_k(body.k, service.workspace.config.serving.max_k)
        asked = pa.array([item], path.catalogue.items.type)
        found, weights = path.retriever.neighbours(asked, body.k)
        items = [
            {"item": one, "title": title, "weight": weight}
            for one, title, weight in zip(
                found.to_pylist(), path.catalogue.titles_of(found), weights.tolist(), strict=True
            )
        ]
        return _json({"item": item, "items": items})

    @app.post("/events", response_model=EventsAnswer)
    async def events(body: EventsBody) -> EventsAnswer:
        """Take events in; the users' next responses see them."""
        path = service.path()
        checked = service.events.checked(body.events, path.catalogue)
        taken = await asyncio.to_thread(service.events.take, checked, path.reader)
        service.metrics.events.inc(taken.accepted)
        return EventsAnswer(**asdict(taken))

    @app.get("/explain/{user}/{item}", response_model=ExplainAnswer)
    async def explain(user: str, item: str) -> Response:
        """Why an item scores as it does for a user."""
        path = service.path()
        ask = Ask(path.catalogue.user(user), 1, items=(path.catalogue.item(item),))
        return _json(_explained(path, ask, service))


def _add_status(app: FastAPI, service: Service) -> None:
    @app.get("/health", response_model=Status)
    async def health() -> Status:
        """Whether the process is up."""
        return Status(status="ok")

    @app.get("/ready", response_model=Status)
    async def ready(response: Response) -> Status:
        """Whether requests can be answered; `problem`: why a newer model or registry was not taken over."""
        path = service.current.path
        if path is None:
            response.status_code = 503
            return Status(status="not ready", problem=service.current.problem)
        return Status(status="ready", model=path.model.manifest.name, problem=service.current.problem)

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Prometheus' text format."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


def _answered(service: Service, body: RecommendBody, k: int) -> Response:
    path = service.path()
    ask = Ask(
        user=path.catalogue.user(body.user),
        k=k,
        items=_checked_items(service, body.items),
        context=body.context,
        rules=tuple(rule.setting() for rule in body.rules),
        order=None if body.order is None else body.order.setting(),
        unfamiliar=body.unfamiliar,
        seed=body.seed,
        reasons=body.reasons,
    )
    answer, scored = path.answer(ask, service.clock.now())
    service.served.offer(scored, path)
    for stage, ms in answer.ms.items():
        service.metrics.stages.labels(stage).observe(ms / 1e3)
    return _json(_plain(answer))


def _checked_items(service: Service, items: list[int | str] | None) -> tuple[int | str, ...] | None:
    from feature_repo.errors import DataError

    most = service.workspace.config.serving.max_candidates
    if items is not None and not 1 <= len(items) <= most:
        raise DataError("the items", expected=f"1 to {most:,} of them", got=f"{len(items):,}", fix="Send fewer.")
    return None if items is None else tuple(items)


def _explained(path: RequestPath, ask: Ask, service: Service) -> dict:
    from feature_repo.errors import DataError

    answer, scored = require_known(path, Ask(ask.user, 1, items=ask.items, reasons=True), service.clock.now())
    if not answer.items or scored is None:
        raise DataError(
            f"the {ITEM}", expected="an item that can be scored", got=str(ask.items), fix="Ask for another."
        )
    moves = path.model.contributions(scored.matrix)[0]
    names = path.model.manifest.encoding.names
    largest = sorted(zip(names, moves.tolist(), strict=False), key=lambda move: -abs(move[1]))[:LARGEST_MOVES]
    first = answer.items[0]
    return {
        "user": answer.user,
        "item": first.item,
        "title": first.title,
        "model": answer.model,
        "score": first.score,
        "base": first.reasons.base,
        "families": first.reasons.families,
        "columns": {name: move for name, move in largest if move},
    }


def _plain(answer: Answer) -> dict:
    """Return an answer as what JSON has; dataclasses.asdict takes several times as long."""
    items = []
    for one in answer.items:
        item = {"item": one.item, "title": one.title, "score": one.score, "sources": one.sources, "reasons": None}
        if one.reasons is not None:
            item["reasons"] = {"base": one.reasons.base, "families": one.reasons.families}
        items.append(item)
    return {**vars(answer), "items": items}


def _json(content: dict) -> Response:
    return Response(json.dumps(content, ensure_ascii=False), media_type="application/json")


def _handle_errors(app: FastAPI) -> None:
    """One message per error, in one shape."""

    @app.exception_handler(RankhouseError)
    async def _(_: Request, error: RankhouseError) -> Response:
        if isinstance(error, UnreachableError):
            return _refused(503, str(error))
        return _refused(404 if isinstance(error, MissingError) else 422, str(error))

    @app.exception_handler(NotReady)
    async def _(_: Request, error: NotReady) -> Response:
        return _refused(503, f"Not ready: {error}")

    @app.exception_handler(RequestValidationError)
    async def _(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return _refused(422, f"{place}: {first['msg']}")

    @app.exception_handler(HTTPException)
    async def _(_: Request, error: HTTPException) -> Response:
        response = _refused(error.status_code, str(error.detail))
        response.headers.update(error.headers or {})
        return response


def _refused(status: int, text: str) -> Response:
    clean = text.encode("utf-8", "replace").decode()
    return Response(json.dumps({"error": clean}), status_code=status, media_type="application/json")
