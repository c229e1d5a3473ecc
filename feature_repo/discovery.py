"""Everything that Feast should know, found in the folders: entities, feature views, on-demand views, services."""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import feature_repo.on_demand
import feature_repo.views
from feature_repo.columns import CUT
from feature_repo.data_set import DataSet
from feature_repo.errors import ContractError, MissingError, did_you_mean

if TYPE_CHECKING:
    from feast import Entity, FeatureService, FeatureView, OnDemandFeatureView

STAGE_TAG = "stage"


@dataclass(frozen=True)
class Definitions:
    """The Feast objects of one data set. A view whose data is missing is left out, and its features with it."""

    entities: tuple[Entity, ...]
    views: tuple[FeatureView, ...]
    on_demand: tuple[OnDemandFeatureView, ...]
    services: tuple[FeatureService, ...]

    @property
    def objects(self) -> list[Entity | FeatureView | OnDemandFeatureView | FeatureService]:
        """All of them, in the order in which they refer to each other."""
        return [*self.entities, *self.views, *self.on_demand, *self.services]

    @property
    def computed(self) -> dict[str, FeatureView]:
        """The views that the runner computes from SQL; stage one writes the others itself."""
        return {view.name: view for view in self.views if STAGE_TAG not in view.tags}

    def computed_view(self, name: str) -> FeatureView:
        if name in self.computed:
            return self.computed[name]
        raise MissingError(
            "the feature views",
            expected=f"one of {', '.join(self.computed)}",
            got=repr(name),
            fix=f"Correct the name.{did_you_mean(name, self.computed)}",
        )


def discover(data: DataSet) -> Definitions:
    """Collect the definitions for a data set: each module of `views` and `on_demand` has a function `define`."""
    from feature_repo.services import services

    stored = discover_views(data)
    views = {view.name: view for view in stored.views}
    on_demand = {name: view for name, view in _defined(feature_repo.on_demand, views) if view is not None}
    _check_unique_features([*views.values(), *on_demand.values()])
    return replace(
        stored,
        on_demand=tuple(on_demand.values()),
        services=services(stored.views, tuple(on_demand.values()), data.log_share),
    )


def discover_views(data: DataSet) -> Definitions:
    """Collect entities and feature views alone: what is built; on-demand views and services take as long again."""
    from feature_repo.entities import item, user

    views = [view for _, view in _defined(feature_repo.views, data) if view is not None]
    _check_unique_features(views)
    return Definitions(entities=(user(data), item(data)), views=tuple(views), on_demand=(), services=())


def sql_path(view: str) -> Path:
    """The SQL file of a view."""
    return Path(feature_repo.views.__file__).parent / f"{view}.sql"


def _defined(package: ModuleType, *arguments: object) -> list[tuple[str, FeatureView | OnDemandFeatureView | None]]:
    """Call `define` of every module in a package that has one; the object must carry the module's name."""
    found = []
    for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda info: info.name):
        define = getattr(import_module(f"{package.__name__}.{info.name}"), "define", None)
        if define is None:
            continue
        defined = define(*arguments)
        if defined is not None and defined.name != info.name:
            raise ContractError(
                f"{package.__name__}.{info.name}",
                expected=f"a definition named {info.name!r}, like its file",
                got=repr(defined.name),
                fix="Rename one of the two.",
            )
        found.append((info.name, defined))
    return found


def _check_unique_features(views: list[FeatureView | OnDemandFeatureView]) -> None:
    """Raise ContractError where two views name a feature alike: a service joins them into one table."""
    owner: dict[str, str] = {}
    for view in views:
        for feature in view.features:
            other = owner.setdefault(feature.name, view.name)
            if other != view.name and feature.name != CUT:
                raise ContractError(
                    f"the view {view.name}",
                    expected="feature names of its own",
                    got=f"{feature.name}, which {other} has too",
                    fix="Rename the feature.",
                )
