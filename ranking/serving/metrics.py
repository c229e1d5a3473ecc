"""What Prometheus reads at /metrics; with several workers the sum over them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, values
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
        self.logged = Counter("rankhouse_log_requests", "Requests taken for the served log.", registry=self._registry)
        self.log_dropped = Counter(
            "rankhouse_log_dropped", "Requests drawn for the served log and not in it.", registry=self._registry
        )
        self.models = Counter("rankhouse_model_takeovers", "Models taken over.", registry=self._registry)

    def text(self) -> bytes:
        """Return the exposition of this process, or of all workers where they share a directory."""
        # Feast sets the directory's variable when it is imported: what counts is how values are kept by now.
        if values.ValueClass is values.MutexValue:
            return generate_latest(self._registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        return generate_latest(registry)
