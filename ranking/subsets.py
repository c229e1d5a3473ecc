"""Parts of what training reads: some columns, some rows, some groups, without reading anything again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa

from ranking.encoding import Encoding
from ranking.order import Groups
from ranking.ranker import Examples, Judge


def some_columns(encoding: Encoding, kept: np.ndarray) -> Encoding:
    """Return the encoding with the columns where `kept` (bool per column) holds."""
    return Encoding(tuple(column for column, keep in zip(encoding.columns, kept, strict=True) if keep))


def some_rows(groups: Groups, kept: np.ndarray) -> tuple[Groups, np.ndarray]:
    """Return the groups that keep a row, and bool per group which they are."""
    sizes = np.bincount(groups.number(), weights=kept, minlength=len(groups.sizes)).astype(np.int64)
    return Groups(sizes[sizes > 0]), sizes > 0


def some_examples(examples: Examples, kept: np.ndarray) -> Examples:
    """Return some rows of a training set; a group that keeps no positive teaches nothing and goes, too."""
    positive = np.bincount(
        examples.groups.number(), weights=kept & (examples.labels > 0), minlength=len(examples.groups.sizes)
    )
    kept = kept & (positive > 0)[examples.groups.number()]
    groups, _ = some_rows(examples.groups, kept)
    return Examples(examples.matrix[kept], examples.labels[kept], groups)


def some_candidates(judge: Judge, kept: np.ndarray) -> Judge:
    """Return the judge with some of the candidates; users who keep none stay judged and score zero."""
    groups, stay = some_rows(judge.groups, kept)
    return replace(
        judge,
        matrix=judge.matrix[kept],
        groups=groups,
        hit=judge.hit[kept],
        relevant=judge.relevant[stay],
        user_ids=judge.user_ids.filter(pa.array(stay)),
    )


def judge_of_examples(examples: Examples, users: pa.Array) -> Judge:
    """Return a judge over labelled rows: only what is among them counts as relevant, so the ceiling is 1.

    `users`: own id per group.
    """
    hit = examples.labels > 0
    relevant = np.bincount(examples.groups.number(), weights=hit, minlength=len(users)).astype(np.int64)
    return Judge(examples.matrix, examples.groups, hit, np.maximum(relevant, 1), len(users), users)


def within_depths(matrix: np.ndarray, names: list[str], depths: Mapping[str, int]) -> np.ndarray:
    """Return bool per row: whether a source proposes the pair within its depth; sources left out propose nothing.

    `matrix` holds the columns `SOURCE_proposed` and `SOURCE_rank` (rank from 1, NaN where it was not proposed).
    """
    place = {name: number for number, name in enumerate(names)}
    kept = np.zeros(len(matrix), bool)
    for source, depth in depths.items():
        proposed, rank = matrix[:, place[f"{source}_proposed"]], matrix[:, place[f"{source}_rank"]]
        kept |= (proposed > 0) & (rank <= depth)
    return kept
