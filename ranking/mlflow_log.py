"""A saved model as a run of MLflow (extra `mlflow`): settings, validation metrics and the model's own files.

Where the run goes is MLflow's business: `MLFLOW_TRACKING_URI`, or what its configuration says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from feature_repo.errors import MissingError
from ranking import model_store

if TYPE_CHECKING:
    from feature_repo.workspace import Workspace
    from ranking.model_store import ModelManifest

_NAMED = ("service", "objective", "rounds", "labels_end")


def log_model(workspace: Workspace, name: str | None = None, *, experiment: str = "rankhouse") -> str:
    """Log a model (default: the current one); return the id of the run.

    Raises MissingError where there is no such model, and where MLflow is not installed.
    """
    mlflow = _mlflow()
    manifest = model_store.read_manifest(workspace, name)
    mlflow.set_experiment(experiment)
    with mlflow.start_run(run_name=manifest.name) as run:
        mlflow.log_params(run_params(manifest))
        mlflow.log_metrics({metric.replace("@", "_at_"): value for metric, value in manifest.metrics.items()})
        mlflow.set_tags({"model": manifest.name, "data_fingerprint": manifest.data_fingerprint, **manifest.versions})
        mlflow.log_artifacts(str(workspace.models_path / manifest.name))
    return str(run.info.run_id)


def run_params(manifest: ModelManifest) -> dict[str, str]:
    """Return what decided a model as flat text parameters; the sources of stage one are in the manifest alone."""
    found = {name: getattr(manifest, name) for name in _NAMED}
    found |= {"cuts": len(manifest.cuts)} | {f"seed.{name}": seed for name, seed in manifest.seeds.items()}
    kept = {part: content for part, content in manifest.configuration.items() if part in ("ranker", "split")}
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in (found | flat(kept)).items()}


def flat(content: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Return nested mappings as one, keys joined by dots.

    >>> flat({"ranker": {"params": {"num_leaves": 15}, "blend": ["binary"]}})
    {'ranker.params.num_leaves': 15, 'ranker.blend': ['binary']}
    """
    found: dict[str, Any] = {}
    for key, value in content.items():
        found |= flat(value, f"{before}{key}.") if isinstance(value, Mapping) else {f"{before}{key}": value}
    return found


def _mlflow() -> Any:
    try:
        import mlflow
    except ModuleNotFoundError:
        raise MissingError(
            "rankhouse models log",
            expected="the package mlflow",
            got="none installed",
            fix="Install the extra: `pip install 'rankhouse[mlflow]'`.",
        ) from None
    return mlflow
