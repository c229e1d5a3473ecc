"""Several boosters as one: a weighted sum of their raw scores is a booster with all their trees, leaves scaled.

One booster means one file, one `predict` and SHAP values that add up, however many seeds and objectives are in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import lightgbm

_TREE: Final = "Tree="
_END: Final = "end of trees"
_SCALED: Final = ("leaf_value=", "internal_value=")
# Its raw score is its prediction: nothing is put through a sigmoid after the sum.
_OBJECTIVE: Final = "objective=lambdarank"


def merge(boosters: Sequence[lightgbm.Booster], rounds: Sequence[int], weights: Sequence[float]) -> lightgbm.Booster:
    """Return one booster whose prediction is the weighted sum of the raw scores of each one's first `rounds` trees.

    All were fitted to the same columns. The text format is LightGBM's own (`Booster.model_to_string`).
    """
    import lightgbm

    texts = [booster.model_to_string(num_iteration=first) for booster, first in zip(boosters, rounds, strict=True)]
    trees = list(chain.from_iterable(_trees(text, weight) for text, weight in zip(texts, weights, strict=True)))
    blocks = [f"{_TREE}{number}\n{tree}" for number, tree in enumerate(trees)]
    head = [_header(line, blocks) for line in texts[0].split(f"\n{_TREE}", 1)[0].rstrip("\n").split("\n")]
    tail = texts[0].split(_END, 1)[1]
    return lightgbm.Booster(model_str="\n".join(head) + "\n\n" + "".join(blocks) + _END + tail)


def _header(line: str, blocks: Sequence[str]) -> str:
    if line.startswith("objective="):
        return _OBJECTIVE
    if line.startswith("tree_sizes="):
        return "tree_sizes=" + " ".join(str(len(block.encode())) for block in blocks)
    return line


def _trees(text: str, weight: float) -> list[str]:
    """Return the booster's trees without their first line, values times the weight."""
    body = text.split(_END, 1)[0]
    return [_scaled(block.split("\n", 1)[1], weight) for block in body.split(f"\n{_TREE}")[1:]]


def _scaled(tree: str, weight: float) -> str:
    lines = [_times(line, weight) for line in tree.rstrip("\n").split("\n")]
    return "\n".join(lines) + "\n\n\n"


def _times(line: str, weight: float) -> str:
    for name in _SCALED:
        if line.startswith(name):
            return name + " ".join(repr(float(value) * weight) for value in line.removeprefix(name).split())
    return line
