"""`rankhouse apply`: register the definitions for a data directory."""

from __future__ import annotations

from ranking.commands.options import ConfigFile, DataDir


def apply(data_dir: DataDir = None, config: ConfigFile = None) -> None:
    """Register entities, feature views and services, as `feast apply` does for this data directory."""
    from rich.console import Console
    from rich.table import Table

    from feature_repo.workspace import Workspace

    workspace = Workspace.open(data_dir, config)
    with Console(stderr=True).status("apply"):
        from feature_repo.store import apply as apply_definitions
        from feature_repo.store import service_columns

        store = apply_definitions(workspace)
        rows = [(view.name, ", ".join(view.join_keys), len(view.features)) for view in store.list_feature_views()]
        rows += [(view.name, "on demand", len(view.features)) for view in store.list_on_demand_feature_views()]
        services = store.list_feature_services()
    table = Table("feature view", "keyed by", "features")
    for name, keys, features in sorted(rows):
        table.add_row(name, keys, str(features))
    console = Console()
    console.print(table)
    for service in services:
        console.print(f"service {service.name}: {len(service_columns(service))} features")
