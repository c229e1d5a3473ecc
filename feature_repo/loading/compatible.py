"""What a later load may change about a lake: it may add event types and attributes, never redefine them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from feature_repo.columns import ITEM, USER
from feature_repo.config import Roles
from feature_repo.errors import DataError
from feature_repo.lake import IdType, Manifest
from feature_repo.loading.dataset import Dataset

_ELSEWHERE = "or load it into a lake of its own (--data-dir)."


def check_same_data_set(dataset: Dataset, before: Manifest | None, lake_types: set[str]) -> None:
    """Raise DataError where a data set contradicts the lake: another name, setting, role or kind of attribute.

    `lake_types` are the types that events in the lake have.
    """
    if before is None:
        return
    _must_agree(dataset, "name of the data set", before.name, dataset.name)
    for name in before.settings.keys() & dataset.settings.keys():
        _must_agree(dataset, f"setting {name}", before.settings[name], dataset.settings[name])
    roles = Roles.model_validate(before.roles)
    for name in sorted(dataset.event_types & (lake_types | _named_types(roles))):
        _must_agree(dataset, f"event type {name}", _role(roles, name), _role(dataset.roles, name))
    for what, old, new in (
        ("user", before.user_attributes, dataset.user_attributes),
        ("item", before.item_attributes, dataset.item_attributes),
    ):
        for name in old.keys() & new.keys():
            _must_agree(dataset, f"{what} attribute {name}", old[name], new[name])


def _named_types(roles: Roles) -> set[str]:
    return {*roles.targets, *roles.consuming}


def _role(roles: Roles, name: str) -> str:
    return f"weight {roles.targets.get(name, 0.0):g}, {'' if name in roles.consuming else 'not '}consuming"


def _must_agree(dataset: Dataset, what: str, old: object, new: object) -> None:
    if old != new:
        raise DataError(
            f"{dataset.source}, {what}",
            expected=f"{old}, as in the lake",
            got=str(new),
            fix=f"Load it with the lake's, {_ELSEWHERE}",
        )


def merge(before: Manifest | None, dataset: Dataset, id_types: Mapping[str, IdType]) -> Manifest:
    """Return the manifest with the data set's event types and attributes, without the new load."""
    old = before or Manifest(
        name=dataset.name,
        user_id_type=id_types[USER],
        item_id_type=id_types[ITEM],
        roles={"targets": {}, "consuming": []},
    )
    targets = {**old.roles["targets"], **dataset.roles.targets}
    consuming = list(dict.fromkeys([*old.roles["consuming"], *dataset.roles.consuming]))
    return replace(
        old,
        roles={"targets": targets, "consuming": consuming},
        user_attributes={**old.user_attributes, **dataset.user_attributes},
        item_attributes={**old.item_attributes, **dataset.item_attributes},
        settings={**old.settings, **dataset.settings},
    )
