"""Requests that were refused before anything was done for them: counted one by one, told to the audit in sums.

An audit record costs as much as refusing dozens of requests, and who floods us must not be able to fill the audit with
it. So there is one record for each caller and class in each round, with `times:N` among its flags.

Promise: the sum of all `times` is exactly the number of requests turned away, whoever called; in one round at most
`ROWS_MOST` callers are told apart, the rest are one, of no name.
"""

from __future__ import annotations

from typing import Final

from penstock.kernel.clock import Clock
from penstock.kernel.context import Principal
from penstock.kernel.errors import Overloaded
from penstock.kernel.events import RequestEvent
from penstock.mechanisms.audit import AuditPipe
from penstock.mechanisms.priorities import Priority

ROWS_MOST: Final = 1_000
_NOBODY: Final = Principal(key_id="", org="", team="", project="", user="")


class _Row:
    """One caller's refusals of one class since the last round; `request_id` is the last one's."""

    __slots__ = ("principal", "request_id", "times")

    def __init__(self, principal: Principal) -> None:
        self.principal = principal
        self.request_id = ""
        self.times = 0


class TurnedAway:
    """The book of refusals. One per process; `tell` it once a second."""

    def __init__(self, audit: AuditPipe, clock: Clock) -> None:
        """Tell `audit`."""
        self._audit = audit
        self._clock = clock
        self._rows: dict[tuple[str, Priority], _Row] = {}

    def note(self, principal: Principal | None, priority: Priority, request_id: str) -> None:
        """Count one refusal; None is a caller that is not known."""
        who = principal or _NOBODY
        row = self._rows.get((who.key_id, priority))
        if row is None:
            row = self._new(who, priority)
        row.times += 1
        row.request_id = request_id

    def tell(self) -> None:
        """Tell of everybody turned away since the last round."""
        rows, self._rows = self._rows, {}
        for (_, priority), row in rows.items():
            who = row.principal
            event = RequestEvent(
                request_id=row.request_id,
                at_s=self._clock.wall_s(),
                org=who.org,
                team=who.team,
                project=who.project,
                user=who.user,
                key_id=who.key_id,
                status=Overloaded.status,
                error=Overloaded.code,
                attempts=0,
                flags=("shed", f"priority:{priority.name.lower()}", f"times:{row.times}"),
            )
            self._audit.offer(event)

    def _new(self, who: Principal, priority: Priority) -> _Row:
        if len(self._rows) >= ROWS_MOST:
            who = _NOBODY
        return self._rows.setdefault((who.key_id, priority), _Row(who))
