"""The commands of stage two: what they print, and one message with status 2 for everything that is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from feature_repo.config import load_config
from feature_repo.workspace import Workspace
from ranking import looks, model_store
from ranking.evaluation import Evaluation

Run = Callable[..., tuple[int, str]]
Files = Callable[[Workspace], dict[str, bytes]]


def with_config(workspace: Workspace, folder: Path, **changes: object) -> Workspace:
    """The same data read with another configuration."""
    raw = yaml.safe_load(workspace.config_path.read_text()) | changes
    path = folder / "rankhouse.yaml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    return Workspace(workspace.data_dir, load_config(path), path)


@pytest.fixture
def unchanged(files_of: Files) -> Callable[..., None]:
    """Check that a call fails with status 2, says something, and leaves every file as it was."""

    def check(run: Run, workspace: Workspace, *arguments: str, says: str) -> None:
        before = files_of(workspace)
        status, printed = run(workspace, *arguments)
        assert status == 2, printed
        assert says in printed
        assert "Traceback" not in printed
        assert files_of(workspace) == before

    return check


def test_recommend_prints_k_items_with_titles_and_scores(served: Workspace, rankhouse: Run) -> None:
    status, printed = rankhouse(served, "recommend", "1", "-k", "5")
    assert status == 0
    assert "Top 5 for user 1" in printed
    assert "unknown" not in printed


def test_an_unknown_user_gets_popular_items_and_is_told_so(served: Workspace, rankhouse: Run) -> None:
    status, printed = rankhouse(served, "recommend", "999999", "-k", "3")
    assert status == 0
    assert "unknown to the online store" in printed
    assert "Top 3 for user 999999" in printed


@pytest.mark.parametrize("k", ["0", "46", "-1"])
def test_k_out_of_range(served: Workspace, rankhouse: Run, unchanged: Callable[..., None], k: str) -> None:
    unchanged(rankhouse, served, "recommend", "1", "-k", k, says="expected 1 to 45")


def test_a_user_id_of_the_wrong_type(served: Workspace, rankhouse: Run, unchanged: Callable[..., None]) -> None:
    unchanged(rankhouse, served, "recommend", "anna", says="a whole number")


def test_evaluate_exports_lists(trained: Workspace, rankhouse: Run, copy_of: Callable, tmp_path: Path) -> None:
    file = tmp_path / "lists.parquet"
    status, printed = rankhouse(copy_of(trained), "evaluate", "-k", "5", "--export", str(file))
    assert status == 0
    assert "two-stage" in printed
    lists = pq.read_table(file)
    assert lists.column_names == ["user_id", "item_id", "rank", "score"]
    assert lists["rank"].to_numpy().max() == 5


def test_every_evaluation_is_a_look_at_the_test_window(
    trained: Workspace, rankhouse: Run, copy_of: Callable, tmp_path: Path
) -> None:
    copy, file = copy_of(trained), tmp_path / "report.json"
    status, printed = rankhouse(copy, "evaluate", "--by", "gender", "--by", "age", "--json", str(file))
    assert status == 0, printed
    assert "this one included: 2, of 1 configuration." in printed  # the fixture's own evaluation was the first
    report = Evaluation.from_json(file.read_text())
    assert {part.by for part in report.parts} == {"history", "gender", "age", "items"}
    assert [look.purpose for look in looks.read(copy.data_dir)] == ["demo", "evaluate"]
    assert rankhouse(copy, "evaluate", "--by", "gendre")[0] == 2
    assert len(looks.read(copy.data_dir)) == 2


def test_a_missing_model(tiny_lake: Workspace, rankhouse: Run, unchanged: Callable[..., None]) -> None:
    for command in (("recommend", "1"), ("evaluate",), ("models", "list")):
        unchanged(rankhouse, tiny_lake, *command, says="Run `rankhouse train` first.")


def test_training_before_candidates(
    trained: Workspace, rankhouse: Run, copy_of: Callable, unchanged: Callable[..., None], tmp_path: Path
) -> None:
    cuts = {"train": [{"quantile": 0.4}], "validation": {"quantile": 0.75}, "test": {"quantile": 0.88}}
    unchanged(rankhouse, with_config(trained, tmp_path, split=cuts), "train", says="rankhouse candidates")


def test_a_service_that_does_not_exist(
    trained: Workspace, rankhouse: Run, unchanged: Callable[..., None], tmp_path: Path
) -> None:
    other = with_config(trained, tmp_path, service="ranker_v2")
    unchanged(rankhouse, other, "train", says='Did you mean "ranker_v1"?')


@pytest.mark.parametrize(
    ("cut", "says"),
    [({"date": "1999-01-01"}, "a time in ("), ({"date": "2031-01-01"}, "Move the cut"), ({"quantile": 0.95}, "apart")],
)
def test_a_cut_that_does_not_fit(
    trained: Workspace, rankhouse: Run, unchanged: Callable[..., None], tmp_path: Path, cut: dict, says: str
) -> None:
    """Outside the log, after its end, or such that training labels would lie in the validation window."""
    split = {"train": [cut], "validation": {"quantile": 0.75}, "test": {"quantile": 0.88}}
    unchanged(rankhouse, with_config(trained, tmp_path, split=split), "train", says=says)


def test_a_model_trained_on_other_columns(
    trained: Workspace, rankhouse: Run, copy_of: Callable, unchanged: Callable[..., None]
) -> None:
    copy = copy_of(trained)
    path = copy.models_path / model_store.current(copy) / "manifest.json"
    path.write_text(path.read_text().replace("als_zscore", "als_zest"))
    unchanged(rankhouse, copy, "evaluate", says="als_zest is gone; als_zscore is new")


def test_a_model_whose_labels_reach_into_the_test_window(
    trained: Workspace, rankhouse: Run, unchanged: Callable[..., None], tmp_path: Path
) -> None:
    split = {"train": [{"quantile": 0.5}], "validation": {"quantile": 0.65}, "test": {"quantile": 0.75}}
    unchanged(rankhouse, with_config(trained, tmp_path, split=split), "evaluate", says="labels up to")


def test_candidates_of_other_sources(
    trained: Workspace, rankhouse: Run, unchanged: Callable[..., None], tmp_path: Path
) -> None:
    sources = {"popular": {"class": "candidate_gen.popularity.Popularity", "depth": 15}}
    other = with_config(trained, tmp_path, candidates={"seed": 1, "sources": sources})
    unchanged(rankhouse, other, "evaluate", says="nothing of popular")


def test_models_are_listed_shown_and_promoted(trained: Workspace, rankhouse: Run, copy_of: Callable) -> None:
    copy = copy_of(trained)
    name = model_store.current(copy)
    assert rankhouse(copy, "models", "list")[0] == 0
    assert '"service": "ranker_v1"' in rankhouse(copy, "models", "show", name)[1]
    assert rankhouse(copy, "models", "promote", name) == (0, f"{name} is the current model.")
    assert rankhouse(copy, "models", "promote", "nothing")[0] == 2
