"""`rankhouse models`: what was trained, in detail, and which one serves."""

from __future__ import annotations

from typing import Annotated

import typer

from ranking.commands.options import ConfigFile, DataDir

models = typer.Typer(help="List, show and promote trained rankers.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The model's name, as listed.")]


@models.command("list")
def list_models(data_dir: DataDir = None, config: ConfigFile = None) -> None:
    """List the models; the current one is marked."""
    from rich.console import Console
    from rich.table import Table

    from feature_repo.workspace import Workspace
    from ranking import model_store

    workspace = Workspace.open(data_dir, config)
    current = model_store.current(workspace)
    table = Table("", "model", "service", "trees", "validation NDCG@10", "data up to")
    for name in model_store.names(workspace):
        manifest = model_store.read_manifest(workspace, name)
        quality = manifest.metrics["validation ndcg@10"]
        mark = "*" if name == current else ""
        table.add_row(mark, name, manifest.service, str(manifest.rounds), f"{quality:.4f}", manifest.labels_end[:19])
    Console(highlight=False).print(table)


@models.command("show")
def show_model(name: Name, data_dir: DataDir = None, config: ConfigFile = None) -> None:
    """Print a model's manifest."""
    from feature_repo.workspace import Workspace
    from ranking import model_store

    typer.echo(model_store.read_manifest(Workspace.open(data_dir, config), name).to_json(), nl=False)


@models.command("log")
def log_model(
    name: Annotated[str | None, typer.Argument(help="The model's name.  [default: the current one]")] = None,
    experiment: Annotated[str, typer.Option(help="The experiment of MLflow.")] = "rankhouse",
    data_dir: DataDir = None,
    config: ConfigFile = None,
) -> None:
    """Log a model to MLflow: settings, validation metrics, its files. Needs the extra `mlflow`."""
    from feature_repo.workspace import Workspace
    from ranking.mlflow_log import log_model as log

    typer.echo(f"Run {log(Workspace.open(data_dir, config), name, experiment=experiment)}.")


@models.command("promote")
def promote_model(name: Name, data_dir: DataDir = None, config: ConfigFile = None) -> None:
    """Make a model the current one, if the feature service still yields its columns."""
    from feature_repo.workspace import Workspace
    from ranking import model_store
    from ranking.service import service_columns

    workspace = Workspace.open(data_dir, config)
    manifest = model_store.read_manifest(workspace, name)
    model_store.check_columns(manifest, service_columns(workspace, manifest.service))
    model_store.promote(workspace, name)
    typer.echo(f"{name} is the current model.")


@models.command("rollback")
def rollback_model(data_dir: DataDir = None, config: ConfigFile = None) -> None:
    """Go back to the model that was current before."""
    from feature_repo.workspace import Workspace
    from ranking import model_store

    workspace = Workspace.open(data_dir, config)
    before = model_store.current(workspace)
    typer.echo(f"{model_store.rollback(workspace)} is the current model, in place of {before}.")
