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
        views = [*store.list_feature_views(), *store.list_on_demand_feature_views()]
        services = store.list_feature_services()
    table = Table("feature view", "keyed by", "features")
    for view in sorted(views, key=lambda view: view.name):
        keys = ", ".join(getattr(view, "join_keys", [])) or "on demand"
        table.add_row(view.name, keys, str(len(view.features)))
    console = Console()
    console.print(table)
    for service in services:
        console.print(f"service {service.name}: {len(service_columns(service))} features")
