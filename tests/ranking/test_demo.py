from __future__ import annotations

from collections.abc import Callable

import pytest

from feature_repo.workspace import Workspace
from ranking.demo import DemoRun, someone, stages


def run(workspace: Workspace, calls: list[str], fail_at: str | None = None) -> DemoRun:
    """Run stages that only note their names."""

    def stage(name: str) -> Callable:
        def note(workspace: Workspace, progress: Callable) -> None:
            if name == fail_at:
                raise OSError(name)
            calls.append(name)

        return note

    demo = DemoRun(workspace)
    for _ in demo.run({name: stage(name) for name in stages()}, lambda name: lambda what, done, total: None):
        pass
    return demo


def test_what_is_current_is_not_done_again(tiny_lake: Workspace, copy_of: Callable) -> None:
    workspace, calls = copy_of(tiny_lake), []
    first = run(workspace, calls)
    assert calls == list(first.seconds) == list(stages())
    second = run(workspace, calls)
    assert calls == second.current == list(stages())
    assert second.seconds == {}


def test_another_configuration_runs_everything_again(tiny_lake: Workspace, copy_of: Callable) -> None:
    workspace, calls = copy_of(tiny_lake), []
    run(workspace, calls)
    other = workspace.config.model_copy(update={"allow_repeats": True})
    run(Workspace(workspace.data_dir, other, workspace.config_path), calls)
    assert calls == [*stages(), *stages()]


def test_a_run_goes_on_where_the_last_one_broke_off(tiny_lake: Workspace, copy_of: Callable) -> None:
    workspace, calls = copy_of(tiny_lake), []
    with pytest.raises(OSError, match="train"):
        run(workspace, calls, fail_at="train")
    assert calls == ["candidates", "features"]
    assert run(workspace, calls).current == ["candidates", "features"]
    assert calls == list(stages())


def test_someone_is_a_judged_user(tiny_lake: Workspace) -> None:
    user = int(someone(tiny_lake))
    with tiny_lake.connect() as connection:
        [(before, after)] = connection.execute(
            "SELECT count(*) FILTER (event_timestamp < $cut), count(*) FILTER (event_timestamp >= $cut) FROM events "
            "WHERE user_id = $user",
            {"cut": tiny_lake.periods.test.start, "user": user},
        ).fetchall()
    assert before > 0
    assert after > 0
