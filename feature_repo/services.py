"""Feature services: the contracts of the models. A view's columns join them by being there.

A model is fed with numbers, flags and categories. Times and lists are no features by themselves: on-demand views turn
them into ages and matches. What only a request knows of itself has a service of its own.
"""

from __future__ import annotations

from collections.abc import Iterable

from feast import FeatureService, FeatureView, OnDemandFeatureView
from feast.feature_logging import LOG_DATE_FIELD, LoggingConfig
from feast.infra.offline_stores.file_source import FileLoggingDestination
from feast.types import Array, UnixTimestamp

from feature_repo.data_dir import ENV
from feature_repo.first_stage import USER_CANDIDATES
from feature_repo.on_demand import context

RANKER = "ranker_v1"
RETRIEVAL = "retrieval_v1"
CONTEXT = "context_v1"
SERVED = f"${{{ENV}}}/lake/served"
"""Where what was served is logged, a folder per service; in this form it holds wherever the data directory lies."""


def services(
    views: Iterable[FeatureView], on_demand: Iterable[OnDemandFeatureView], log_share: float = 0.0
) -> tuple[FeatureService, ...]:
    """Return the ranker's service, the one that retrieval reads first, and the one of the request's own features.

    `log_share` of the requests that the ranker's service answers are logged.
    """
    by_name = {view.name: view for view in (*views, *on_demand)}
    retrieval = by_name.pop(USER_CANDIDATES)
    request = by_name.pop(context.NAME)
    inputs = [(view, _model_inputs(view)) for view in by_name.values()]
    return (
        FeatureService(
            name=RANKER,
            features=[view[names] for view, names in inputs if names],
            description="What the second-stage model sees of a user, an item and their pair.",
            logging_config=LoggingConfig(
                FileLoggingDestination(path=f"{SERVED}/{RANKER}", partition_by=[LOG_DATE_FIELD]), sample_rate=log_share
            ),
        ),
        FeatureService(
            name=RETRIEVAL, features=[retrieval], description="A user's candidates in the order of retrieval."
        ),
        FeatureService(
            name=CONTEXT, features=[request], description="When and where a request is made, for logged requests."
        ),
    )


def _model_inputs(view: FeatureView | OnDemandFeatureView) -> list[str]:
    return [
        field.name for field in view.features if field.dtype != UnixTimestamp and not isinstance(field.dtype, Array)
    ]
