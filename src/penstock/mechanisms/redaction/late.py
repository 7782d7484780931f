"""Scans of requests that could not wait: done afterwards, one at a time, without holding anybody up.

Promises: at most `WAITING_CHARS` of text wait; what does not fit is counted in `Tally.late_dropped`, never kept; what a
scan finds is told to `told(request_id, counts)` by entity, without values; a failing scan is counted and the next one
goes on. `close` stops at once and counts what was waiting as dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, Protocol

from penstock.kernel.findings import Finding
from penstock.mechanisms.redaction.policy import RedactionPolicy, Tally

WAITING_CHARS: Final = 16 << 20
_log = logging.getLogger("penstock.redaction")

Told = Callable[[str, Mapping[str, int]], None]


class FullScan(Protocol):
    """Scans texts for as long as it takes, letting the event loop breathe."""

    async def __call__(self, texts: tuple[str, ...], policy: RedactionPolicy) -> list[list[Finding]]:
        """Return the findings of each text."""
        ...


class _Job(NamedTuple):
    request_id: str
    texts: tuple[str, ...]
    policy: RedactionPolicy

    @property
    def chars(self) -> int:
        return sum(map(len, self.texts))


class LateScans:
    """A bounded queue of skipped requests and the one task that works it off."""

    def __init__(self, scan: FullScan, tally: Tally, told: Told) -> None:
        """`scan` finds, `told` hears of it."""
        self._scan = scan
        self._tally = tally
        self._told = told
        self._waiting: deque[_Job] = deque()
        self._chars = 0
        self._busy = False
        self._task: asyncio.Task[None] | None = None

    def offer(self, request_id: str, texts: tuple[str, ...], policy: RedactionPolicy) -> bool:
        """Take a request for later; False, and counted, if there is no room."""
        job = _Job(request_id, texts, policy)
        if self._chars + job.chars > WAITING_CHARS:
            self._tally.late_dropped += 1
            return False
        self._waiting.append(job)
        self._chars += job.chars
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work(), name="late redaction scans")
        return True

    @property
    def waiting(self) -> int:
        """Return how many scans are not done yet."""
        return len(self._waiting) + self._busy

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._tally.late_dropped += len(self._waiting)
        self._waiting.clear()
        self._chars = 0

    async def _work(self) -> None:
        while self._waiting:
            job = self._waiting.popleft()
            self._chars -= job.chars
            self._busy = True
            try:
                await self._one(job)
            except Exception:  # because one text that cannot be scanned must not end the scanning
                self._tally.late_failed += 1
                _log.exception("a late scan failed; request %s stays flagged", job.request_id)
            finally:
                self._busy = False

    async def _one(self, job: _Job) -> None:
        findings = await self._scan(job.texts, job.policy)
        counts = Counter(finding.entity for each in findings for finding in each)
        self._tally.late_scans += 1
        for entity, count in counts.items():
            self._tally.found["late", entity, job.policy.requests[entity]] += count
        self._told(job.request_id, counts)
