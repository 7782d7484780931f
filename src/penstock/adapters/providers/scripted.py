"""`scripted`: a provider in this process that says and spoils exactly what a script tells it to. No socket, no wait.

    provider = ScriptedProvider([Misbehaviour(kind="rate_limit"), "Hello.", ScriptedAnswer(text="Bye.", usage=None)])

Shipped as product, so that users can test their own code against every failure of `kernel.faults` without patching.

Promises, on top of the port's: steps are played in order and then the last one for ever (or drawn by `seed` with
weights, likewise repeatable); every call is kept in `calls`, the newest `MAX_CALLS` of them; no time passes: where a
real vendor would stall or be slow, the timer that would run out is reported at once.
"""

from __future__ import annotations

import random
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from penstock.adapters.providers.wholes import BytesReply, refused
from penstock.dialects.openai import ChatEnvelope, StreamRenderer, open_chat, render_reply
from penstock.kernel.chat import ChatEvent, ChatReply, Message, Text
from penstock.kernel.errors import Invalid
from penstock.kernel.faults import MISBEHAVIOURS, Misbehaviour
from penstock.kernel.money import Usage
from penstock.ports.providers import ChatCall, ProviderFailure

MAX_CALLS: Final = 10_000
HUGE_BYTES: Final = 2 * 1024 * 1024
_CREATED_S: Final = 1_700_000_000
_PIECE: Final = re.compile(r"\s*\S+")

_REFUSALS: Final = {
    # misbehaviour → kind, status, the vendor's code
    "rate_limit": ("rate_limited", 429, "rate_limit_exceeded"),
    "rate_limit_no_hint": ("rate_limited", 429, "rate_limit_exceeded"),
    "quota": ("quota_exhausted", 429, "insufficient_quota"),
    "spend_limit": ("spend_limit", 400, "billing_hard_limit_reached"),
    "server_error": ("server_error", 500, "server_error"),
    "overloaded": ("overloaded", 503, "overloaded_error"),
    "slow_first_byte": ("first_byte_timeout", 0, ""),
    "reset": ("connection_reset", 0, ""),
}
_ENDINGS: Final = {"stall": "stalled", "cut": "cut"}
_ERROR_EVENT: Final = (
    b'data: {"error":{"message":"scripted error","type":"server_error","code":"server_error"}}\n\n'
)


class ScriptedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What one call gets. `usage` UNSET counts words; None sends no usage."""

    text: str = "This is a scripted answer."
    finish: str = "stop"
    usage: Usage | msgspec.UnsetType | None = msgspec.UNSET
    misbehaviour: Misbehaviour = Misbehaviour()


Step = ScriptedAnswer | Misbehaviour | str


class ScriptedProvider:
    """A `ChatProvider` and `ListsModels` that follows a script."""

    dialect = "openai"

    def __init__(
        self,
        steps: Sequence[Step] = (),
        *,
        seed: int | None = None,
        weights: Mapping[str, float] | None = None,
        name: str = "scripted",
        models: Sequence[str] = ("scripted/model",),
    ) -> None:
        """Play `steps` in order, the last for ever; with `seed`, draw misbehaviours by `weights` instead."""
        unknown = [kind for kind in weights or {} if kind not in MISBEHAVIOURS]
        if unknown:
            raise Invalid("There is no such misbehaviour.", field="weights", value=", ".join(unknown))
        self.name = name
        self.vendor = "scripted"
        self.limit_name = "max_completion_tokens"
        self.calls: deque[ChatCall] = deque(maxlen=MAX_CALLS)
        self.closed = False
        self._models = list(models)
        self._steps = [_answer(step) for step in steps] or [ScriptedAnswer()]
        self._random = None if seed is None else random.Random(seed)  # noqa: S311 - a script is repeatable on purpose
        self._weights = dict(weights or {})
        self._played = 0

    def play(self, *steps: Step) -> None:
        """Replace what is left of the script."""
        self._steps = [_answer(step) for step in steps] or [ScriptedAnswer()]
        self._played = 0

    async def models(self) -> Sequence[str]:
        """Return the configured names."""
        return list(self._models)

    async def chat(self, call: ChatCall) -> ScriptedReply:
        """Play the next step. Raises `ProviderFailure` where the step refuses."""
        self.calls.append(call)
        try:
            envelope = open_chat(call.body)
        except Invalid as error:
            raise refused(error) from None
        answer = self._next()
        wrong = answer.misbehaviour
        if wrong.kind in _REFUSALS:
            raise _refusal(wrong)
        reply_id = f"chatcmpl-scripted-{len(self.calls)}"
        if call.stream:
            return ScriptedReply(_events(reply_id, envelope, answer), wrong, streamed=True)
        return ScriptedReply(iter([_whole(reply_id, envelope, answer)]), wrong, streamed=False)

    async def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True

    def _next(self) -> ScriptedAnswer:
        step = self._steps[min(self._played, len(self._steps) - 1)]
        self._played += 1
        if self._random is None:
            return step
        kinds = {"none": max(0.0, 1 - sum(self._weights.values())), **self._weights}
        kind = self._random.choices(list(kinds), list(kinds.values()))[0]
        return msgspec.structs.replace(step, misbehaviour=Misbehaviour(kind=kind))


class ScriptedReply(BytesReply):
    """A scripted answer; where it stalls or is cut it raises what the wire's adapter would."""

    __slots__ = ("_ending",)

    def __init__(self, blocks: Iterator[bytes], wrong: Misbehaviour, *, streamed: bool) -> None:
        """Hand out `blocks`, then end as `wrong` has it."""
        super().__init__(blocks, streamed=streamed)
        self._ending = _ENDINGS.get(wrong.kind, "")

    async def read(self, max_bytes: int) -> bytes:
        """Return everything, or raise `ProviderFailure`."""
        body = await super().read(max_bytes)
        if self._ending:
            raise self._failure()
        if b'"choices"' not in body or not body.endswith(b"}"):
            kind = "server_error" if b'"error"' in body else "malformed_reply"
            raise ProviderFailure(
                "The scripted reply is not a chat completion.", kind=kind, status=200, body=body
            )
        return body

    async def chunk(self) -> bytes:
        """Return the next block, b"" at the true end, or raise `ProviderFailure`."""
        block = await super().chunk()
        if not block and self._ending:
            raise self._failure()
        return block

    def close(self) -> None:
        """Let go. Idempotent."""
        super().close()
        self._ending = ""

    def _failure(self) -> ProviderFailure:
        return ProviderFailure(f"The scripted answer was {self._ending}.", kind=self._ending, status=200)


def _answer(step: Step) -> ScriptedAnswer:
    if isinstance(step, str):
        return ScriptedAnswer(text=step)
    return ScriptedAnswer(misbehaviour=step) if isinstance(step, Misbehaviour) else step


def _refusal(wrong: Misbehaviour) -> ProviderFailure:
    kind, status, code = _REFUSALS[wrong.kind]
    body = {"error": {"message": f"scripted {wrong.kind}", "type": code, "param": None, "code": code}}
    return ProviderFailure(
        f"scripted {wrong.kind}",
        kind=kind,
        status=status,
        retry_after_s=wrong.seconds if wrong.kind == "rate_limit" else None,
        body=msgspec.json.encode(body) if status else b"",
        content_type="application/json" if status else "",
    )


def _usage(envelope: ChatEnvelope, answer: ScriptedAnswer) -> Usage | None:
    if answer.misbehaviour.kind == "usage_missing":
        return None
    if isinstance(answer.usage, msgspec.UnsetType):
        words = len(answer.text.split())
        output = words * 3 + 7 if answer.misbehaviour.kind == "usage_wrong" else words
        return Usage(input_tokens=len(envelope.raw("messages").split()), output_tokens=output)
    return answer.usage


def _whole(reply_id: str, envelope: ChatEnvelope, answer: ScriptedAnswer) -> bytes:
    """Return a whole reply, spoilt as ordered."""
    kind = answer.misbehaviour.kind
    if kind == "error_mid_stream":
        return _ERROR_EVENT[6:-2]
    text = answer.text + "x" * HUGE_BYTES if kind == "huge_event" else answer.text
    message = Message(role="assistant", content=(Text(text),))
    body = render_reply(
        ChatReply(
            id=reply_id,
            model=envelope.model,
            created_s=_CREATED_S,
            choices=(message,) * envelope.n,
            finishes=(answer.finish,) * envelope.n,
            usage=None if kind == "usage_late" else _usage(envelope, answer),
        )
    )
    return body[: len(body) // 2] if kind == "malformed_line" else body


def _events(reply_id: str, envelope: ChatEnvelope, answer: ScriptedAnswer) -> Iterator[bytes]:
    """Yield the blocks of a stream, spoilt as ordered."""
    wrong = answer.misbehaviour
    writer = StreamRenderer(reply_id, envelope.model, _CREATED_S, include_usage=envelope.include_usage)
    pieces: list[str] = _PIECE.findall(answer.text)
    content = [writer.event(ChatEvent(text=piece)) for piece in pieces]
    yield writer.event(ChatEvent(role="assistant"))
    yield from content[: wrong.after_chunks] if wrong.kind in _SPOILERS else content
    if wrong.kind in _ENDINGS:
        return
    if wrong.kind in _SPOILERS:
        yield _spoiler(wrong.kind)
        if wrong.kind == "error_mid_stream":
            return
        yield from content[wrong.after_chunks :]
    yield writer.event(ChatEvent(finish=answer.finish))
    usage = _usage(envelope, answer)
    counted = b"" if usage is None else writer.event(ChatEvent(usage=usage))
    if wrong.kind == "usage_late":
        yield writer.done()
        yield counted
        return
    if wrong.kind == "usage_twice" and counted:
        yield counted
    if counted:
        yield counted
    yield writer.done()


_SPOILERS: Final = frozenset({"stall", "cut", "malformed_line", "error_mid_stream", "huge_event"})


def _spoiler(kind: str) -> bytes:
    """Return the block that spoils the middle of a stream."""
    if kind == "error_mid_stream":
        return _ERROR_EVENT
    if kind == "malformed_line":
        return b'data: {"id":"broken","choices":[{"index":0,"del\n\n'
    return b'data: {"id":"huge","choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % (b"x" * HUGE_BYTES)
