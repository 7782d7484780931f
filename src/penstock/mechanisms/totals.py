"""Totals: what requests come to, added up by hour and by the names that figures are asked for, until a store has them.

Promises: exact integers, in the order in which groups began; a name that no store would take (too long, not Unicode)
is cut or mended, the same way in a total and in its event, so that money is never lost for a name.
"""

from __future__ import annotations

from itertools import islice

import msgspec

from penstock.kernel.events import RequestEvent
from penstock.ports.traces import HOUR_S, TEXT_BYTES, Delta

NAME_CHARS = TEXT_BYTES // 4
"""A longer name is cut: the store takes so many characters whatever they are."""
Group = tuple[int, str, str, str, str, str, str, str, str, str]
"""An hour's start, and the names of `Delta` in their order."""
_NAMES = (
    "request_id",
    "org",
    "team",
    "project",
    "user",
    "key_id",
    "feature",
    "model",
    "model_used",
    "provider",
)


class _Sums:
    """What the requests of one group come to."""

    __slots__ = ("cached", "cost_nanos", "estimated", "input", "latency_ms", "output", "requests")

    def __init__(self) -> None:
        self.requests = self.estimated = self.input = self.cached = self.output = 0
        self.cost_nanos = self.latency_ms = 0

    def add(self, event: RequestEvent) -> None:
        self.requests += 1
        if event.estimated:
            self.estimated += 1
        self.input += event.input_tokens
        if event.cached_tokens:
            self.cached += event.cached_tokens
        self.output += event.output_tokens
        self.cost_nanos += event.cost_nanos
        if event.latency_ms > 0.0:
            self.latency_ms += round(event.latency_ms)


class Totals:
    """Sums by group. It has no bound of its own: whoever adds asks for its length."""

    __slots__ = ("_groups", "requests")

    def __init__(self) -> None:
        """Begin with nothing."""
        self._groups: dict[Group, _Sums] = {}
        self.requests = 0
        """Requests in all the sums together."""

    def __len__(self) -> int:
        """How many groups there are."""
        return len(self._groups)

    def add(self, event: RequestEvent) -> bool:
        """Add an event to its group; False when there is none yet."""
        group = _group_of(event)
        sums = self._groups.get(group)
        if sums is None:
            sums = self._groups.get(_mended(group))
            if sums is None:
                return False
        sums.add(event)
        self.requests += 1
        return True

    def begin(self, event: RequestEvent) -> None:
        """Add an event as the first of its group."""
        sums = self._groups[_mended(_group_of(event))] = _Sums()
        sums.add(event)
        self.requests += 1

    def take(self, most: int) -> list[Delta]:
        """Take out the `most` groups that began first, as deltas."""
        taken: list[Delta] = []
        for group in list(islice(self._groups, most)):
            sums = self._groups.pop(group)
            self.requests -= sums.requests
            taken.append(_delta(group, sums))
        return taken


def _group_of(event: RequestEvent) -> Group:
    return (
        int(event.at_s) // HOUR_S * HOUR_S,
        event.org,
        event.team,
        event.project,
        event.user,
        event.key_id,
        event.feature,
        event.model_used or event.model,
        event.provider,
        "ok" if event.status < 400 else event.outcome,  # the usual one without two calls
    )


def _delta(group: Group, sums: _Sums) -> Delta:
    hour_s, org, team, project, user, key_id, feature, model, provider, outcome = group
    return Delta(
        hour_s=hour_s,
        org=org,
        team=team,
        project=project,
        user=user,
        key_id=key_id,
        feature=feature,
        model=model,
        provider=provider,
        outcome=outcome,
        requests=sums.requests,
        estimated=sums.estimated,
        input_tokens=sums.input,
        cached_tokens=sums.cached,
        output_tokens=sums.output,
        cost_nanos=sums.cost_nanos,
        latency_ms=sums.latency_ms,
    )


def storable(event: RequestEvent) -> RequestEvent:
    """Return the event with names that a store takes: itself, nearly always."""
    unfit = {name: getattr(event, name) for name in _NAMES if not _fits(getattr(event, name))}
    if not unfit:
        return event
    return msgspec.structs.replace(event, **{name: _name(text) for name, text in unfit.items()})


def _mended(group: Group) -> Group:
    """Return the group under names that a store takes."""
    hour_s, *names = group
    if all(map(_fits, names)):
        return group
    org, team, project, user, key_id, feature, model, provider, outcome = map(_name, names)
    return (hour_s, org, team, project, user, key_id, feature, model, provider, outcome)


def _fits(name: str) -> bool:
    return len(name) <= NAME_CHARS and (name.isascii() or _name(name) == name)


def _name(text: str) -> str:
    """Return so much of a name as is stored, valid Unicode throughout."""
    return text[:NAME_CHARS].encode(errors="replace").decode()
