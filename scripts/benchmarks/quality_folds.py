"""Which windows a data set is judged on: its last tenth, or several rolling windows where that holds too few users."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from feature_repo.config import Config, Cut, SpacedCuts
from feature_repo.errors import ConfigError
from feature_repo.periods import Window, resolve_cut
from ranking.truth import read_truth

if TYPE_CHECKING:
    from feature_repo.workspace import Workspace

# Below this number of judged users the configured test window is one of several that are pooled.
ENOUGH_USERS = 300
# Between these quantiles lie the training cuts that --cuts asks for.
SPACED = (0.4, 0.75)
ROLLING = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class Fold:
    """One test window with the whole split before it, as a configuration in which the clock stands at its end."""

    name: str
    window: Window
    config: Config

    def with_seed(self, seed: int) -> Config:
        """Return the configuration with every seed moved by `seed`."""
        ranker, candidates = self.config.ranker, self.config.candidates
        return self.config.model_copy(
            update={
                "ranker": ranker.model_copy(update={"seed": ranker.seed + seed}),
                "candidates": candidates.model_copy(update={"seed": candidates.seed + seed}),
            }
        )


def choose_folds(workspace: Workspace, *, pool: bool = True) -> list[Fold]:
    """Return the configured test window, or rolling ones where it judges too few users and `pool` allows it.

    Rolling windows lie end to end; each has the configured split before it, its quantiles shrunk to the window's start.
    Raises ConfigError where the split is given by dates and would have to roll.
    """
    config, test = workspace.config, workspace.periods.test
    with workspace.connect() as connection:
        judged = len(read_truth(connection, test, allow_repeats=workspace.allow_repeats).users)
        if judged >= ENOUGH_USERS or not pool:
            return [Fold("test", test, config)]
        train = [] if isinstance(config.split.train, SpacedCuts) else config.split.train
        quantiles = [_quantile(workspace, cut) for cut in (*train, config.split.validation)]
        last = _quantile(workspace, config.split.test)

        def at(quantile: float) -> datetime:
            return resolve_cut(connection, Cut(quantile=quantile), workspace.now)

        starts = [at(share * last / ROLLING[-1]) for share in ROLLING]
        folds = []
        for share, start, end in zip(ROLLING, starts, [*starts[1:], workspace.now], strict=True):
            moments = [at(quantile * share / ROLLING[-1]) for quantile in quantiles]
            folds.append(Fold(f"window {share:g}", Window(start, end), _rolled(config, moments, start, end)))
        return folds


def with_cuts(config: Config, count: int) -> Config:
    """Return the configuration with so many training cuts, evenly spaced from one quantile to another.

    >>> from feature_repo.config import load_config
    >>> [cut.quantile for cut in with_cuts(load_config(), 3).split.train]
    [0.4, 0.575, 0.75]
    """
    first, last = SPACED
    shares = [round(first + (last - first) * number / max(count - 1, 1), 4) for number in range(count)]
    split = config.split.model_copy(update={"train": [Cut(quantile=share) for share in shares]})
    return config.model_copy(update={"split": split})


def write_config(config: Config, path: Path) -> None:
    """Write a configuration as YAML that reads back as the same one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(config.model_dump(mode="json", by_alias=True), sort_keys=False), encoding="utf-8")


def _rolled(config: Config, moments: list[datetime], start: datetime, end: datetime) -> Config:
    *cuts, validation = (Cut(date=moment) for moment in moments)
    train = cuts or config.split.train  # cuts every so many days roll with the validation window
    split = config.split.model_copy(update={"train": train, "validation": validation, "test": Cut(date=start)})
    return config.model_copy(update={"split": split, "now": end})


def _quantile(workspace: Workspace, cut: Cut) -> float:
    if cut.quantile is not None:
        return cut.quantile
    raise ConfigError(
        f"{workspace.config_path}, key split",
        expected=f"quantiles, since fewer than {ENOUGH_USERS} users are judged and windows have to roll",
        got=f"the date {cut.date:%Y-%m-%d}",
        fix="Give the cuts as quantiles, or use --one-window.",
    )
