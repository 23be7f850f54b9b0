"""What a server counts, in the text format of Prometheus (prometheus.io/docs/instrumenting/exposition_formats)."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

# From half a millisecond to half a minute.
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SAMPLES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """Counters of one server; two servers in one process share nothing."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        self.requests = Counter("smartml_requests", "Requests to /predict, by status.", ["status"], registry=registry)
        self.samples = Counter("smartml_samples", "Samples that were answered.", registry=registry)
        self.request_seconds = Histogram(
            "smartml_request_seconds",
            "From the head of a request to its answer.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.batch_samples = Histogram(
            "smartml_batch_samples",
            "Samples that were given to the model at once.",
            buckets=_SAMPLES,
            registry=registry,
        )
        self.model_seconds = Histogram(
            "smartml_model_seconds", "What the model took for a batch.", buckets=_SECONDS, registry=registry
        )
        self.reloads = Counter("smartml_reloads", "Better checkpoints that were taken into use.", registry=registry)
        self.failed_reloads = Counter(
            "smartml_failed_reloads", "Checkpoints that could not be taken into use.", registry=registry
        )
        self._queued = Gauge("smartml_queued_samples", "Samples that wait for the model.", registry=registry)

    def watch_queue(self, length: Callable[[], int]) -> None:
        """Show the length of the queue at the moment when it is asked for."""
        self._queued.set_function(length)

    def text(self) -> bytes:
        """Return all of them."""
        return generate_latest(self._registry)
