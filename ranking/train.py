"""Training: labelled spines of the cuts, features by the service, early stopping on validation, a refit, a model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from candidate_gen import entity_table
from candidate_gen.pipeline import Progress, silent
from feature_repo.columns import ITEM, USER
from ranking import model_store
from ranking.drift import training_reference
from ranking.encoding import Encoding
from ranking.estimator import Plugged, configured_estimator, estimator_class, package_versions
from ranking.families import service_families
from ranking.labels import label_gains
from ranking.looks import deciding
from ranking.lost_positives import with_lost_positives
from ranking.matrices import fill_matrix, learn_matrix, matrix_folder, predict, stored_matrix, take_rows
from ranking.model_store import ModelManifest, ServiceColumns
from ranking.negatives import learned_rows
from ranking.order import Groups
from ranking.ranker import Examples, Fitted, Judge, fit_ranker, refit_ranker
from ranking.service import service_columns
from ranking.training_set import Spine, feature_parts, read_spine, read_training_spines, rows_to_learn, user_groups
from ranking.truth import Truth, read_validation
from ranking.validation_scores import validation_scores

if TYPE_CHECKING:
    from feature_repo.workspace import Workspace


@dataclass(frozen=True)
class Materials:
    """What training reads: encoded examples of the training cuts, and the validation cut in both of its roles.

    `judge` holds every candidate of the judged users at Tv; `validation` the same rows' examples as one more cut;
    `both` the training cuts' and these as one set. The matrices of the three lie in one file, the judge's in another.
    `users`, `cuts`: the user (own id) and the cut (place among the training cuts) of every group of `train`.
    """

    encoding: Encoding
    gains: list[float]
    train: Examples
    validation: Examples
    both: Examples
    judge: Judge
    lost: int
    users: pa.Array
    cuts: np.ndarray


@dataclass(frozen=True)
class Spines:
    """The labelled pairs that features are read for.

    `learned`: of each training cut, what is trained on; `judged`: every candidate of the judged users at Tv, `refitted`
    what a refit learns from that cut; `truth`: what the judged users took.
    """

    learned: list[Spine]
    judged: Spine
    refitted: Spine
    truth: Truth


def train(workspace: Workspace, *, progress: Progress = silent) -> ModelManifest:
    """Train the configured ranker, save it and make it current; return its manifest.

    Raises MissingError for a service, a lake or candidates that are not there.
    """
    config = workspace.config.ranker
    wanted = configured_estimator(config)
    if wanted is not None:
        estimator_class(wanted)  # a fault is told before minutes of reading
    columns = service_columns(workspace, workspace.config.service)
    materials = read_materials(workspace, progress=progress)
    chosen = fit_ranker(
        config,
        materials.gains,
        materials.encoding,
        materials.train,
        judge=materials.judge,
        on_round=lambda number: progress("trees", number, config.rounds),
    )
    progress("trees", config.rounds, config.rounds)
    final = refit(workspace, materials, chosen) if config.refit_with_validation else chosen
    described = training_reference(workspace, materials.judge, materials.encoding.names)
    scores = predict(chosen.booster, materials.judge.matrix, rounds=chosen.rounds)
    judged = validation_scores(workspace, materials.judge, scores)
    manifest = _manifest(workspace, columns, materials, chosen)
    return model_store.save(workspace, manifest, final.booster, final.rounds, described, judged)


def refit(workspace: Workspace, materials: Materials, chosen: Fitted) -> Fitted:
    """Fit once more with [Tv, T2) as one more training window, the number of trees as it was chosen."""
    return refit_ranker(workspace.config.ranker, materials.gains, materials.encoding, materials.both, chosen)


def read_materials(workspace: Workspace, *, progress: Progress = silent) -> Materials:
    """Read spines, labels and features of all cuts before the test window."""
    gains = label_gains(workspace.lake.roles(workspace.config), workspace.config.ranker.labels)
    spines = _read_spines(workspace, gains)
    encoding, matrix, judged = _read_matrices(workspace, spines, progress)
    both = join_examples(matrix, [*spines.learned, spines.refitted])
    rows = len(matrix) - spines.refitted.rows.num_rows
    return Materials(
        encoding=encoding,
        gains=gains,
        train=join_examples(matrix[:rows], spines.learned),
        validation=join_examples(matrix[rows:], [spines.refitted]),
        both=both,
        judge=make_judge(judged, spines.judged.rows, spines.truth),
        lost=sum(spine.lost for spine in spines.learned),
        users=pa.chunked_array([group_users(spine.rows) for spine in spines.learned]).combine_chunks(),
        cuts=np.repeat(np.arange(len(spines.learned)), [len(spine.groups.sizes) for spine in spines.learned]),
    )


def _read_spines(workspace: Workspace, gains: list[float]) -> Spines:
    config, periods = workspace.config, workspace.periods
    candidates = [entity_table.read(workspace, cut, [USER, ITEM]) for cut in periods.cuts[:-1]]
    with workspace.connect() as connection:
        spines, windows = read_training_spines(
            connection, candidates[:-1], periods.train, gains, before=periods.validation.start
        )
        truth = read_validation(workspace, connection, candidates[-1][USER])
        judged = of_users(candidates.pop(), truth.users)
        candidates.clear()
        validation = read_spine(connection, judged, periods.validation, gains, before=periods.test.start)
        windows.append(periods.validation)
        whole = [*spines, validation]
        del spines
        if config.ranker.add_lost_positives:
            whole = [
                with_lost_positives(connection, spine, window, gains, allow_repeats=workspace.allow_repeats)
                for spine, window in zip(whole, windows, strict=True)
            ]
        *learned, refitted = [
            learned_rows(connection, whole.pop(0), window, config.ranker, number, allow_repeats=workspace.allow_repeats)
            for number, window in enumerate(windows)
        ]
    return Spines(learned, validation, refitted, truth)


def _read_matrices(workspace: Workspace, spines: Spines, progress: Progress) -> tuple[Encoding, np.ndarray, np.ndarray]:
    """Return the encoding, the matrix of the training cuts' rows and the refit's, and that of the judged rows."""
    config, folder = workspace.config, matrix_folder(workspace)
    apart = not config.ranker.only_candidates
    of = len(spines.learned) + 1 + apart

    def features(number: int, spine: Spine) -> Iterator[pa.Table]:
        progress("features", number, of)
        return feature_parts(workspace, spine.rows, config.service)

    rows, more = sum(spine.rows.num_rows for spine in spines.learned), spines.refitted.rows.num_rows
    read = chain.from_iterable(features(number, spine) for number, spine in enumerate(spines.learned))
    encoding, matrix = learn_matrix(read, rows, more, folder)
    judged = stored_matrix(spines.judged.rows.num_rows, len(encoding.columns), folder)
    fill_matrix(encoding, features(len(spines.learned), spines.judged), judged)
    # What is learned from the validation cut: some of the judged rows or, where others are drawn, rows of its own.
    if apart:
        fill_matrix(encoding, features(len(spines.learned) + 1, spines.refitted), matrix[rows:])
    else:
        kept = rows_to_learn(spines.judged, config.ranker, len(spines.learned))
        take_rows(judged, np.flatnonzero(kept), matrix[rows:])
    progress("features", of, of)
    return encoding, matrix, judged


def of_users(rows: pa.Table, users: pa.Array) -> pa.Table:
    """Return the rows of these users."""
    return rows.filter(pc.is_in(rows[USER], value_set=users.cast(rows[USER].type)))


def group_users(rows: pa.Table) -> pa.Array:
    """Return the user (own id) of every group in rows of one cut, sorted by user."""
    return rows[USER].combine_chunks().take(pa.array(user_groups(rows).starts))


def make_judge(matrix: np.ndarray, rows: pa.Table, truth: Truth) -> Judge:
    """Return the judge of a window from the candidates of its users, sorted by user, then item."""
    groups = user_groups(rows)
    firsts = group_users(rows)
    return Judge(
        matrix=matrix,
        groups=groups,
        hit=truth.is_relevant(*(rows[name].combine_chunks() for name in (USER, ITEM))),
        relevant=truth.relevant[truth.position(firsts)],
        users=len(truth.users),
        user_ids=firsts,
    )


def join_examples(matrix: np.ndarray, spines: list[Spine]) -> Examples:
    """Return a matrix of the rows of several cuts as one set of examples; groups of different cuts stay apart."""
    sizes = np.concatenate([spine.groups.sizes for spine in spines])
    return Examples(matrix, np.concatenate([spine.labels for spine in spines]), Groups(sizes))


def _manifest(workspace: Workspace, columns: ServiceColumns, materials: Materials, chosen: Fitted) -> ModelManifest:
    config, periods = workspace.config, workspace.periods
    refitted = config.ranker.refit_with_validation
    cuts = periods.cuts[:-1] if refitted else periods.cuts[:-2]
    estimator = configured_estimator(config.ranker)
    fitted = [] if estimator is None else [estimator.class_path.rpartition(".")[2].lower()]
    return ModelManifest(
        name="-".join(fitted or config.ranker.objectives),
        service=config.service,
        service_columns=columns,
        encoding=materials.encoding,
        objective="+".join(fitted or config.ranker.objectives),
        params=config.ranker.params if estimator is None else estimator.params,
        gains=materials.gains,
        rounds=chosen.rounds,
        seeds={"ranker": config.ranker.seed, "boosters": config.ranker.boosters, "candidates": config.candidates.seed},
        cuts=[cut.isoformat() for cut in cuts],
        labels_end=(periods.test.start if refitted else periods.validation.start).isoformat(),
        training={
            "rows": len(materials.train.labels),
            "positives": int((materials.train.labels > 0).sum()),
            "groups": len(materials.train.groups.sizes),
            "lost_positives": materials.lost,
            "refit_rows": len(materials.validation.labels) if refitted else 0,
        },
        metrics={"validation ndcg@10": chosen.ndcg, "validation users": materials.judge.users},
        data_fingerprint=workspace.lake.fingerprint(),
        created=workspace.now.isoformat(),
        versions=model_store.versions() | _versions(chosen),
        families=service_families(workspace, config.service),
        estimator={} if estimator is None else estimator.model_dump(by_alias=True),
        members=[asdict(member) for member in chosen.members],
        configuration=deciding(config),
    )


def _versions(fitted: Fitted) -> dict[str, str]:
    """Return the versions of what an estimator is made with; LightGBM's is always noted."""
    return package_versions(fitted.booster.estimator) if isinstance(fitted.booster, Plugged) else {}
