"""How a model did on each user of the validation window: what two models are compared by without a new look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from feature_repo.columns import USER
from ranking.metrics import DEPTHS, K, per_user
from ranking.order import EMPTY, top_rows
from ranking.ranker import Judge

if TYPE_CHECKING:
    from feature_repo.workspace import Workspace

WINDOW: Final = b"window"
USERS: Final = b"users"


def validation_scores(workspace: Workspace, judge: Judge, scores: np.ndarray) -> pa.Table:
    """Return user_id and every metric of the judged users who have candidates.

    The schema's metadata names the data and the window, and how many users were judged; the others score zero.
    """
    columns = {USER: judge.user_ids} | {name: pa.array(value) for name, value in judge_lists(judge, scores).items()}
    window = workspace.periods.validation
    text = f"{workspace.lake.fingerprint()} {window.start.isoformat()} {window.end.isoformat()}"
    return pa.table(columns).replace_schema_metadata({WINDOW: text, USERS: str(judge.users)})


def judge_lists(judge: Judge, scores: np.ndarray) -> dict[str, np.ndarray]:
    """Return every metric of every group's list in the order of its scores."""
    rows = top_rows(scores, judge.groups, max(DEPTHS))
    return per_user(judge.hit[rows] & (rows != EMPTY), judge.relevant, K)
