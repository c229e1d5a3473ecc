"""`rankhouse train`: fit the ranker and make it the current model."""

from __future__ import annotations

from ranking.commands.options import ConfigFile, DataDir


def train(data_dir: DataDir = None, config: ConfigFile = None) -> None:
    """Train the ranker on the candidates of the training cuts, stop early on the validation window, save the model."""
    from rich.console import Console

    from feature_repo.workspace import Workspace
    from ranking.progress import shown_progress
    from ranking.train import train as train_ranker

    workspace = Workspace.open(data_dir, config)
    with shown_progress() as progress:
        manifest = train_ranker(workspace, progress=progress)
    training = manifest.training
    console = Console(highlight=False)
    console.print(
        f"{training['rows']:,} pairs of {training['groups']:,} lists, {training['positives']:,} of them consumed; "
        f"{training['lost_positives']:,} that no source proposed are lost."
    )
    metrics = manifest.metrics
    console.print(
        f"{len(manifest.encoding.columns)} columns of {manifest.service}, {manifest.rounds} trees, validation NDCG@10 "
        f"{metrics['validation ndcg@10']:.4f} over {metrics['validation users']:,} users."
    )
    console.print(f"Saved as {manifest.name}, the current model.")
