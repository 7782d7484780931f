"""The gateway without sockets: vendors that answer from a list, a client that remembers, and the real rungs between.

    house = House(Vendor("sim", stream(text("Hi"), FINISH, USAGE, DONE)))
    await house.serve()
    assert house.ledger.postings[0].amount_nanos == ...

Promise: everything between envelope and settlement is the product's own code; only the stores, the vendor's wire and
the client's socket are doubles.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from penstock.dialects.codecs import CODECS
from penstock.gateway.admission import Admission
from penstock.gateway.calling import Calling
from penstock.gateway.client import Client
from penstock.gateway.faces import OPENAI
from penstock.gateway.inquiry import Inquiry
from penstock.gateway.pipeline import Pipeline
from penstock.gateway.relay import Relay
from penstock.gateway.routing import Endpoint, RouteTable
from penstock.gateway.story import Story
from penstock.gateway.wording import Wordings
from penstock.kernel.clock import ManualClock
from penstock.kernel.context import Principal, RequestContext
from penstock.kernel.errors import Cancelled
from penstock.kernel.events import RequestEvent
from penstock.kernel.settings import AdmissionSettings, ResilienceSettings, RouteSettings, TargetSettings
from penstock.mechanisms.audit import AuditPipe
from penstock.mechanisms.limits import Plans
from penstock.mechanisms.price_data import ModelLimits, PriceOverride, PriceOverrides
from penstock.mechanisms.prices import PriceBook
from penstock.mechanisms.resilience import Resilience
from penstock.ports.providers import ChatCall
from tests.unit.gateway.doubles import NamedProvider, ScriptedLedger, ScriptedState
from tests.unit.gateway.test_admission import principal

PRICES = PriceBook.load(
    PriceOverrides(
        prices=(
            PriceOverride(provider="sim", model="small", input="1", output="2"),
            PriceOverride(provider="dear", model="big", input="10", output="20"),
        ),
        limits=(
            ModelLimits(provider="sim", model="small", context_window=1_000, max_output_tokens=500),
            ModelLimits(provider="dear", model="big", context_window=100_000, max_output_tokens=500),
        ),
    )
)
CHATS = "/v1/chat/completions"
MODELS = {"sim": "small", "dear": "big"}
QUICK = ResilienceSettings(backoff_base_s=0.0001, backoff_cap_s=0.001)


class Hang:
    """A step that never ends by itself."""


HANG = Hang()
Step = bytes | BaseException | Hang


def event(**members: object) -> bytes:
    """Return one SSE event of a chat stream."""
    return b"data: %b\n\n" % msgspec.json.encode({"id": "c1", **members})


def text(words: str, **members: object) -> bytes:
    """Return a content event."""
    return event(choices=[{"index": 0, "delta": {"content": words}}], **members)


ROLE = event(choices=[{"index": 0, "delta": {"role": "assistant"}}])
FINISH = event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
USAGE = event(choices=[], usage={"prompt_tokens": 9, "completion_tokens": 3})
ERROR = event(error={"message": "no", "code": "server_error"})
DONE = b"data: [DONE]\n\n"


def whole(words: str = "Hi.", **members: object) -> bytes:
    """Return a whole reply; `usage` and the like go beside its choice."""
    choice = {"index": 0, "message": {"role": "assistant", "content": words}, "finish_reason": "stop"}
    return msgspec.json.encode({"id": "c1", "choices": [choice], **members})


class Reply:
    """A vendor's answer, step by step: bytes to hand out, an error to raise, or `HANG`."""

    status = 200

    def __init__(self, *steps: Step, streamed: bool = True) -> None:
        self.streamed = streamed
        self.closed = False
        self._steps = list(steps)

    async def read(self, max_bytes: int) -> bytes:
        return await self.chunk()

    async def chunk(self) -> bytes:
        step = self._steps.pop(0) if self._steps else b""
        if isinstance(step, Hang):
            await asyncio.Event().wait()
        if isinstance(step, BaseException):
            raise step
        assert isinstance(step, bytes)
        return step

    def close(self) -> None:
        self.closed = True


class Vendor(NamedProvider):
    """A provider that gives its answers in order, the last for ever; an error is raised, `HANG` never answers."""

    def __init__(self, name: str, *answers: Callable[[], Reply] | BaseException | Hang) -> None:
        super().__init__(name)
        self.answers = list(answers)
        self.calls: list[ChatCall] = []
        self.replies: list[Reply] = []

    async def chat(self, call: ChatCall) -> Reply:
        self.calls.append(call)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Hang):
            await asyncio.Event().wait()
        if isinstance(answer, BaseException):
            raise answer
        assert callable(answer)
        self.replies.append(answer())
        return self.replies[-1]


def stream(*steps: Step) -> Callable[[], Reply]:
    """Return a maker of streamed replies."""
    return lambda: Reply(*steps)


def full(*steps: Step) -> Callable[[], Reply]:
    """Return a maker of whole replies."""
    return lambda: Reply(*steps, streamed=False)


class Caller:
    """The client's side: keeps what it is sent. `vanish` leaves; while `paused`, `drain` waits for `resume`."""

    def __init__(self, *, paused: bool = False) -> None:
        self.gone = False
        self.paused = paused
        self.started = False
        self.complete = False
        self.status = 0
        self.headers = b""
        self.body = b""
        self.task: asyncio.Task[None] | None = None
        self.drained = 0
        self._moved = asyncio.Event()
        self._callbacks: list[Callable[[], None]] = []

    def send(self, status: int, headers: bytes, body: bytes) -> None:
        assert not self.started, "a request was answered twice"
        self.status, self.headers, self.body = status, headers, body
        self.started = self.complete = True

    def begin(self, status: int, headers: bytes) -> None:
        assert not self.started, "a request was answered twice"
        self.status, self.headers, self.started = status, headers, True

    def write(self, data: bytes) -> None:
        assert self.started
        assert not self.complete, "a reply was written to after its end"
        self.body += b"" if self.gone else data

    def finish(self, tail: bytes = b"") -> None:
        self.write(tail)
        self.complete = True

    async def drain(self) -> None:
        self.drained += 1
        if not self.gone:
            await self._moved.wait()
        if self.gone:
            raise Cancelled(code="client_gone")

    def on_gone(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    def vanish(self) -> None:
        """Leave, as the server tells it."""
        self.gone = True
        self._moved.set()
        for callback in self._callbacks:
            callback()


class House:
    """One gateway over some vendors; the route "both" goes to all of them in order."""

    def __init__(
        self,
        *vendors: Vendor,
        ledger: ScriptedLedger | None = None,
        state: ScriptedState | None = None,
        settings: ResilienceSettings = QUICK,
        tenancy: Any = None,
        deadline_s: float = 60.0,
        hedge: bool = False,
        resume: bool = False,
    ) -> None:
        self.deadline_s = deadline_s
        self.clock = ManualClock()
        self.ledger = ledger or ScriptedLedger()
        self.state = state or ScriptedState()
        self.events: list[RequestEvent] = []
        self.caller = Caller()
        endpoints = {each.name: Endpoint(provider=each, models=(MODELS[each.name],)) for each in vendors}
        targets = [TargetSettings(provider=each.name, model=MODELS[each.name], weight=0) for each in vendors]
        targets[0] = msgspec.structs.replace(targets[0], weight=1)
        routes = [RouteSettings(model="both", targets=tuple(targets), hedge=hedge, resume=resume)]
        self.table = RouteTable(endpoints, routes, PRICES, 20_000)
        self.resilience = Resilience(settings, self.clock)
        audit = AuditPipe(None, self.clock)  # pyright: ignore[reportArgumentType]  # only `offer` is used
        audit.offer = self.events.append  # pyright: ignore[reportAttributeAccessIssue]  # every event, at once
        stores: Any = self.ledger
        gate: Any = self.state
        admission = Admission(AdmissionSettings(), Plans(self.clock), gate, stores, 900)
        self.pipeline = Pipeline(
            routes=lambda: self.table,
            tenancy=tenancy,
            admission=admission,
            calling=Calling(admission, self.resilience),
            ledger=stores,
            relay=Relay(stores, self.resilience, self.clock),
            audit=audit,
            wordings=Wordings(CODECS, self.clock),
        )

    def context(self, who: Principal | None = None) -> RequestContext:
        """Return the context of a request that has `deadline_s` seconds."""
        deadline_s = self.clock.monotonic_s() + self.deadline_s
        return RequestContext("req_1", who or principal(), deadline_s=deadline_s, received_ns=0)

    async def serve(
        self, client: Client | None = None, who: Principal | None = None, **members: object
    ) -> None:
        """Serve one chat to `caller` (or another client)."""
        context = self.context(who)
        inquiry = Inquiry(OPENAI, CHATS, chat(**members))
        await self.pipeline.serve(context, inquiry, client or self.caller, Story(context, self.clock))

    @property
    def slots(self) -> int:
        """Concurrency slots taken and not given back."""
        return _slots(self.state.taken) - _slots(self.state.given_back)


def chat(**members: object) -> bytes:
    """Return a request's body."""
    body = {"model": "small", "messages": [{"role": "user", "content": "How full is it?"}], **members}
    return msgspec.json.encode(body)


def _slots(calls: Sequence[Sequence[Any]]) -> int:
    return sum(ask.kind == "slots" for asks in calls for ask in asks)
