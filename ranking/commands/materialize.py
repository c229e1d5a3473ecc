"""`rankhouse materialize`: bring the online store up to date."""

from __future__ import annotations

from ranking.commands.options import ConfigFile, DataDir


def materialize(data_dir: DataDir = None, config: ConfigFile = None) -> None:
    """Write the latest rows of every view to the online store, up to what was built last; that becomes its clock."""
    from rich.console import Console
    from rich.table import Table

    from feature_repo.workspace import Workspace

    workspace = Workspace.open(data_dir, config)
    with Console(stderr=True).status("materialize") as status:
        from feature_repo.store import materialize as bring_online

        done = bring_online(workspace, lambda view, _done, _total: status.update(f"materialize {view}"))
    table = Table("view", "rows since", "up to")
    for entry in done:
        table.add_row(entry.view, f"{entry.start:%Y-%m-%d %H:%M:%S}", f"{entry.end:%Y-%m-%d %H:%M:%S}")
    Console().print(table)
