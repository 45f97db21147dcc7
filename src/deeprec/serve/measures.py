"""What Prometheus reads: requests, latencies, the queue, batches, and who answered."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)


class Measures:
    """All figures of one service, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "deeprec_requests", "Requests answered.", ["method", "route", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "deeprec_request_seconds",
            "Seconds from a request to the end of its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._waiting = Gauge(
            "deeprec_queue_depth", "Requests that wait for the policy.", ["run"], registry=self._registry
        )
        self._in_flight = Gauge(
            "deeprec_in_flight", "Trajectories being written.", ["run"], registry=self._registry
        )
        self._batches = Histogram(
            "deeprec_batch_size",
            "Trajectories written together, one observation a turn.",
            ["run"],
            buckets=_BATCHES,
            registry=self._registry,
        )
        self._answers = Counter(
            "deeprec_answers",
            "Recommendations by who ranked, and why the TRM did where it did.",
            ["run", "source", "reason"],
            registry=self._registry,
        )
        self._tokens = Counter(
            "deeprec_tokens", "Tokens that the policy sampled.", ["run"], registry=self._registry
        )

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request to a route (its template, never its values) was answered."""
        self._requests.labels(method, route, status).inc()
        self._seconds.labels(route).observe(seconds)

    def answer(self, run: str, source: str, reason: str, tokens: int) -> None:
        """A recommendation was made; `reason` is one of a few words, or empty."""
        self._answers.labels(run, source, reason).inc()
        self._tokens.labels(run).inc(tokens)

    def of(self, run: str) -> RunMeasures:
        """The gauges of one run's worker."""
        return RunMeasures(self._waiting.labels(run), self._in_flight.labels(run), self._batches.labels(run))

    def text(self) -> bytes:
        """Everything in Prometheus's text format."""
        return generate_latest(self._registry)


class RunMeasures:
    """How busy one run's worker is."""

    def __init__(self, waiting: Gauge, in_flight: Gauge, batches: Histogram) -> None:
        self._waiting, self._in_flight, self._batches = waiting, in_flight, batches

    def load(self, waiting: int, in_flight: int) -> None:
        """Requests that wait, and trajectories in flight, after a change."""
        self._waiting.set(waiting)
        self._in_flight.set(in_flight)

    def batch(self, size: int) -> None:
        """A turn of so many trajectories begins."""
        self._batches.observe(size)
