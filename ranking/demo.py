"""The whole chain in one go, each stage by the function that its own command calls; what is current is skipped.

A stage is current when the log, the configuration and the code that it ran with are what they are now. The state lies
in `<data dir>/demo.json`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Final

from candidate_gen.pipeline import Progress

if TYPE_CHECKING:
    from feature_repo.workspace import Workspace

Stage = Callable[["Workspace", Progress], None]
PACKAGES: Final = ("feature_repo", "candidate_gen", "ranking")


@dataclass
class DemoRun:
    """Stages of one run over a workspace: which ran, how long they took, which were current already."""

    workspace: Workspace
    seconds: dict[str, float] = field(default_factory=dict)
    current: list[str] = field(default_factory=list)

    @property
    def state_path(self) -> Path:
        return self.workspace.data_dir / "demo.json"

    def run(self, stages: dict[str, Stage], progress: Callable[[str], Progress]) -> Iterator[str]:
        """Run the stages that are not current, in order, and yield each one's name before it starts.

        A stage that runs makes every later one run too.
        """
        digest = self.digest()
        done = self._done() if self._done().get("digest") == digest else {"digest": digest, "stages": []}
        for name, stage in stages.items():
            if name in done["stages"]:
                self.current.append(name)
                continue
            yield name
            start = perf_counter()
            stage(self.workspace, progress(name))
            self.seconds[name] = perf_counter() - start
            done["stages"].append(name)
            self._write(done)

    def digest(self) -> str:
        """Return a digest of everything that the stages depend on."""
        parts = [self.workspace.lake.fingerprint(), self.workspace.config.model_dump_json()]
        root = Path(__file__).parent.parent
        for package in PACKAGES:
            for path in sorted((root / package).rglob("*")):
                if path.suffix in (".py", ".sql", ".yaml") and "data" not in path.relative_to(root).parts:
                    parts.append(sha256(path.read_bytes()).hexdigest())
        return sha256("\n".join(parts).encode()).hexdigest()

    def _done(self) -> dict:
        if not self.state_path.exists():
            return {}
        return json.loads(self.state_path.read_text(encoding="utf-8"))

    def _write(self, done: dict) -> None:
        temporary = self.state_path.with_suffix(".tmp")
        temporary.write_text(json.dumps(done, indent=2) + "\n", encoding="utf-8")
        os.replace(temporary, self.state_path)


def stages() -> dict[str, Stage]:
    """The chain after loading, by name."""
    return {
        "candidates": _candidates,
        "features": _features,
        "train": _train,
        "evaluate": _evaluate,
        "refresh": _refresh,
    }


def someone(workspace: Workspace) -> str:
    """Return the user whom the demo serves: the one with the smallest id among those judged on the test window."""
    from ranking.truth import read_judged

    with workspace.connect() as connection:
        truth = read_judged(connection, workspace.periods.test, allow_repeats=workspace.allow_repeats)
    return str(truth.users[0].as_py())


def _candidates(workspace: Workspace, progress: Progress) -> None:
    from candidate_gen.entity_table import write_candidates

    cuts = workspace.periods.cuts
    for number, cut in enumerate(cuts):
        progress("cuts", number, len(cuts))
        write_candidates(workspace, [cut])
    progress("cuts", len(cuts), len(cuts))


def _features(workspace: Workspace, progress: Progress) -> None:
    from feature_repo.building.run import build_features
    from feature_repo.store import apply

    build_features(workspace, progress=lambda view, done, total: progress("views", done, total))
    apply(workspace)


def _train(workspace: Workspace, progress: Progress) -> None:
    from ranking.train import train

    train(workspace, progress=progress)


def _evaluate(workspace: Workspace, progress: Progress) -> None:
    from ranking.evaluate import evaluate
    from ranking.evaluation import TWO_STAGE, report_path, write_report
    from ranking.looks import look_at_test

    report, _ = evaluate(workspace, progress=progress)
    write_report(report, report_path(workspace))
    look_at_test(workspace, model=report.model, ndcg=report.line(TWO_STAGE).metrics[f"ndcg@{report.k}"], purpose="demo")


def _refresh(workspace: Workspace, progress: Progress) -> None:
    from ranking.refresh import refresh

    refresh(workspace, progress=progress)
