"""The request's own features have a service of their own, the same offline and online; the ranker sees none."""

from __future__ import annotations

import pyarrow as pa

from feature_repo import store
from feature_repo.on_demand.context import FUNCTION, TEXTS
from feature_repo.services import CONTEXT, RANKER
from feature_repo.workspace import Workspace


def test_offline_and_online_agree(world: Workspace) -> None:
    users = pa.array([1, 2, 3, -1])
    devices, surfaces = pa.array(["phone", None, "tv", "phone"]), pa.array([None, None, None, "home"], pa.string())
    moments = pa.array([world.now] * 4, pa.timestamp("us", tz="UTC"))
    spine = pa.table({"user_id": users, "event_timestamp": moments, "device": devices, "surface": surfaces})
    offline = store.historical_features(world, spine, CONTEXT)
    opened = store.open_store(world)
    request = {"request_time": [world.now] * 4, "device": devices.to_pylist(), "surface": surfaces.to_pylist()}
    with store.quiet():
        service = opened.get_feature_service(CONTEXT)
        online = opened.get_online_features(service, {"user_id": users.to_pylist(), **request}).to_dict()
    names = store.service_columns(service)
    assert {*FUNCTION.outputs, *TEXTS} == set(names)
    assert {name: online[name] for name in names} == {name: offline[name].to_pylist() for name in names}
    assert offline["context_device"].to_pylist() == devices.to_pylist()
    assert offline["context_hour"].to_pylist() == [world.now.hour] * 4
    assert offline["context_hours_since_last_event"].null_count == 1


def test_the_ranker_does_not_see_the_hour(world: Workspace) -> None:
    service = store.feature_service(store.open_store(world), RANKER)
    assert not {*FUNCTION.outputs, *TEXTS} & set(store.service_columns(service))
