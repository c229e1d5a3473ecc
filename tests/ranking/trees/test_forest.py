"""Our scores beside LightGBM's own, compared to the bit on models of every kind."""

from __future__ import annotations

import lightgbm
import numpy as np
import pytest

from feature_repo.errors import ContractError
from ranking.merge import merge
from ranking.trees.forest import Forest
from ranking.trees.kernels import BLOCK
from ranking.trees.text import read

ROWS = 1500
CATEGORICAL = [0, 1]
ODD = np.array(
    [np.nan, 0.0, -0.0, 1e-35, -1e-35, 1e-36, -1e-36, 2e-35, 1e-45, np.inf, -np.inf, 3.4e38, -3.4e38, 1e10, -1e10, -0.5,
     0.5, 31.0, 32.0, 2**31, 2**33, -1.0],
    np.float32,
)  # fmt: skip
MODELS = {
    "shipped": {"num_leaves": 15, "max_bin": 63, "colsample_bytree": 0.5, "reg_lambda": 10.0},
    "deep": {"num_leaves": 63, "min_data_in_leaf": 3, "max_bin": 255},
    "most leaves": {"num_leaves": 256, "min_data_in_leaf": 1},
    "more thresholds than a code holds": {
        "num_leaves": 200,
        "max_bin": 1023,
        "min_data_in_leaf": 1,
        "min_data_in_bin": 1,
    },
    "zero as missing": {"zero_as_missing": True, "num_leaves": 31},
    "no missing": {"use_missing": False, "num_leaves": 31},
    "monotone": {"monotone_constraints": [0, 0, 1, -1, 0, 0, 0, 0], "num_leaves": 31},
    "one leaf": {"min_data_in_leaf": ROWS},
    "stumps": {"num_leaves": 2},
    "large categories": {"max_cat_to_onehot": 1, "cat_smooth": 1, "min_data_per_group": 1, "num_leaves": 31},
    "binary": {"objective": "binary", "num_leaves": 15},
    "binary, another sigmoid": {"objective": "binary", "sigmoid": 0.3, "num_leaves": 15},
    "lambdarank": {"objective": "lambdarank", "num_leaves": 15},
    "xendcg": {"objective": "rank_xendcg", "num_leaves": 15},
    "forest": {"boosting": "rf", "bagging_fraction": 0.6, "bagging_freq": 1, "num_leaves": 31},
    "dart": {"boosting": "dart", "num_leaves": 15},
}


def matrix_of(rows: int, seed: int) -> np.ndarray:
    """Columns: two of categories, one of counts, one of mostly zeros, floats; a tenth of the cells is odd."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(rows, 8)).astype(np.float32)
    matrix[:, 0] = rng.integers(0, 12, rows)
    matrix[:, 1] = rng.integers(0, 300, rows)
    matrix[:, 2] = rng.integers(0, 5, rows)
    matrix[rng.random(rows) < 0.7, 3] = 0
    odd = rng.random(matrix.shape) < 0.1
    matrix[odd] = rng.choice(ODD, odd.sum())
    return matrix


def fitted(params: dict, rounds: int = 30, seed: int = 0) -> lightgbm.Booster:
    matrix = matrix_of(ROWS, seed)
    matrix[:, CATEGORICAL] = np.where(matrix[:, CATEGORICAL] > 1e6, np.nan, matrix[:, CATEGORICAL])
    seen = np.nan_to_num(matrix, posinf=3, neginf=-3).clip(-300, 300)
    target = seen @ np.random.default_rng(1).normal(size=8) + (seen[:, 0] % 3) * 4
    labels = (target > np.median(target)).astype(np.int32)
    objective = params.get("objective", "regression")
    data = lightgbm.Dataset(
        matrix, target if objective == "regression" else labels, group=np.full(ROWS // 50, 50),
        categorical_feature=CATEGORICAL, free_raw_data=False,
    )  # fmt: skip
    fixed = {"verbosity": -1, "num_threads": 1, "seed": seed, "deterministic": True, "learning_rate": 0.2}
    return lightgbm.train({"objective": objective, **fixed, **params}, data, rounds)


def assert_same_bits(booster: lightgbm.Booster, matrix: np.ndarray) -> None:
    for rounds, raw in ((None, False), (7, False), (7, True)):
        ours = Forest.of(booster, rounds=rounds, raw=raw).predict(matrix)
        theirs = booster.predict(matrix, num_threads=1, num_iteration=rounds, raw_score=raw)
        np.testing.assert_array_equal(ours.view(np.int64), theirs.view(np.int64))


@pytest.mark.parametrize("name", MODELS)
def test_scores_are_those_of_lightgbm_to_the_bit(name: str) -> None:
    booster = fitted(MODELS[name])

    assert_same_bits(booster, matrix_of(3000, seed=5))


@pytest.mark.parametrize("seed", range(8))
def test_random_parameters(seed: int) -> None:
    rng = np.random.default_rng(seed)
    params = {
        "num_leaves": int(rng.integers(2, 257)),
        "max_bin": int(rng.integers(3, 600)),
        "min_data_in_leaf": int(rng.integers(1, 40)),
        "min_data_in_bin": 1,
        "zero_as_missing": bool(rng.integers(2)),
        "max_cat_to_onehot": int(rng.integers(1, 20)),
        "min_data_per_group": 1,
        "extra_trees": bool(rng.integers(2)),
    }
    booster = fitted(params, rounds=int(rng.integers(1, 60)), seed=seed)

    assert_same_bits(booster, matrix_of(700, seed + 100))


@pytest.mark.parametrize("rows", [0, 1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 5000])
def test_any_number_of_rows(rows: int) -> None:
    booster = fitted(MODELS["shipped"])
    forest, matrix = Forest.of(booster), matrix_of(rows, seed=9)

    ours = forest.predict(matrix)

    assert ours.dtype == np.float64
    np.testing.assert_array_equal(ours, booster.predict(matrix) if rows else np.zeros(0))


def test_categories_that_stay_for_many_rows() -> None:
    booster = fitted(MODELS["large categories"])
    matrix = matrix_of(2000, seed=6)
    matrix[:, 0] = np.repeat(matrix[::100, 0], 100)
    matrix[:, 1] = np.repeat(matrix[::40, 1], 40)

    assert_same_bits(booster, matrix)


def test_a_row_has_the_same_score_beside_other_rows() -> None:
    forest, matrix = Forest.of(fitted(MODELS["deep"])), matrix_of(600, seed=2)

    alone = np.concatenate([forest.predict(matrix[row : row + 1]) for row in range(0, 600, 37)])

    np.testing.assert_array_equal(alone, forest.predict(matrix)[::37])


def test_blends_of_objectives_and_seeds() -> None:
    boosters = [fitted({"objective": name, "num_leaves": 15}, seed=seed) for name in ("lambdarank", "binary")
                for seed in (1, 2)]  # fmt: skip
    blend = merge(boosters, [30, 20, 11, 1], [1.0, 0.37, 2.5, 1 / 3])

    assert_same_bits(blend, matrix_of(2000, seed=3))


def test_features_in_another_memory_order_and_read_only() -> None:
    booster = fitted(MODELS["shipped"])
    matrix = np.asfortranarray(matrix_of(400, seed=4))
    matrix.flags.writeable = False

    assert_same_bits(booster, matrix)


@pytest.mark.parametrize(
    "params",
    [
        {"linear_tree": True},
        {"objective": "poisson"},
        {"num_leaves": 300, "min_data_in_leaf": 1},
        {"objective": "regression", "reg_sqrt": True},
        {"objective": "multiclass", "num_class": 3},
    ],
)
def test_other_trees_are_left_to_lightgbm(params: dict) -> None:
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(2000, 4))
    data = lightgbm.Dataset(matrix, rng.integers(0, 3, 2000), free_raw_data=False)
    booster = lightgbm.train({"verbosity": -1, "num_threads": 1, **params}, data, 5)

    assert Forest.of(booster) is None


def test_ids_as_categories_are_left_to_lightgbm() -> None:
    rng = np.random.default_rng(0)
    matrix = np.column_stack([rng.integers(0, 3, 2000) * 5000, rng.normal(size=2000)])
    target = (matrix[:, 0] == 10_000) + 0.0
    params = {"verbosity": -1, "num_threads": 1, "min_data_per_group": 1}

    assert Forest.of(lightgbm.train(params, lightgbm.Dataset(matrix, target, categorical_feature=[0]), 5)) is None


def test_another_matrix_is_an_error() -> None:
    forest = Forest.of(fitted(MODELS["stumps"]))

    with pytest.raises(ContractError, match="float32 with 8 columns"):
        forest.predict(np.zeros((3, 7), np.float32))
    with pytest.raises(ContractError, match="float64"):
        forest.predict(np.zeros((3, 8)))


def test_the_text_says_what_the_booster_says() -> None:
    booster = fitted(MODELS["large categories"])
    model = read(booster.model_to_string())
    dumped = booster.dump_model()["tree_info"]

    assert model.columns == booster.num_feature()
    assert [len(tree.leaves) for tree in model.trees] == [tree["num_leaves"] for tree in dumped]
    assert any(tree.categorical.any() for tree in model.trees)
