"""What Prometheus reads at /metrics; with several workers the sum over them."""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0)


class Metrics:
    """Counters and histograms of one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "rankhouse_requests", "Requests by endpoint and status.", ["endpoint", "status"], registry=self._registry
        )
        self.seconds = Histogram(
            "rankhouse_request_seconds", "Time of a request.", ["endpoint"], buckets=_BUCKETS, registry=self._registry
        )
        self.stages = Histogram(
            "rankhouse_stage_seconds", "Time of a stage of a request.", ["stage"], buckets=_BUCKETS,
            registry=self._registry,
        )  # fmt: skip
        self.events = Counter("rankhouse_events", "Events accepted.", registry=self._registry)
        self.models = Counter("rankhouse_model_takeovers", "Models taken over.", registry=self._registry)

    def text(self) -> bytes:
        """Return the exposition of this process, or of all workers where they share a directory."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self._registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        return generate_latest(registry)
