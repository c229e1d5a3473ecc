"""rankhouse.yaml as typed, validated settings.

Unknown keys are errors with a suggestion. `load_config` reads the file that ships in this folder, or the one named.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    NaiveDatetime,
    ValidationError,
    model_validator,
)

from feature_repo.errors import ConfigError, did_you_mean

DEFAULT_PATH = Path(__file__).parent / "rankhouse.yaml"


def _as_utc(value: datetime) -> datetime:
    from datetime import UTC

    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


UtcTime = Annotated[AwareDatetime | NaiveDatetime, AfterValidator(_as_utc)]
Quantile = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Objective = Literal["lambdarank", "rank_xendcg", "binary", "regression"]
Baseline = Literal["linear", "logistic"]


class Section(BaseModel):
    """A part of the configuration; keys that it does not declare are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Roles(Section):
    """What the event types mean: `targets` maps a label's type to its weight, `consuming` lists what counts as seen."""

    targets: dict[str, Annotated[float, Field(gt=0)]]
    consuming: list[str]


class Cut(Section):
    """A moment on the log: a date, or the time before which this share of the target events lies."""

    date: UtcTime | None = None
    quantile: Quantile | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Cut:
        if (self.date is None) == (self.quantile is None):
            raise ValueError("give either `date` or `quantile`")
        return self


class SpacedCuts(Section):
    """So many training cuts, every so many days back from the validation window; those before the log are left out."""

    every_days: Annotated[float, Field(gt=0)]
    count: Annotated[int, Field(ge=1)]


class SplitConfig(Section):
    """Three periods: labels of `train` cuts end at `validation`, choices end at `test`.

    `horizon_days` bounds how far labels reach beyond their cut: days, or `validation` for as long as that window is.
    """

    train: Annotated[list[Cut], Field(min_length=1)] | SpacedCuts
    validation: Cut
    test: Cut
    horizon_days: Annotated[float, Field(gt=0)] | Literal["validation"] | None = None


class SourceConfig(Section):
    """One candidate source: its class, how many items it proposes per user, its constructor's parameters.

    `publish` names what it learned that is written to views of its own, so that any pair is scored from it on demand.
    """

    class_path: str = Field(alias="class")
    depth: Annotated[int, Field(ge=1)] = 100
    params: dict[str, Any] = {}
    publish: tuple[Literal["vectors", "biases", "neighbours"], ...] = ()


class CandidatesConfig(Section):
    """Stage one: its sources, their seed, and how many items that none proposed each user gets at training cuts.

    `users_per_cut` bounds what training and early stopping read: so many of the users of a training or validation cut,
    drawn by the seed (null: all). At the test cut and at `now` nobody is left out. `params`: `suited`
    starts from the sources' half-lives and regularisations and takes others where those are surely better on events
    before the first training cut.
    """

    sources: dict[str, SourceConfig] = Field(min_length=1)
    seed: int = 0
    extra_pairs: Annotated[int, Field(ge=0)] = 0
    users_per_cut: Annotated[int, Field(ge=1)] | None = None
    params: Literal["as-written", "suited"] = "as-written"


class NegativesConfig(Section):
    """What the training set's negatives are, as shares of their number; they add up to 1.

    `candidates`: proposed and not consumed; `random`: any item; `popular`: items in proportion to their target events
    before the cut; `impressions`: events of other than target types in the label window that no target event joined.
    """

    candidates: Share = 0.0
    random: Share = 0.0
    popular: Share = 0.0
    impressions: Share = 0.0

    @model_validator(mode="after")
    def _add_up(self) -> NegativesConfig:
        if abs(sum(self.shares.values()) - 1) > 1e-6:
            raise ValueError("shares that add up to 1")
        return self

    @property
    def shares(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in type(self).model_fields}

    @property
    def only_candidates(self) -> bool:
        return self.candidates == 1


class EstimatorConfig(Section):
    """A ranker in LightGBM's place: its class and its constructor's parameters (ranking/estimator.py)."""

    class_path: str = Field(alias="class")
    params: dict[str, Any] = {}


class RankerConfig(Section):
    """Stage two: objective and LightGBM parameters; `rounds` bounds the trees, early stopping picks their number.

    `objective: linear` and `logistic` are baselines of scikit-learn, `estimator` is any class that can rank; to these,
    LightGBM's parameters, blends and seeds mean nothing. `monotone_constraints` in `params` maps columns to 1 or -1.

    `blend` names further objectives, `boosters` how many seeds of each are fitted: the model is their sum. Early
    stopping looks at the mean validation NDCG@10 of the last `smoothing` rounds.
    `labels: graded` ranks pairs by the weights of their event types. `add_lost_positives` trains on the positives that
    no source proposed, too; they are never judged. `users_per_cut` and `negatives_per_user` bound the
    training set by seeded sampling (null: all); `negatives` says what is sampled.
    """

    objective: Objective | Baseline = "lambdarank"
    blend: list[Objective] = []
    estimator: EstimatorConfig | None = None
    boosters: Annotated[int, Field(ge=1)] = 1
    params: dict[str, Any] = {}
    rounds: Annotated[int, Field(ge=1)] = 1000
    early_stopping: Annotated[int, Field(ge=1)] = 50
    smoothing: Annotated[int, Field(ge=1)] = 20
    refit_with_validation: bool = True
    labels: Literal["binary", "graded"] = "binary"
    keep_users_without_positives: bool = False
    add_lost_positives: bool = False
    negatives: NegativesConfig = NegativesConfig(candidates=1.0)
    negatives_per_user: Annotated[int, Field(ge=1)] | None = None
    users_per_cut: Annotated[int, Field(ge=1)] | None = 50_000
    threads: Annotated[int, Field(ge=1)] | None = None
    seed: int = 0

    @model_validator(mode="after")
    def _only_trees_blend(self) -> RankerConfig:
        if self.blend and (self.estimator is not None or self.objective in get_args(Baseline)):
            raise ValueError("`blend: []` beside a baseline or an estimator, since only LightGBM's boosters add up")
        return self

    @property
    def only_candidates(self) -> bool:
        """Is nothing learned from but what the sources proposed?"""
        return self.negatives.only_candidates and not self.add_lost_positives

    @property
    def objectives(self) -> list[Objective | Baseline]:
        return list(dict.fromkeys([self.objective, *self.blend]))


class DriftConfig(Section):
    """From where on a column of the serving set counts as drifted from the training set: `rankhouse drift` fails.

    `ignore`: patterns of columns that move in a world at rest, too, such as totals since the log began.
    """

    psi: Annotated[float, Field(gt=0)] = 0.25
    ks: Annotated[float, Field(gt=0, le=1)] = 0.25
    ignore: list[str] = []

    def ignores(self, column: str) -> bool:
        return any(fnmatchcase(column, pattern) for pattern in self.ignore)


class EngineConfig(Section):
    """Bounds for DuckDB while it computes features and reads the lake."""

    memory_limit: Annotated[str, Field(pattern=r"^[0-9.]+ ?([KMGT]i?B|%)$")] = "4GB"
    threads: Annotated[int, Field(ge=1)] | None = None


class RuleConfig(Section):
    """One rule of the filter: its name and what it is given."""

    name: str = Field(alias="rule")
    params: dict[str, Any] = {}


class OrderConfig(Section):
    """How the scored candidates become a list: `kind`, what it is given, and what holds for every kind.

    `explore`: so many places of a list go to items that were not retrieved; `pin`: items that always come first.
    """

    kind: str = "none"
    params: dict[str, Any] = {}
    explore: Annotated[int, Field(ge=0)] = 0
    pin: list[int | str] = []


class ServingConfig(Section):
    """A request: how it is retrieved, filtered and ordered, what it may ask for, and what is kept of it.

    `api_key_env` names the environment variable that holds the key; without a key only loopback is served. `log_share`
    of the requests are written to the lake as the model saw them, drawn with `log_seed`.
    """

    neighbours: Annotated[int, Field(ge=0)] = 50
    latest_events: Annotated[int, Field(ge=1)] = 5
    rules: list[RuleConfig] = [RuleConfig(rule="seen")]
    order: OrderConfig = OrderConfig()
    max_k: Annotated[int, Field(ge=1)] = 200
    max_candidates: Annotated[int, Field(ge=1)] = 2000
    max_body_kb: Annotated[int, Field(ge=1)] = 256
    max_events: Annotated[int, Field(ge=1)] = 1000
    api_key_env: str = "RANKHOUSE_API_KEY"
    log_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    log_seed: int = 0


class Config(Section):
    """The whole of rankhouse.yaml."""

    events: Roles | Literal["from-data"] = "from-data"
    now: UtcTime | Literal["end-of-log", "wall-clock"] = "end-of-log"
    allow_repeats: bool = False
    split: SplitConfig
    candidates: CandidatesConfig
    service: str = "ranker_v1"
    ranker: RankerConfig = RankerConfig()
    drift: DriftConfig = DriftConfig()
    engine: EngineConfig = EngineConfig()
    serving: ServingConfig = ServingConfig()


Model = TypeVar("Model", bound=BaseModel)


def load_config(path: Path | None = None) -> Config:
    """Read and validate a configuration file (the shipped one by default).

    Raises ConfigError that names the file, the key, and a near match for an unknown key.
    """
    path = DEFAULT_PATH if path is None else Path(path)
    return validate_yaml(path, Config)


def validate_yaml(path: Path, model: type[Model]) -> Model:
    """Read a YAML file into a pydantic model; every fault becomes one ConfigError that names the key."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(path, expected="a YAML file", got="no file", fix="Check the path.") from None
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(path, expected="valid YAML", got=str(error), fix="Mend the syntax.") from error
    if not isinstance(raw, Mapping):
        raise ConfigError(path, expected="keys and values", got=type(raw).__name__, fix="See the README.")
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise _explain(path, model, error, raw) from error


def _explain(path: Path, model: type[BaseModel], error: ValidationError, raw: object) -> ConfigError:
    """One ConfigError for the first fault; an unknown key comes first, since it often explains a missing one."""
    faults = sorted(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    key = _key(faults[0]["loc"], raw)
    if faults[0]["type"] == "extra_forbidden":
        word = str(faults[0]["loc"][-1])
        fix = f"Remove it or correct it.{did_you_mean(word, _keys_of(model))}"
        return ConfigError(f"{path}, key {key}", expected="a known key", got=repr(word), fix=fix)
    same_key = [fault for fault in faults if _key(fault["loc"], raw) == key]
    expected = " or ".join(dict.fromkeys(_wish(fault["msg"]) for fault in same_key))
    got = "nothing" if faults[0]["type"] == "missing" else repr(faults[0]["input"])[:120]
    return ConfigError(f"{path}, key {key}", expected=expected, got=got, fix="Mend this value and run again.")


def _key(location: tuple[int | str, ...], raw: object) -> str:
    """The key as the file has it: pydantic's location without the names of types that it tried."""
    parts = []
    for number, part in enumerate(location):
        if (isinstance(raw, Mapping) and part in raw) or (isinstance(raw, list) and isinstance(part, int)):
            raw = raw[part]
        elif number < len(location) - 1 or not isinstance(raw, Mapping):
            continue
        parts.append(str(part))
    return ".".join(parts)


def _wish(message: str) -> str:
    for opening in ("Value error, ", "Input should be "):
        message = message.removeprefix(opening)
    return "a value" if message == "Field required" else message


def _keys_of(model: type[BaseModel]) -> set[str]:
    """Return every key that a model and the models nested in its JSON schema declare."""
    schema = model.model_json_schema(by_alias=True)
    parts = [schema, *schema.get("$defs", {}).values()]
    return {key for part in parts for key in part.get("properties", {})}
