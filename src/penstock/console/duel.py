"""A question to one or two models at once, and their answers on the way to one browser.

    duel (JSON) ──► read ──► a task for each pane ──► sdk stream ──┐
                                                                   ├─► bounded queue ──► one JSON object a line
                             a task for each pane ──► sdk stream ──┘

Promises: a browser that leaves ends every answer at once; one model's error is told in its pane while the other goes
on; a browser that reads slowly slows the models, nothing piles up; question, turns, answer and time have bounds, each
refused by name; what is waited for is said to be alive every 10 s.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta
from starlette.responses import StreamingResponse
from starlette.types import Send

from penstock.console import formats
from penstock.kernel.clock import Clock
from penstock.kernel.errors import Broken, Invalid, PenstockError, TimedOut, TooLarge
from penstock.sdk.answers import Chunk
from penstock.sdk.client import Client
from penstock.sdk.nouns.chat import ChatStream

BODY_BYTES_MOST: Final = 256 * 1024
PANES_MOST: Final = 2
TURNS_MOST: Final = 64
TOKENS_MOST: Final = 1_000_000
ANSWER_CHARS_MOST: Final = 200_000
"""More is no longer read by people; the pane says where to read it."""
ANSWER_S: Final = 300.0
"""How long a model may take for its whole answer."""
QUIET_S: Final = 10.0
EVENTS_WAITING: Final = 64
FEATURE: Final = "playground"
"""What the requests are tagged with, so that trying things out has a line of its own in the costs."""
MEDIA_TYPE: Final = "application/x-ndjson"

_ALIVE: Final = b"\n"
_log = logging.getLogger("penstock.console")


class Turn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What somebody said."""

    role: Literal["user", "assistant"]
    content: Annotated[str, Meta(min_length=1)]


class Pane(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model with the conversation it is asked to go on with."""

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    turns: Annotated[tuple[Turn, ...], Meta(min_length=1, max_length=TURNS_MOST)]


class Duel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One question to each pane. What is None is left to the model."""

    panes: Annotated[tuple[Pane, ...], Meta(min_length=1, max_length=PANES_MOST)]
    system: str = ""
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    max_tokens: Annotated[int, Meta(ge=1, le=TOKENS_MOST)] | None = None


# --- what the browser is told -----------------------------------------------------------------------------------------


class Began(msgspec.Struct, frozen=True, tag="began", tag_field="kind"):
    """The reply's head is here."""

    pane: int
    request_id: str
    route: str


class Said(msgspec.Struct, frozen=True, tag="said", tag_field="kind", omit_defaults=True):
    """What was added: to the answer, or to what the model thinks before it."""

    pane: int
    text: str = ""
    thought: str = ""


class Ended(msgspec.Struct, frozen=True, tag="ended", tag_field="kind"):
    """The whole answer was read. Figures are as people read them."""

    pane: int
    finish: str
    first: str
    total: str
    input_tokens: str
    output_tokens: str
    pace: str


class Failed(msgspec.Struct, frozen=True, tag="failed", tag_field="kind"):
    """There will be no (more) answer."""

    pane: int
    message: str
    remedy: str
    code: str
    retry: str
    request_id: str


Told = Began | Said | Ended | Failed


def read(body: bytes) -> Duel:
    """Read what the browser asks. Raises TooLarge, Invalid."""
    if len(body) > BODY_BYTES_MOST:
        raise TooLarge(
            "The conversation is too long for the playground.",
            field="body",
            value=len(body),
            limit=BODY_BYTES_MOST,
            remedy="Clear it and begin anew, or ask through the API.",
        )
    try:
        return msgspec.json.decode(body, type=Duel)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        what, _, place = str(error).partition(" - at ")
        raise Invalid(
            f"The question could not be read: {what}.",
            field=place.strip("`$.") or "body",
            remedy="Correct it, or clear the conversation and begin anew.",
        ) from None


class Answers(StreamingResponse):
    """The answers to a duel, as they are written. `client` is the asker's own; it is left with the reply."""

    def __init__(self, client: Client, duel: Duel, clock: Clock) -> None:
        """Ask when the browser reads."""
        self._lines = lines(client, duel, clock)
        super().__init__(
            self._lines,
            media_type=MEDIA_TYPE,
            headers={"x-accel-buffering": "no", "cache-control": "no-store"},
        )

    async def stream_response(self, send: Send) -> None:
        """Send it; whatever ends that ends the answers, not the collector of garbage some time later."""
        async with aclosing(self._lines):
            await super().stream_response(send)


async def lines(client: Client, duel: Duel, clock: Clock) -> AsyncGenerator[bytes]:
    """Yield what is told, as lines of JSON; an empty line where nothing was said for a while."""
    queue: asyncio.Queue[Told | None] = asyncio.Queue(EVENTS_WAITING)

    async def pump(number: int, pane: Pane) -> None:
        try:
            await _answer(client, duel, pane, _Watch(number, clock), queue.put)
        except Exception:  # because the other model's answer goes on, whatever broke in this one
            _log.exception("an answer of the playground failed")
            await queue.put(failed(number, Broken("The answer could not be read. This is a bug.")))
        await queue.put(None)

    async def every() -> None:
        async with client, asyncio.TaskGroup() as pumps:
            for number, pane in enumerate(duel.panes):
                pumps.create_task(pump(number, pane))

    # A task of its own: what it holds is let go in its own time, also when the reply is cancelled again and again.
    asking = asyncio.ensure_future(every())
    going = len(duel.panes)
    try:
        while going:
            try:
                told = [await asyncio.wait_for(queue.get(), QUIET_S)]
            except TimeoutError:
                yield _ALIVE
                continue
            while not queue.empty():
                told.append(queue.get_nowait())
            going -= told.count(None)
            if line := b"".join(msgspec.json.encode(each) + b"\n" for each in told if each is not None):
                yield line
    finally:
        asking.cancel()


class _Watch:
    """The times of one pane's answer, in seconds from when it was asked for."""

    def __init__(self, pane: int, clock: Clock) -> None:
        self.pane = pane
        self._clock = clock
        self._began_s = clock.monotonic_s()
        self._first_s = 0.0

    def gone_s(self) -> float:
        return self._clock.monotonic_s() - self._began_s

    def something_came(self) -> None:
        self._first_s = self._first_s or self.gone_s()

    def ended(self, stream: ChatStream, finish: str) -> Ended:
        usage, total_s = stream.usage, self.gone_s()
        writing_s = total_s - self._first_s
        is_paced = usage is not None and usage.completion_tokens > 1 and writing_s > 0
        return Ended(
            self.pane,
            finish,
            formats.duration(self._first_s * 1000),
            formats.duration(total_s * 1000),
            formats.count(usage.prompt_tokens) if usage else formats.DASH,
            formats.count(usage.completion_tokens) if usage else formats.DASH,
            f"{formats.short(round(usage.completion_tokens / writing_s))}/s" if usage and is_paced else "",
        )


async def _answer(
    client: Client, duel: Duel, pane: Pane, watch: _Watch, tell: Callable[[Told], Awaitable[None]]
) -> None:
    """Tell one model's answer to its end."""
    stream = client.chat.stream(
        model=pane.model,
        messages=messages(duel, pane),
        feature=FEATURE,
        timeout_s=ANSWER_S,
        **parameters(duel),
    )
    finish, chars = "", 0
    try:
        async with stream:
            await tell(Began(watch.pane, stream.request_id, stream.route))
            async for chunk in stream:
                said = _said(watch.pane, chunk)
                finish = next((each.finish_reason for each in chunk.choices if each.finish_reason), finish)
                if said is not None:
                    watch.something_came()
                    chars += len(said.text) + len(said.thought)
                    await tell(said)
                _keep_within(chars, watch)
            await tell(watch.ended(stream, finish))
    except PenstockError as error:
        await tell(failed(watch.pane, error, stream.request_id))


def messages(duel: Duel, pane: Pane) -> list[dict[str, object]]:
    """Return what the model is sent: the system prompt, then every turn."""
    first: list[dict[str, object]] = (
        [{"role": "system", "content": duel.system}] if duel.system.strip() else []
    )
    return first + [{"role": turn.role, "content": turn.content} for turn in pane.turns]


def parameters(duel: Duel) -> dict[str, Any]:
    """Return what the model is not to choose itself."""
    given = {"temperature": duel.temperature, "max_tokens": duel.max_tokens}
    return {name: value for name, value in given.items() if value is not None}


def failed(pane: int, error: PenstockError, request_id: str = "") -> Failed:
    """Return an error as its pane tells it."""
    retry = formats.span(error.retry_after_s) if error.retry_after_s else ""
    return Failed(pane, error.message, error.remedy, error.reason, retry, request_id)


def _said(pane: int, chunk: Chunk) -> Said | None:
    """Return what a chunk adds, None when nothing. A refusal is an answer."""
    deltas = [choice.delta for choice in chunk.choices if choice.index == 0]
    text = "".join((delta.content or "") + (delta.refusal or "") for delta in deltas)
    thought = "".join(delta.reasoning_content or "" for delta in deltas)
    return Said(pane, text, thought) if text or thought else None


def _keep_within(chars: int, watch: _Watch) -> None:
    """Raise what ends an answer that has no end of its own."""
    if chars > ANSWER_CHARS_MOST:
        raise TooLarge(
            "The answer is longer than the playground shows.",
            code="answer_too_long",
            limit=ANSWER_CHARS_MOST,
            remedy="Set a limit of tokens, or ask through the API.",
        )
    if watch.gone_s() > ANSWER_S:
        raise TimedOut(
            "The answer took longer than the playground waits.",
            code="answer_too_slow",
            limit=f"{ANSWER_S:g} s",
            remedy="Set a limit of tokens, or ask through the API.",
        )
