"""The series a process shows to Prometheus; `metrics_port` serves them. No address, token or issue is ever a label.

One registry per process. Counters are moved where the thing happens; gauges about the ledger are read at the scrape by
a callable that `observe_ledger` is given, because this room knows no storage.
"""

import logging
import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from importlib.metadata import PackageNotFoundError, version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

SHOWN_ENHANCED = frozenset({
    "2.0.0", "2.1.5", "4.2.1", "4.2.2", "4.3.2", "4.4.1", "4.4.2", "4.5.3", "4.7.0", "4.7.1", "4.7.28",
    "4.7.32", "4.7.650", "5.0.0", "5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1", "5.2.2", "5.3.4",
    "5.4.1", "5.5.0", "5.7.1", "5.7.26", "5.7.27", "5.7.606", "5.7.708",
})  # fmt: skip
"""Enhanced codes with a label of their own (RFC 3463); a relay may invent others, which count as `other`."""

registry = CollectorRegistry()
_log = logging.getLogger("metrics")

_counter = partial(Counter, registry=registry)
delivery_results = _counter("corranto_delivery_results", "Results of hand-overs.", ["result", "provider"])
smtp_replies = _counter("corranto_smtp_replies", "Final replies of the relay.", ["provider", "enhanced_code"])
lane_deaths = _counter("corranto_lane_deaths", "Connections that an error of our own ended.", ["relay"])
relay_refusals = _counter("corranto_relay_refusals", "Connections the relay did not let in.", ["reason"])
relay_closed = Gauge(
    "corranto_relay_closed", "1 while nothing can be handed over, for that reason.", ["reason"], registry=registry
)
unsubscribes = _counter("corranto_unsubscribes", "Subscriptions ended.", ["method"])
http_requests = _counter("corranto_http_requests", "Answered requests.", ["route", "method", "status"])
http_duration = Histogram(
    "corranto_http_request_duration_seconds", "Time to the end of the answer.", ["route"], registry=registry
)
_build = Gauge("corranto_build_info", "Always 1.", ["version", "python"], registry=registry)


@dataclass(frozen=True)
class LedgerReading:
    """What the ledger says at one moment: counts by state, an age in seconds, and a difference that must be 0."""

    issues: Mapping[str, int] = field(default_factory=dict)
    deliveries: Mapping[str, int] = field(default_factory=dict)
    """Of issues that are not finished or cancelled."""
    workers: Mapping[str, int] = field(default_factory=dict)
    oldest_waiting_s: float = 0.0
    """Seconds since the oldest sending issue with claimable copies last moved; 0 when nothing waits."""
    discrepancy: int = 0
    """Recipients by which states and audiences differ, over all issues."""


def count_result(result: StrEnum, provider: StrEnum) -> None:
    """One settled hand-over. Members of closed lists, `DeliveryState` and `Provider`, so that labels stay few."""
    delivery_results.labels(result.value, provider.value).inc()


def count_reply(provider: StrEnum, enhanced: str | None) -> None:
    """One final reply of the relay; `enhanced` such as 5.1.1, None when it gave none."""
    shown = enhanced if enhanced in SHOWN_ENHANCED else "other"
    smtp_replies.labels(provider.value, shown).inc()


def observe_ledger(read: Callable[[], LedgerReading]) -> None:
    """Show the ledger's gauges, read anew at each scrape. Once per process."""
    registry.register(_Ledger(read))


def render() -> bytes:
    """All series as Prometheus reads them; asks the ledger, so it takes as long as a query."""
    return generate_latest(registry)


class _Ledger(Collector):
    """Reads the ledger when scraped. An unreachable database costs these series only, never the scrape."""

    def __init__(self, read: Callable[[], LedgerReading]) -> None:
        self._read = read

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering does not read the database."""
        return ()

    def collect(self) -> Iterable[Metric]:
        try:
            reading = self._read()
        except Exception as error:
            # Whatever fails here is told by the readiness page in words; a scrape must go on.
            _log.warning("the ledger's gauges could not be read: %s", type(error).__name__)
            return
        yield _by_state("corranto_issues", "Issues by state.", reading.issues)
        yield _by_state("corranto_deliveries", "Copies of open issues by state.", reading.deliveries)
        yield _by_state("corranto_workers", "Worker processes by state.", reading.workers)
        yield GaugeMetricFamily(
            "corranto_oldest_waiting_seconds", "Age of the oldest copy nobody moves.", value=reading.oldest_waiting_s
        )
        yield GaugeMetricFamily(
            "corranto_ledger_discrepancy", "Must be 0: states against audiences.", value=reading.discrepancy
        )


def _by_state(name: str, words: str, counts: Mapping[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, words, labels=["state"])
    for state, number in counts.items():
        family.add_metric([state], number)
    return family


def _version() -> str:
    try:
        return version("corranto")
    except PackageNotFoundError:
        return "unknown"


_build.labels(_version(), platform.python_version()).set(1)
