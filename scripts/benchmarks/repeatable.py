"""The chain twice, from the files of a data set to a model, each time in processes and a directory of its own: are the
model's files the same to the byte?

    python scripts/benchmarks/repeatable.py DATASET [--config FILE] [--keep DIR]

DATASET is what `rankhouse load` takes. Prints the SHA-256 of every file of both models; status 1 where one differs.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from time import perf_counter

ROOT = Path(__file__).parent.parent.parent
STAGES = (("candidates",), ("features", "build"), ("apply",), ("train",))
Digests = dict[str, str]
"""SHA-256 by path below the folder of models: the model's name, a digest itself, is part of every path."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--keep", type=Path, help="where both runs' directories stay (default: nowhere)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="rankhouse-repeatable-") as folder:
        home = options.keep or Path(folder)
        found = [chain(options.dataset, home / name, options.config) for name in ("first", "second")]
    show(*found)
    return 0 if found[0] == found[1] else 1


def chain(dataset: str, data_dir: Path, config: Path | None) -> Digests:
    """Load, propose, build features and train in a directory that is not there yet; return the digests of the model."""
    if data_dir.exists():
        raise SystemExit(f"{data_dir} is there already, and a run has to start from nothing: name another directory.")
    start = perf_counter()
    for stage in (("load", dataset), *STAGES):
        command = [sys.executable, "-m", "ranking", *stage, "--data-dir", str(data_dir)]
        command += [] if config is None else ["--config", str(config)]
        # A hash seed of its own for every process, whatever the environment says: no order of a set may count.
        subprocess.run(["env", "-u", "PYTHONHASHSEED", *command], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    print(f"{data_dir.name}: {perf_counter() - start:.0f} s", file=sys.stderr)
    return digests(data_dir / "models")


def digests(models: Path) -> Digests:
    files = sorted(path for path in models.rglob("*") if path.is_file())
    return {str(path.relative_to(models)): sha256(path.read_bytes()).hexdigest() for path in files}


def show(first: Digests, second: Digests) -> None:
    for path in sorted(first.keys() | second.keys()):
        one, two = (found.get(path, "not there") for found in (first, second))
        print(f"{path}: {one}" if one == two else f"{path}: {one} and {two}")
    same = "the same" if first == second else "NOT the same"
    print(f"{len(first)} and {len(second)} files, {same} to the byte.")


if __name__ == "__main__":
    sys.exit(main())
