"""Playing cases: one platform over the gate, every case a route of its own, and what was seen of each.

Promise: cases share the ledger, the audit and the retry budget (made ample here) and nothing else: back ends, and so
breakers, are a case's own. What is judged is read where an auditor would: the journal's file, the audit stream.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from penstock.kernel.events import RequestEvent
from penstock.kernel.settings import (
    FeatureSettings,
    ProviderSettings,
    RouteSettings,
    Settings,
    TargetSettings,
    WebhookSettings,
)
from penstock.kernel.settings_features import AnswerRuleSettings
from penstock.ports.ledger import Verdict
from penstock.simulator.truth import TruthRow
from tests.books import Books, Operation
from tests.faults.asking import Told, ask
from tests.faults.case import AS_TOLD, ESTIMATE, EXACT, FREE, LAST, Case, Expect
from tests.faults.gate import Gate
from tests.stage import Stage, stage, until

AT_ONCE = 6
"""Cases under way together."""
BREAKER_OPEN_S = 1.0
DESK = WebhookSettings(name="desk", url="http://127.0.0.1:1/hook", orgs=("acme",))
_CACHE = {"url": "memory:", "semi_s": 0.3, "stale_s": 60.0}
_PATHS = {"openai": "/v1", "anthropic": "", "gemini": "/v1beta"}
_RESILIENCE = {
    "max_attempts": 3,
    "backoff_base_s": 0.001,
    "backoff_cap_s": 0.2,
    "retry_share_percent": 1_000,
    "breaker_failures": 5,
    "breaker_open_s": BREAKER_OPEN_S,
}


@dataclass(frozen=True)
class Seen:
    """What one case came to."""

    told: Told
    event: RequestEvent
    operation: Operation
    truth: tuple[TruthRow, ...]
    breaker: str


@dataclass(frozen=True)
class Played:
    """What all cases came to: by name, and the ledger's own verdict once all was done."""

    seen: dict[str, Seen]
    verdict: Verdict
    retries: int


def _providers(case: Case, number: int, gate: Gate) -> list[ProviderSettings]:
    return [
        ProviderSettings(
            name=f"case-{number}-{index}",
            kind=case.wire,  # pyright: ignore[reportArgumentType]  # the three kinds by name
            vendor="sim",
            base_url=gate.url(number, index) + _PATHS[case.wire],
            models=("m",),
            **(case.fault.timers if index == 0 else {}),
        )
        for index in range(len(case.fault.places))
    ]


def _routes(case: Case, number: int) -> list[RouteSettings]:
    """Return the route of a case and, where it has another model, that one's."""
    targets = [
        TargetSettings(provider=f"case-{number}-{index}", model="m", weight=0 if index else 100)
        for index in range(len(case.fault.places))
    ]
    own = len(case.fault.back_ends)
    routes = [RouteSettings(model=f"case-{number}", targets=tuple(targets[:own]), hedge=case.fault.hedge)]
    if others := [msgspec.structs.replace(each, weight=100) for each in targets[own:]]:
        routes.append(RouteSettings(model=f"case-{number}-other", targets=tuple(others)))
    return routes


def _feature(case: Case, number: int) -> FeatureSettings:
    """Return the rules of a case's feature, which has the name of its model."""
    steps, name = case.fault.steps, f"case-{number}"
    rules = (
        AnswerRuleSettings(pattern="never", text="No."),
        AnswerRuleSettings(pattern="What of", text="A rule."),
    )
    return FeatureSettings(
        name=name,
        fallback=tuple(f"{name}-other" if step == "other" else step for step in steps),
        rules=rules if "rule" in steps else (),
        canned="A canned answer." if "canned" in steps else "",
        later="desk" if "later" in steps else "",
    )


async def play(
    folder: Path, cases: Sequence[Case], tls: ssl.SSLContext | None = None, *, drain_s: float = 0.0
) -> Played:
    """Play `cases` on one platform whose data is below `folder`; `tls` is a server's whom nobody knows. With `drain_s`
    the platform is drained within it as soon as every request is at its vendor and every stream has begun.
    """
    gate = Gate(cases, tls)
    await gate.open()
    routes = tuple(each for number, case in enumerate(cases) for each in _routes(case, number))
    providers = tuple(each for number, case in enumerate(cases) for each in _providers(case, number, gate))
    features = tuple(_feature(case, number) for number, case in enumerate(cases) if case.fault.steps)

    def altered(before: Settings) -> Settings:
        return msgspec.structs.replace(before, features=features, webhooks=(DESK,))

    try:
        server = {"drain_s": drain_s} if drain_s else {}
        async with stage(
            folder,
            routes=routes,
            others=lambda _url: providers,
            resilience=_RESILIENCE,
            server=server,
            cache=_CACHE,
            altered=altered,
        ) as it:
            _rest()
            gate.simulator_port = it.simulator.port
            breakers = await _asked(it, gate, cases, drain_s)
            events = await _events(it, cases)
            verdict = await it.platform.stores.ledger.verify()
            rows = it.simulator.truth.rows()
            retries = it.platform.resilience.retries
    finally:
        await gate.close()
    books = Books(folder / "data" / "ledger.sqlite")
    seen: dict[str, Seen] = {}
    for number, case in enumerate(cases):
        told, breaker = breakers[number]
        event = events[f"case-{number}"]
        truth = tuple(row for row in rows if row.operation == event.request_id)
        seen[case.name] = Seen(told, event, books.operations[event.request_id], truth, breaker)
    return Played(seen, verdict, retries)


def _rest() -> None:
    """Let nobody work on what is put off: each operation of the books is to be one of the cases' own."""
    for task in asyncio.all_tasks():
        if task.get_name() == "later":
            task.cancel()


async def _asked(it: Stage, gate: Gate, cases: Sequence[Case], drain_s: float) -> list[tuple[Told, str]]:
    """Ask every case's questions; returns what the last was told, and the breaker right after it."""
    caller = await it.caller()
    places = asyncio.Semaphore(len(cases) if drain_s else AT_ONCE)
    all_told = [Told(case.face, case.fault.stream) for case in cases]  # until each asks

    async def one(number: int, case: Case) -> tuple[Told, str]:
        fault = case.fault
        async with places:
            for turn in range(fault.asks):
                if turn == fault.asks - 1:
                    await asyncio.sleep(fault.rest_s)
                told = all_told[number] = Told(case.face, fault.stream, kept="stale" in fault.steps)
                await ask(
                    it.platform.port,
                    caller.token,
                    f"case-{number}",
                    told,
                    leaves=fault.leaves,
                    called=lambda: gate.calls[number, 0] > 0,
                )
            return all_told[number], it.platform.resilience.breaker(f"case-{number}-0/m").state

    async def drained() -> None:
        async def under_way() -> bool:
            begun = all(told.body for told in all_told if told.stream)
            return begun and len(gate.calls) == len(cases)

        await until(under_way, 10.0)
        it.platform.draining = True
        await it.platform.server.drain(drain_s)

    drain = asyncio.create_task(drained()) if drain_s else None
    seen = await asyncio.gather(*(one(number, case) for number, case in enumerate(cases)))
    if drain is not None:
        await drain
    return seen


async def _events(it: Stage, cases: Sequence[Case]) -> dict[str, RequestEvent]:
    """Wait until every request is in the audit and settled; returns the last event by model."""
    expected = sum(case.fault.asks for case in cases)
    events: list[RequestEvent] = []

    async def told() -> bool:
        messages = await it.platform.stores.stream.read("audit", len(events), 1000)
        events.extend([msgspec.json.decode(message.value, type=RequestEvent) for message in messages])
        return len(events) >= expected and (await it.platform.stores.ledger.verify()).pending == 0

    await until(told, 10.0)
    assert len(events) == expected, "every request is audited once"
    return {event.model: event for event in events}


def differences(case: Case, seen: Seen) -> list[str]:
    """Return what is not as expected, each as "what: expected, seen"."""
    expect, told, event = case.expect, seen.told, seen.event
    leaves = case.fault.leaves
    pairs = {
        "status": (expect.status, told.status),
        "code": (expect.code, told.code),
        "success mark": (not expect.code and not leaves, told.whole),
        "in-band": (expect.in_band, told.in_band),
        "in sequence": (True, told.in_sequence),
        "retry-after": (expect.retry_after_s, told.retry_after_s),
        "ledger attempts": (expect.outcomes, _attempts(seen)),
        "audited error": (expect.error, event.error),
        "audited attempts": (expect.audited or expect.outcomes, tuple(call.outcome for call in event.calls)),
        "audited cost": (_posted(seen), event.cost_nanos),
        "breaker": (expect.breaker, seen.breaker),
        "settlements": (1, len(seen.operation.settlements)),
        "stood in": (expect.by, told.by),
        "audited stand-in": (expect.by, _stood_in(event)),
    }
    found = [
        f"{what}: expected {ours!r}, seen {theirs!r}"
        for what, (ours, theirs) in pairs.items()
        if ours != theirs
    ]
    return found + _money(expect, seen)


def _stood_in(event: RequestEvent) -> str:
    """Return what stood in, as the audit says."""
    steps = [flag.removeprefix("fallback:") for flag in event.flags if flag.startswith("fallback:")]
    if not steps:
        return ""
    return "other" if steps[0].endswith("-other") else "nobody" if steps[0] == "none" else steps[0]


def _attempts(seen: Seen) -> tuple[str, ...]:
    return tuple(each.outcome for one in seen.operation.settlements for each in one.attempts)


def _posted(seen: Seen) -> int:
    return sum(one.amount_nanos for one in seen.operation.settlements)


def _money(expect: Expect, seen: Seen) -> list[str]:
    posted = _posted(seen)
    least, most = _bounds(expect.bill, seen)
    found: list[str] = []
    if not least <= posted <= most:
        found.append(f"posted: expected {least} to {most} ({expect.bill}), seen {posted}")
    if any(one.estimated != (expect.bill == ESTIMATE) for one in seen.operation.settlements):
        found.append(f"estimated: expected {expect.bill == ESTIMATE}")
    return found


def _bounds(bill: str | int, seen: Seen) -> tuple[int, int]:
    """Return the least and the most that may be posted."""
    if isinstance(bill, int):
        return bill, bill
    billed = [row.cost_nanos for row in seen.truth if row.billed]
    told = sum(row.input_tokens * 150 + (row.output_tokens * 3 + 7) * 600 for row in seen.truth)
    least = max(sum(billed), 1)
    return {
        FREE: (0, 0),
        EXACT: (least, least),
        LAST: (sum(billed[-1:]), sum(billed[-1:])),
        AS_TOLD: (told, told),
        ESTIMATE: (least, seen.operation.held_nanos),
    }[bill]
