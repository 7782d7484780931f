"""Prometheus metrics, fed in batches from request events off the request path, and by callables when scraped.

Promises: a batch costs less than 1.5 µs per event (plain integers, no locks); the number of series is bounded
whatever callers invent: past `max_series` label sets, events are counted under "other" and the overflow itself is
counted; a gauge that fails is left out of the page and counted, the rest of the page is there. `Metrics` is a
listener of the audit pipe: ``AuditPipe(..., listeners=[metrics])``. Rendering reads integers only and may run on
another thread.

Names and units follow Prometheus practice (base units; counters end in ``_total``), with money the one exception:
integer nano-dollars are exact up to nine million dollars a series, where a float of dollars never is.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from penstock.kernel.events import RequestEvent

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OTHER = "other"

LATENCY_MS = (5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 120_000)
FIRST_TOKEN_MS = (5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000)
INTER_TOKEN_MS = (1, 2.5, 5, 10, 15, 25, 50, 75, 100, 250, 500, 1_000)

_LABELS = ("status", "model", "provider", "team")
_COUNTERS = (
    ("requests", "penstock_requests", "Requests answered, by class of status."),
    ("input", "penstock_input_tokens", "Input tokens, cached ones included."),
    ("cached", "penstock_cached_tokens", "Input tokens that the provider read from its prompt cache."),
    ("output", "penstock_output_tokens", "Output tokens, reasoning ones included."),
    ("reasoning", "penstock_reasoning_tokens", "Output tokens spent on reasoning."),
    ("cost_nanos", "penstock_cost_nanodollars", "Cost in nano-dollars (1e-9 US dollars)."),
    (
        "estimated",
        "penstock_estimated_requests",
        "Requests billed by estimate: the provider did not report usage.",
    ),
    ("retries", "penstock_upstream_retries", "Upstream attempts after the first."),
    ("cache_hits", "penstock_cache_hits", "Requests answered from a cache of ours."),
)
_HISTOGRAMS = (
    ("latency", "penstock_request_seconds", "Time from the request to the end of its answer.", LATENCY_MS),
    (
        "first_token",
        "penstock_first_token_seconds",
        "Time from the request to its first token.",
        FIRST_TOKEN_MS,
    ),
    (
        "inter_token",
        "penstock_inter_token_seconds",
        "Mean time between tokens of a streamed answer.",
        INTER_TOKEN_MS,
    ),
)

Value = float | Mapping[tuple[str, ...], float]
_Key = tuple[int, str, str, str]


def _label(text: str) -> str:
    """Return what of a label can be shown: 200 characters of valid Unicode."""
    return text[:200].encode(errors="replace").decode()


class _Counts:
    """What is counted for one label set."""

    __slots__ = (
        "cache_hits",
        "cached",
        "cost_nanos",
        "estimated",
        "input",
        "output",
        "reasoning",
        "requests",
        "retries",
        "times",
    )

    def __init__(self, times: _Times) -> None:
        self.requests = self.input = self.cached = self.output = self.reasoning = 0
        self.cost_nanos = self.estimated = self.retries = self.cache_hits = 0
        self.times = times


class _Times:
    """The histograms of one model of one provider: a sum in milliseconds and a count per bucket, +Inf last."""

    __slots__ = ("first_token", "first_token_ms", "inter_token", "inter_token_ms", "latency", "latency_ms")

    def __init__(self) -> None:
        self.latency = [0] * (len(LATENCY_MS) + 1)
        self.first_token = [0] * (len(FIRST_TOKEN_MS) + 1)
        self.inter_token = [0] * (len(INTER_TOKEN_MS) + 1)
        self.latency_ms = self.first_token_ms = self.inter_token_ms = 0.0


class _Probe:
    """A number asked for when the page is rendered."""

    __slots__ = ("counter", "help", "labels", "name", "read")

    def __init__(
        self, name: str, text: str, read: Callable[[], Value], labels: Sequence[str], *, counter: bool
    ) -> None:
        self.name = name
        self.help = text
        self.read = read
        self.labels = tuple(labels)
        self.counter = counter


class Metrics(Collector):
    """Everything one process counts. Call it with batches of events; `render` is the page."""

    def __init__(self, *, max_series: int = 1_000) -> None:
        """Keep at most `max_series` label sets of request counters (and per labelled gauge)."""
        self.overflowed = 0
        """Events and gauge values that went under "other" or were left out, because of `max_series`."""
        self.probe_errors = 0
        self._max_series = max_series
        self._counts: dict[_Key, _Counts] = {}
        self._times: dict[tuple[str, str], _Times] = {}
        self._probes: dict[str, _Probe] = {}
        self._dependencies: dict[str, Callable[[], bool]] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    # -------------------------------------------------------------------------------------------------- being fed

    def __call__(self, events: Sequence[RequestEvent]) -> None:
        """Count a batch of events."""
        counts_of = self._counts.get
        for event in events:
            key = (event.status // 100, event.model_used, event.provider, event.team)
            counts = counts_of(key) or self._new_counts(key)
            counts.requests += 1
            output = event.output_tokens
            if event.input_tokens or output:
                counts.input += event.input_tokens
                counts.cached += event.cached_tokens
                counts.output += output
                counts.reasoning += event.reasoning_tokens
            counts.cost_nanos += event.cost_nanos
            if event.estimated:
                counts.estimated += 1
            if event.attempts > 1:
                counts.retries += event.attempts - 1
            if event.cache:
                counts.cache_hits += 1
            times = counts.times
            latency_ms, first_ms = event.latency_ms, event.first_token_ms
            times.latency_ms += latency_ms
            times.latency[bisect_left(LATENCY_MS, latency_ms)] += 1
            if first_ms > 0.0:
                times.first_token_ms += first_ms
                times.first_token[bisect_left(FIRST_TOKEN_MS, first_ms)] += 1
                if output > 1 and event.stream:
                    gap_ms = (latency_ms - first_ms) / (output - 1)
                    times.inter_token_ms += gap_ms
                    times.inter_token[bisect_left(INTER_TOKEN_MS, gap_ms)] += 1

    def _new_counts(self, key: _Key) -> _Counts:
        """Return the counts of a label set seen for the first time, or those of "other" when there are too many."""
        key = (key[0], _label(key[1]), _label(key[2]), _label(key[3]))
        if key not in self._counts and len(self._counts) >= self._max_series:
            self.overflowed += 1
            key = (key[0], OTHER, OTHER, OTHER)
        found = self._counts.get(key)
        if found is not None:
            return found
        place = (key[1], key[2])
        times = self._times.get(place)
        if times is None:
            times = self._times[place] = _Times()
        counts = self._counts[key] = _Counts(times)
        return counts

    def gauge(self, name: str, text: str, read: Callable[[], Value], labels: Sequence[str] = ()) -> None:
        """Show what `read` returns when scraped: a number, or with `labels` a number per tuple of their values."""
        self._probe(_Probe(name, text, read, labels, counter=False))

    def counter(self, name: str, text: str, read: Callable[[], Value], labels: Sequence[str] = ()) -> None:
        """Like `gauge` for a number that only grows; ``_total`` is added to its name."""
        self._probe(_Probe(name, text, read, labels, counter=True))

    def dependency(self, name: str, up: Callable[[], bool]) -> None:
        """Show ``penstock_dependency_up{dependency=name}``: 1 while `up()`, 0 while it is degraded (alert on it)."""
        self._dependencies[name] = up

    def _probe(self, probe: _Probe) -> None:
        if probe.name in self._probes:
            raise ValueError(f"the metric {probe.name} exists already")
        self._probes[probe.name] = probe

    # ----------------------------------------------------------------------------------------------- being rendered

    def render(self) -> bytes:
        """Return the page in Prometheus' text format 0.0.4."""
        return generate_latest(self._registry)

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Name nothing ahead: names are fixed by this module, and a probe may be added later."""
        return ()

    def collect(self) -> Iterable[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]:
        """Yield every metric family."""
        yield from self._request_counters()
        yield from self._request_times()
        for probe in list(self._probes.values()):
            family = self._asked(probe)
            if family is not None:
                yield family
        yield self._dependencies_up()
        yield CounterMetricFamily(
            "penstock_metrics_overflow", "Values counted under other or left out.", value=self.overflowed
        )
        yield CounterMetricFamily(
            "penstock_metrics_probe_errors", "Gauges that failed.", value=self.probe_errors
        )

    def _request_counters(self) -> Iterable[CounterMetricFamily]:
        rows = [((f"{key[0]}xx", *key[1:]), counts) for key, counts in list(self._counts.items())]
        for field, name, text in _COUNTERS:
            family = CounterMetricFamily(name, text, labels=_LABELS)
            for labels, counts in rows:
                family.add_metric(labels, getattr(counts, field))
            yield family

    def _request_times(self) -> Iterable[HistogramMetricFamily]:
        rows = list(self._times.items())
        for field, name, text, bounds_ms in _HISTOGRAMS:
            edges = [*(f"{bound_ms / 1000:g}" for bound_ms in bounds_ms), "+Inf"]
            family = HistogramMetricFamily(name, text, labels=("model", "provider"))
            for labels, times in rows:
                counts = accumulate(getattr(times, field))
                family.add_metric(
                    labels, list(zip(edges, counts, strict=True)), getattr(times, f"{field}_ms") / 1000
                )
            yield family

    def _asked(self, probe: _Probe) -> CounterMetricFamily | GaugeMetricFamily | None:
        """Return what a probe says, or None when it fails."""
        kind = CounterMetricFamily if probe.counter else GaugeMetricFamily
        family = kind(probe.name, probe.help, labels=probe.labels)
        try:
            value = probe.read()
            rows = list(value.items()) if isinstance(value, Mapping) else [((), value)]
            for labels, number in rows[: self._max_series]:
                if len(labels) != len(probe.labels):
                    raise ValueError(labels)  # the page would not parse
                family.add_metric([_label(label) for label in labels], float(number))
        except Exception:  # because one broken gauge must not take the page away
            self.probe_errors += 1
            return None
        self.overflowed += max(0, len(rows) - self._max_series)
        return family

    def _dependencies_up(self) -> GaugeMetricFamily:
        family = GaugeMetricFamily(
            "penstock_dependency_up",
            "1 while the dependency serves, 0 while it is degraded.",
            labels=("dependency",),
        )
        for name, up in list(self._dependencies.items()):
            try:
                family.add_metric((name,), 1.0 if up() else 0.0)
            except Exception:  # because a dependency that cannot even be asked is not up
                self.probe_errors += 1
                family.add_metric((name,), 0.0)
        return family
