"""The pipeline in one process, without a socket: what reaches the vendor, what reaches the caller, what is settled.

The provider is the product's own `scripted`; each reply it gives is watched until it is let go.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import pytest

from penstock.adapters.providers.scripted import ScriptedAnswer, ScriptedProvider, ScriptedReply, Step
from penstock.dialects.codecs import CODECS
from penstock.gateway.admission import Admission
from penstock.gateway.calling import Calling
from penstock.gateway.faces import OPENAI
from penstock.gateway.inquiry import Inquiry
from penstock.gateway.pipeline import Pipeline
from penstock.gateway.relay import CHECKPOINT_EVENTS, Relay
from penstock.gateway.routing import Endpoint, RouteTable
from penstock.gateway.story import Story
from penstock.gateway.wording import Wordings
from penstock.kernel.clock import ManualClock
from penstock.kernel.context import RequestContext
from penstock.kernel.errors import PenstockError
from penstock.kernel.faults import NONE, Misbehaviour
from penstock.kernel.settings import AdmissionSettings, ResilienceSettings
from penstock.mechanisms.audit import AuditPipe
from penstock.mechanisms.limits import Plans
from penstock.mechanisms.price_data import PriceOverride, PriceOverrides
from penstock.mechanisms.prices import PriceBook
from penstock.mechanisms.resilience import Resilience
from penstock.ports.providers import ChatCall, ProviderFailure
from tests.support import run
from tests.unit.gateway.doubles import ScriptedLedger, ScriptedState
from tests.unit.gateway.rig import CHATS
from tests.unit.gateway.test_admission import principal

MODEL = "scripted/model"
PRICES = PriceBook.load(
    PriceOverrides(prices=(PriceOverride(provider="scripted", model=MODEL, input="1", output="2"),))
)
DONE = b"data: [DONE]\n\n"
QUICK = ResilienceSettings(backoff_base_s=0.0001, backoff_cap_s=0.001)


class WatchedReply(ScriptedReply):
    """A reply that is in `open` until it is let go."""

    __slots__ = ("_open",)

    def watch(self, open_: list[ScriptedReply]) -> None:
        self._open = open_
        open_.append(self)

    def close(self) -> None:
        super().close()
        if self in self._open:
            self._open.remove(self)


class Watched(ScriptedProvider):
    """Knows which of its replies nobody has let go."""

    def __init__(self, steps: Sequence[Step]) -> None:
        super().__init__(steps)
        self.open: list[ScriptedReply] = []

    async def chat(self, call: ChatCall) -> ScriptedReply:
        given = await super().chat(call)
        reply = WatchedReply(given._blocks, NONE, streamed=given.streamed)
        reply._ending = given._ending
        reply.watch(self.open)
        return reply


@dataclass
class Caller:
    """The caller's side: keeps what it is sent."""

    gone: bool = False
    paused: bool = False
    started: bool = False
    complete: bool = False
    status: int = 0
    body: bytes = b""

    def send(self, status: int, headers: bytes, body: bytes) -> None:
        self.status, self.body = status, body
        self.started = self.complete = True

    def begin(self, status: int, headers: bytes) -> None:
        self.status, self.started = status, True

    def write(self, data: bytes) -> None:
        self.body += data

    def finish(self, tail: bytes = b"") -> None:
        self.body += tail
        self.complete = True

    async def drain(self) -> None:
        return


@dataclass
class Seen:
    """What one request left behind."""

    caller: Caller
    provider: Watched
    ledger: ScriptedLedger
    error: PenstockError | None

    @property
    def sent(self) -> list[dict[str, object]]:
        """The bodies the vendor was sent."""
        return [json.loads(call.body) for call in self.provider.calls]


def served(*steps: Step, **members: object) -> Seen:
    """Serve one chat against a scripted provider; expect one settlement and every reply let go."""
    clock, ledger, caller, provider = ManualClock(), ScriptedLedger(), Caller(), Watched(steps)
    table = RouteTable({"scripted": Endpoint(provider=provider, models=(MODEL,))}, (), PRICES, 20_000)
    resilience = Resilience(QUICK, clock)
    admission = Admission(AdmissionSettings(), Plans(clock), ScriptedState(), ledger, 900)  # pyright: ignore[reportArgumentType]  # doubles have only what admission uses
    pipeline = Pipeline(
        routes=lambda: table,
        tenancy=None,  # pyright: ignore[reportArgumentType]  # asked only for a request that names an end user
        admission=admission,
        calling=Calling(admission, resilience),
        ledger=ledger,
        relay=Relay(ledger, resilience, clock),  # pyright: ignore[reportArgumentType]  # a double that has what the relay uses
        audit=AuditPipe(None, clock),  # pyright: ignore[reportArgumentType]  # never started: it only counts
        wordings=Wordings(CODECS, clock),
    )
    context = RequestContext("req_1", principal(), deadline_s=clock.monotonic_s() + 60, received_ns=0)
    body = {"model": MODEL, "messages": [{"role": "user", "content": "How full is it?"}], **members}

    async def serve() -> PenstockError | None:
        try:
            inquiry = Inquiry(OPENAI, CHATS, msgspec.json.encode(body))
            await pipeline.serve(context, inquiry, caller, Story(context, clock))
        except PenstockError as error:
            return error
        return None

    seen = Seen(caller, provider, ledger, run(serve()))
    assert len(ledger.postings) == 1
    assert provider.open == []
    return seen


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("asked", "sent"), [(None, 4096), (16_384, 16_384), (16_385, 16_384)])
def test_the_vendor_is_told_the_length_that_is_held_and_not_the_one_asked_for(
    asked: int | None, sent: int, stream: bool
) -> None:
    seen = served(stream=stream, **({} if asked is None else {"max_completion_tokens": asked}))
    assert [body["max_completion_tokens"] for body in seen.sent] == [sent]


@pytest.mark.parametrize(
    ("words", "checkpoints"), [(CHECKPOINT_EVENTS - 1, 0), (CHECKPOINT_EVENTS + 1, 1), (100, 6)]
)
def test_a_stream_tells_the_ledger_its_cost_as_it_goes(words: int, checkpoints: int) -> None:
    ledger = served("word " * words, stream=True).ledger
    amounts = [amount for _, amount in ledger.checkpoints]
    assert len(amounts) == checkpoints
    assert amounts == sorted(set(amounts))
    assert all(0 < amount <= ledger.holds[0].amount_nanos for amount in amounts)


@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.parametrize("wrong", ["error_mid_stream", "malformed_line", "huge_event"])
def test_trouble_before_the_first_content_is_another_attempt_and_after_it_is_told(
    wrong: str, after: int
) -> None:
    seen = served(Misbehaviour(kind=wrong, after_chunks=after), "All is well.", stream=True)
    assert len(seen.sent) == (1 if after else 2)
    assert seen.caller.body.endswith(DONE) == (not after)
    assert (b'"error"' in seen.caller.body) == bool(after)
    assert isinstance(seen.error, ProviderFailure) == bool(after)


@pytest.mark.parametrize("include_usage", [False, True])
def test_the_usage_chunk_is_asked_for_always_and_passed_on_to_who_wanted_it(include_usage: bool) -> None:
    seen = served("Nine.", stream=True, stream_options={"include_usage": include_usage})
    assert seen.sent[0]["stream_options"] == {"include_usage": True}
    assert (b'"usage":{' in seen.caller.body) == include_usage
    assert not seen.ledger.postings[0].estimated


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("wrong", ["slow_first_byte", "reset"])
def test_an_attempt_the_vendor_may_bill_is_on_the_bill_beside_the_one_that_answered(
    wrong: str, stream: bool
) -> None:
    posting = served(Misbehaviour(kind=wrong), "All is well.", stream=stream).ledger.postings[0]
    first, second = posting.attempts
    assert (first.cost_nanos > 0, first.estimated) == (True, True)
    assert (second.outcome, second.estimated) == ("ok", False)
    assert posting.amount_nanos == first.cost_nanos + second.cost_nanos


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_without_usage_is_estimated_and_never_free(stream: bool) -> None:
    posting = served(ScriptedAnswer(text="All is well.", usage=None), stream=stream).ledger.postings[0]
    assert posting.estimated
    assert posting.amount_nanos > 0
