"""A view's table as Feast's plan lists it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from feast.infra.infra_object import InfraObject
from feast.protos.feast.core.InfraObject_pb2 import InfraObject as InfraObjectProto
from feast.protos.feast.core.Registry_pb2 import Registry as RegistryProto
from feast.protos.feast.core.SqliteTable_pb2 import SqliteTable as SqliteTableProto

from feature_repo.stores.packed_db import PackedDatabase

CLASS_TYPE: Final = "feature_repo.stores.packed_infra.PackedViewTable"


class PackedViewTable(InfraObject):
    """The table of one view in the packed store's file.

    Feast's diff shows only stock tables; the store's own `update` makes ours, so `update` has nothing to do here.
    """

    def __init__(self, path: str, project: str, view: str) -> None:
        super().__init__(f"{project}_{view}")
        self.path, self.project, self.view = path, project, view

    def to_proto(self) -> SqliteTableProto:
        return SqliteTableProto(path=self.path, name=f"{self.project}/{self.view}")

    def to_infra_object_proto(self) -> InfraObjectProto:
        return InfraObjectProto(infra_object_class_type=CLASS_TYPE, sqlite_table=self.to_proto())

    @staticmethod
    def from_infra_object_proto(infra_object_proto: InfraObjectProto) -> PackedViewTable:
        return PackedViewTable.from_proto(infra_object_proto.sqlite_table)

    @staticmethod
    def from_proto(infra_object_proto: SqliteTableProto) -> PackedViewTable:
        project, _, view = infra_object_proto.name.partition("/")
        return PackedViewTable(infra_object_proto.path, project, view)

    def update(self) -> None:
        """Do nothing: a table needs the view's join keys, which only the store's `update` is given."""

    def teardown(self) -> None:
        database = PackedDatabase(Path(self.path))
        with database.transaction() as writer:
            writer.drop(self.project, self.view)
        database.close()


def planned_views(registry: RegistryProto) -> list[str]:
    """Return the names of the views that a registry serves online."""
    views = [*registry.feature_views, *registry.stream_feature_views, *registry.label_views]
    names = [view.spec.name for view in views if view.spec.online]
    return names + [v.spec.name for v in registry.on_demand_feature_views if v.spec.write_to_online_store]
