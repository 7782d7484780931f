"""Metrics of what a deployment may switch on: kept answers, privacy, JSON, canaries, contents, oversight, batches.

Promise: what is off shows nothing; every queue has a gauge that says how full it is, every drop and failure a counter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from penstock.gateway.batch_runs import BatchRuns
from penstock.gateway.cached_answers import CachedAnswers
from penstock.gateway.contents import ContentCare
from penstock.gateway.context_care import ContextCare
from penstock.gateway.privacy import PrivacyCare
from penstock.gateway.rollouts import Canaries
from penstock.gateway.structured_care import StructuredCare
from penstock.gateway.summary_care import SummaryCare
from penstock.mechanisms.alerts.book import Alerts
from penstock.mechanisms.feedback import Feedback
from penstock.mechanisms.lake.intake import LakeIntake
from penstock.mechanisms.telemetry import Metrics
from penstock.mechanisms.webhooks import Webhooks
from penstock.wiring.latency import BudgetWatch
from penstock.wiring.platform import Platform

Texts = Mapping[str, str]
CACHE: Final[Texts] = {
    "hits": "Requests answered by a kept answer.",
    "stale": "Requests answered by a kept answer past its time.",
    "misses": "Requests whose answer might have been kept, and was not there.",
    "kept": "Answers kept.",
    "not_kept": "Answers that might have been kept and were not: cut, too large, calling tools.",
    "saved_nanos": "What the answers served had cost when they were fresh, in nano-dollars (1e-9 US dollars).",
}
REDACTION: Final[Texts] = {
    "requests": "Requests scanned for personal data.",
    "skipped": "Requests whose scan took longer than its budget.",
    "refused": "Requests refused for what they held.",
    "late_scans": "Skipped requests scanned afterwards.",
    "late_dropped": "Skipped requests never scanned: too many waited.",
    "late_failed": "Late scans that failed.",
    "engine_failures": "Calls of the second engine that failed or were late.",
}
STRUCTURED: Final = ("first_try", "repaired", "reasked", "failed")
CANARIES: Final[Texts] = {
    "heard": "Requests that were evidence about a canary.",
    "scored": "Scores that were evidence about a canary.",
    "strays": "Scores that were none.",
    "rolled_back": "Canaries this node took out.",
    "advanced": "Canaries this node gave more traffic.",
    "failures": "Looks at canaries that a store made fail.",
}
CONTENTS: Final[Texts] = {
    "produced": "Contents that were to be kept.",
    "delivered": "Contents kept, sealed.",
    "dropped": "Contents that had no room, or were too large.",
    "failures": "Times contents could not be written.",
}
LAKE: Final[Texts] = {
    "stored": "Records taken into the lake.",
    "repeated": "Records that were there before.",
    "rejected": "Messages that were no records.",
    "lost": "Messages that the stream had forgotten before they were taken.",
    "batches": "Batches of files written.",
    "failures": "Times a batch could not be written.",
}
ALERTS: Final[Texts] = {
    "fired": "Alerts that fired.",
    "left_out": "Readings that broke a rule when there was no room for another alert.",
    "failures": "Times what alerts read, or their rows, could not be had.",
}
WEBHOOKS: Final[Texts] = {
    "delivered": "Messages that a webhook took.",
    "failures": "Attempts at a webhook that failed.",
    "dead": "Messages given up.",
    "unread": "Rows of messages that could not be read; they stay where they are.",
}
BUDGETS: Final[Texts] = {
    "left_out": "Answers of features beyond those whose latency budgets are watched at one time.",
}
CONTEXT: Final[Texts] = {
    "truncated": "Requests whose oldest turns were left out.",
    "dropped": "Messages left out of them.",
    "too_long": "Requests that were to be shortened and could not be.",
}
SUMMARIES: Final[Texts] = {
    "made": "Summaries that a model wrote.",
    "reused": "Summaries that were kept already.",
}
BATCHES: Final[Texts] = {
    "lines_ended": "Lines of batches that ended here.",
    "stumbles": "Times the work on a batch broke off.",
}


def declare_features(platform: Platform) -> None:
    """Show what a platform that is put together has switched on."""
    metrics = platform.metrics
    if platform.answers is not None:
        _declare_cache(metrics, platform.answers)
    for each in platform.inspections:
        if isinstance(each, PrivacyCare):
            _declare_redaction(metrics, each)
        elif isinstance(each, ContextCare):
            _count(metrics, "context", each, CONTEXT)
        elif isinstance(each, SummaryCare):
            _count(metrics, "summaries", each.summaries, SUMMARIES)
        elif isinstance(each, StructuredCare):
            _declare_structured(metrics, each)
    if platform.contents is not None:
        _declare_contents(metrics, platform.contents)
    _declare_feedback(metrics, platform.feedback)


def declare_canaries(metrics: Metrics, canaries: Canaries) -> None:
    """Show what the judge of canaries hears and does."""
    _count(metrics, "canary", canaries, CANARIES)


def declare_lake(metrics: Metrics, intake: LakeIntake) -> None:
    """Show what the lake takes, and whether this process is the one that fills it."""
    _count(metrics, "lake", intake, LAKE)
    metrics.gauge("penstock_lake_leads", "1 while this process fills the lake.", lambda: float(intake.leads))


def declare_alerts(metrics: Metrics, alerts: Alerts, webhooks: Webhooks, budgets: BudgetWatch) -> None:
    """Show which alerts fired, whether anybody took the news, and which answers no latency budget counts."""
    _count(metrics, "alerts", alerts, ALERTS)
    _count(metrics, "webhooks", webhooks, WEBHOOKS)
    _count(metrics, "latency_budgets", budgets, BUDGETS)
    metrics.gauge(
        "penstock_latency_budget_used_ratio",
        "The 95th percentile of a feature's answers, as a share of its latency budget.",
        budgets.ratios,
        ("org", "feature", "team"),
    )


def declare_batches(metrics: Metrics, runs: BatchRuns) -> None:
    """Show how batches get on here."""
    _count(metrics, "batch", runs, BATCHES)
    metrics.gauge("penstock_batches_running", "Batches worked on here, now.", lambda: runs.at_work)


def _declare_cache(metrics: Metrics, answers: CachedAnswers) -> None:
    cache = answers.cache

    def total(field: str) -> Callable[[], float]:
        return lambda: sum(getattr(tally, field) for tally in tuple(cache.tallies.values()))

    for field, text in CACHE.items():
        metrics.counter(f"penstock_answer_cache_{field}", text, total(field))
    metrics.counter(
        "penstock_answer_cache_failures",
        "Times the store of answers could not be asked.",
        lambda: cache.failures,
    )


def _declare_redaction(metrics: Metrics, care: PrivacyCare) -> None:
    tally = care.tally
    _count(metrics, "redaction", tally, REDACTION)
    metrics.counter(
        "penstock_redaction_found",
        "Personal data found, by where, kind and what was done with it.",
        lambda: dict(tally.found),
        ("direction", "entity", "action"),
    )
    metrics.gauge(
        "penstock_redaction_skip_ratio",
        "Share of the last ten minutes' scans that were skipped.",
        tally.skip_rate,
    )


def _declare_structured(metrics: Metrics, care: StructuredCare) -> None:
    tally = care.tally

    def by_end() -> dict[tuple[str, ...], float]:
        return {(end,): getattr(tally, end) for end in STRUCTURED}

    def good() -> float:
        ends = by_end().values()
        return 1 - tally.failed / max(sum(ends), 1)

    metrics.counter(
        "penstock_structured_answers",
        "Answers that had to be JSON: good as they came, once mended, once asked for again, or never.",
        by_end,
        ("end",),
    )
    metrics.gauge("penstock_structured_good_ratio", "Share of those that were good in the end, ever.", good)


def _declare_contents(metrics: Metrics, care: ContentCare) -> None:
    metrics.gauge(
        "penstock_contents_held_bytes",
        "Bytes held of answers on their way to be kept.",
        lambda: care.held_bytes,
    )
    store = care.store
    if store is not None:
        _count(metrics, "contents", store, CONTENTS)
        metrics.gauge("penstock_contents_queued", "Contents waiting to be written.", lambda: store.queued)


def _declare_feedback(metrics: Metrics, feedback: Feedback) -> None:
    metrics.counter("penstock_feedback_scores", "Answers scored.", lambda: feedback.given)
    metrics.counter(
        "penstock_feedback_score_sum", "The sum of their scores, 0 to 1 each.", lambda: feedback.sum
    )


def _count(metrics: Metrics, noun: str, source: object, texts: Texts) -> None:
    for field, text in texts.items():
        metrics.counter(f"penstock_{noun}_{field}", text, _reader(source, field))


def _reader(source: object, field: str) -> Callable[[], float]:
    return lambda: getattr(source, field)
