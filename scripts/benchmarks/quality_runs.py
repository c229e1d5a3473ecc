"""The runs of one window's chain, one per seed: which are there, which are missing, what they gave.

<window>/runs/<configuration and data>/<seed>/   config.yaml, the lists, and run.json as soon as the run is whole

A run that is there is used again while the code that trains is the same, so a benchmark that was stopped goes on where
it was; `any_code` takes runs of other code, too.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from quality_folds import Fold, write_config

from feature_repo.workspace import Workspace
from ranking.looks import deciding

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
CHAIN = HERE / "quality_chain.py"
TWO_STAGE, SOURCE = "two-stage", "source"
PACKAGES = ("feature_repo", "candidate_gen", "ranking")
Lists = dict[str, list[pa.Table]]
"""The lists of every seed, by the name of the ranking."""


@dataclass(frozen=True)
class Account:
    """What one run took and gave. `whole`: it built everything itself, so that its time and memory are a training's.

    `at_cuts`: its features were computed at the cuts alone.
    """

    name: str
    seed: int
    whole: bool
    code: str
    seconds: dict[str, float]
    peak_mb: float
    cuts: int
    at_cuts: bool = False

    @property
    def total(self) -> float:
        return float(sum(self.seconds.values()))


@dataclass(frozen=True)
class Runs:
    """All seeds of one window."""

    fold: Fold
    workspace: Workspace
    say: Callable[[str], None]
    any_code: bool = False
    at_cuts: bool = False

    @cached_property
    def folder(self) -> Path:
        text = json.dumps([deciding(self.fold.config), self.workspace.lake.fingerprint()], sort_keys=True)
        return self.workspace.data_dir / "runs" / sha256(text.encode()).hexdigest()[:12]

    def complete(self, seeds: int) -> list[Account]:
        """Run what is missing of this many seeds; return the account of each.

        The first seed has a process of its own and starts without features; the others go on with its features, and
        with each other's fits of sources that have no seed.
        """
        missing = [seed for seed in range(seeds) if self._read(seed) is None]
        if 0 in missing:
            shutil.rmtree(self.workspace.data_dir / "features", ignore_errors=True)
            self._run([0])
        others = [seed for seed in missing if seed]
        if others:
            self._run(others)
        accounts = [self._read(seed) for seed in range(seeds)]
        if None in accounts:
            raise SystemExit(f"{self.fold.name}: a run ended well and left no {self.folder}/*/run.json.")
        if len({account.code for account in accounts} | {self._code}) > 1:
            self.say(f"{self.fold.name}: some of these runs were made by other code than is here now")
        return accounts

    def lists(self, seeds: int) -> Lists:
        """Return the lists of two-stage and of every source, one table per seed."""
        names = [TWO_STAGE, *(f"{SOURCE} {name}" for name in self.fold.config.candidates.sources)]
        return {
            name: [pq.read_table(self.folder / str(seed) / f"{name}.parquet") for seed in range(seeds)]
            for name in names
        }

    def _run(self, seeds: Sequence[int]) -> None:
        for seed in seeds:
            write_config(self.fold.with_seed(seed), self.folder / str(seed) / "config.yaml")
        self.say(f"{self.fold.name}: the chain, seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}")
        options = ["--at-cuts"] if self.at_cuts else []
        command = [sys.executable, str(CHAIN), *options, str(self.workspace.data_dir), self._code]
        run_command([*command, *(str(self.folder / str(seed)) for seed in seeds)])

    def _read(self, seed: int) -> Account | None:
        path = self.folder / str(seed) / "run.json"
        if not path.exists():
            return None
        raw = json.loads(path.read_text(encoding="utf-8"))
        wanted = {name: raw[name] for name in ("code", "seconds", "peak_mb", "cuts")}
        at_cuts = raw.get("at_cuts", False)  # runs of before had no other way
        whole = seed == 0 and not at_cuts
        account = Account(name=f"{self.fold.name}, seed {seed}", seed=seed, whole=whole, at_cuts=at_cuts, **wanted)
        known = self.any_code or account.code == self._code
        return account if known and (self.at_cuts or not at_cuts) else None

    @cached_property
    def _code(self) -> str:
        return code_digest()


def code_digest() -> str:
    """Return a digest of the code that computes, trains and scores; serving and commands decide no list."""
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.suffix in (".py", ".sql")]
    kept = [path for path in sorted(files) if not {"serving", "commands"} & set(path.parts)]
    return sha256(b"".join(path.read_bytes() for path in [*kept, CHAIN])).hexdigest()[:12]


def run_command(command: Sequence[str], variables: dict[str, str] | None = None) -> None:
    """Run a process whose prints go to standard error; end the benchmark where it fails."""
    done = subprocess.run(command, env=os.environ | (variables or {}), stdout=sys.stderr, check=False)
    if done.returncode:
        raise SystemExit(f"`{' '.join(command)}` ended with status {done.returncode}. What was finished is kept.")
