"""`scripts/bench serve` without its world: a server of its own, clients, and what is made of their times."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from feature_repo.config import load_config
from feature_repo.workspace import Workspace
from ranking.serving.path import RequestPath

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts" / "benchmarks"))

import serve
import serve_http


def test_clients_are_answered_and_events_take_effect(
    served: Workspace, copy_of: Callable[[Workspace], Workspace]
) -> None:
    with serve_http.serving(copy_of(served), workers=1) as server:
        seen = serve_http.ask_for(server, [1, 2, 3], 0.5, clients=2, rate=20)
        assert seen.errors == 0
        assert 2 <= len(seen.milliseconds) <= 14
        assert server.megabytes() > 50
        assert len(serve_http.effect_of_events(server, [1, 2], "purchase")) == 2
        scale = replace(serve.QUICK, seconds=0.3, requests=4)
        *turns, above = serve.turn_cases(server, RequestPath.open(served), [1, 2, 3], scale)
        assert [row.metric for row in turns] == [f"p50, turn {turn}" for turn in range(1, serve.TURNS + 1)]
        assert above.ours == pytest.approx(np.median([row.ours - row.peer for row in turns]))
    assert server.process.returncode is not None


def test_quantiles_lie_beside_those_of_the_peer() -> None:
    p50, p99 = serve.quantile_rows("case", np.arange(101.0), np.arange(101.0) / 2, "peer")
    assert (p50.ours, p50.peer, p50.ratio) == (50, 25, 0.5)
    assert (p99.metric, p99.ours) == ("p99", 99)


@pytest.mark.parametrize("scale", [serve.QUICK, serve.FULL])
def test_the_world_is_configured_within_the_shipped_keys(tmp_path: Path, scale: serve.Scale) -> None:
    config = load_config(serve.configured(tmp_path, scale))
    assert {source.depth for source in config.candidates.sources.values()} == {scale.depth}
    assert config.ranker.rounds == scale.rounds
