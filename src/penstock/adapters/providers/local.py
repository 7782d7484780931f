"""`local/extractive`: answers without a language model, by quoting the conversation's own text.

It exists so that a bare machine has something real to talk to: no key, no download, no network, no randomness.

Promises, on top of the port's: every answer says in its first line what it is; nothing is stated that does not stand in
the conversation; `max_tokens`, `stop` and `stream` are obeyed; what it cannot do (several choices, a schema, a forced
tool call) is refused as "invalid" with the field named. The price is 0, declared free.

Tokens are counted without a tokenizer: one per run of non-blank characters, in the messages' texts and in the answer.
The question is the last sentence of the last user message; all text before it is what may be quoted. Where the
embedding model in this machine is installed, sentences are ranked by what they mean as well as by their words; else, or
when it does not answer in time, by words alone. The first line says which.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Final, cast

import msgspec
from msgspec import UNSET, Raw

from penstock.adapters.providers.extract import best_sentences, sentences_of
from penstock.adapters.providers.meant import Meaning, best_meant
from penstock.adapters.providers.wholes import BytesReply, refused
from penstock.dialects.openai import StreamRenderer, parse_request, render_reply
from penstock.kernel.chat import ChatEvent, ChatReply, ChatRequest, Message, Text
from penstock.kernel.clock import Clock, SystemClock
from penstock.kernel.errors import Invalid, PenstockError
from penstock.kernel.ids import new_id
from penstock.kernel.money import Usage
from penstock.ports.providers import ChatCall, ProviderFailure

MODEL: Final = "local/extractive"
MAX_INPUT_BYTES: Final = 1024 * 1024
INLINE_BYTES: Final = 16 * 1024
"""Longer conversations are searched in a thread, so that the event loop is never held for more than a few ms."""
QUOTES: Final = 3
"""Sentences quoted at most."""
PREFACE: Final = (
    "Quoted from this conversation, found by its words (local/extractive is not a language model):"
)
PREFACE_MEANT: Final = (
    "Quoted from this conversation, found by words and meaning (local/extractive is not a language model):"
)
NOTHING: Final = (
    "Nothing in this conversation answers that (local/extractive is not a language model: it can only quote the text "
    "it is given). Put the text to search into an earlier message, or choose another model."
)
MEANING_S: Final = 2.0
"""Seconds it waits for vectors: the model may have to start."""
_PIECE: Final = re.compile(r"\s*\S+")


class LocalExtractive:
    """A `ChatProvider` and `ListsModels` inside this process."""

    dialect = "openai"

    def __init__(self, name: str = "local", clock: Clock | None = None) -> None:
        """Serve `MODEL` under the configured `name`."""
        self.name = name
        self.vendor = "local"
        self.limit_name = "max_completion_tokens"
        self._clock = clock or SystemClock()
        self.meaning: Meaning | None = None
        """What ranks sentences by what they mean; None where nothing can."""

    async def models(self) -> Sequence[str]:
        """Return the one model."""
        return [MODEL]

    async def chat(self, call: ChatCall) -> BytesReply:
        """Answer. Raises `ProviderFailure` ("invalid", "context_overflow") for what cannot be served."""
        if len(call.body) > MAX_INPUT_BYTES:
            raise refused(
                Invalid(
                    "The conversation is longer than local/extractive reads.",
                    code="context_length_exceeded",
                    field="messages",
                    value=f"{len(call.body)} bytes",
                    limit=f"{MAX_INPUT_BYTES} bytes",
                    remedy="Shorten it, or choose another model.",
                ),
                kind="context_overflow",
            )
        try:
            async with asyncio.timeout(call.timers.total_s):
                if len(call.body) > INLINE_BYTES:
                    request, sentences, question = await asyncio.to_thread(_read, call.body)
                else:
                    request, sentences, question = _read(call.body)
                pieces, finish = _bounded(await self._answer(sentences, question, call.tenant), request)
        except Invalid as error:
            raise refused(error) from None
        except TimeoutError:
            raise ProviderFailure(
                "The answer took too long.", kind="total_timeout", dispatched=False
            ) from None
        usage = Usage(input_tokens=_count(request), output_tokens=len(pieces))
        reply_id, created_s = new_id("chatcmpl-"), int(self._clock.wall_s())
        if not request.stream:
            message = Message(role="assistant", content=(Text("".join(pieces)),))
            reply = ChatReply(
                id=reply_id,
                model=request.model,
                created_s=created_s,
                choices=(message,),
                finishes=(finish,),
                usage=usage,
            )
            return BytesReply([render_reply(reply)], streamed=False)
        writer = StreamRenderer(reply_id, request.model, created_s, include_usage=request.include_usage)
        events = [
            ChatEvent(role="assistant"),
            *[ChatEvent(text=piece) for piece in pieces],
            ChatEvent(finish=finish),
        ]
        blocks = [writer.event(event) for event in [*events, ChatEvent(usage=usage)]]
        return BytesReply([block for block in blocks if block] + [writer.done()], streamed=True)

    async def close(self) -> None:
        """Nothing is held."""

    async def _answer(self, sentences: list[str], question: str, tenant: str) -> str:
        """Return the answer's text."""
        preface = PREFACE
        quotes: list[str] | None = None
        if self.meaning is not None and sentences and question:
            try:
                async with asyncio.timeout(MEANING_S):
                    quotes = await best_meant(self.meaning, sentences, question, QUOTES, tenant=tenant)
                preface = PREFACE_MEANT
            except (PenstockError, TimeoutError):
                quotes = None
        if quotes is None:
            if sum(map(len, sentences)) > INLINE_BYTES:
                quotes = await asyncio.to_thread(best_sentences, sentences, question, QUOTES)
            else:
                quotes = best_sentences(sentences, question, QUOTES)
        return "\n".join([preface, *[f"\u201c{quote}\u201d" for quote in quotes]]) if quotes else NOTHING


def _read(body: bytes) -> tuple[ChatRequest, list[str], str]:
    """Return the request, the sentences that may be quoted, and the question. Raises `Invalid`."""
    request = parse_request(body)
    _refuse_what_it_cannot(request)
    return request, *_searched(request)


def _refuse_what_it_cannot(request: ChatRequest) -> None:
    format_type = _kind(request.response_format)
    for wrong, field, value, remedy in (
        (request.n != 1, "n", request.n, "Ask for one choice."),
        (
            format_type not in ("", "text"),
            "response_format",
            format_type,
            "Leave it out, or choose a model that can follow a schema.",
        ),
        (
            _kind(request.tool_choice) not in ("", "auto", "none"),
            "tool_choice",
            _kind(request.tool_choice),
            "Use auto or none, or choose a model that can call tools.",
        ),
    ):
        if wrong:
            raise Invalid("local/extractive cannot do that.", field=field, value=value, remedy=remedy)


def _kind(member: Raw | msgspec.UnsetType) -> str:
    """Return a member that is a word or an object with a `type`, as that word; "" when it was not given."""
    if member is UNSET:
        return ""
    value = msgspec.json.decode(member)
    return str(cast("dict[str, object]", value).get("type", "?")) if isinstance(value, dict) else str(value)


def _searched(request: ChatRequest) -> tuple[list[str], str]:
    """Return the sentences that may be quoted, and the question."""
    texts = [(message.role, _text(message)) for message in request.messages]
    last = max((at for at, (role, _) in enumerate(texts) if role == "user"), default=len(texts) - 1)
    asked = list(sentences_of(texts[last][1]))
    question = asked[-1] if asked else ""
    sentences = [sentence for _, text in texts[:last] for sentence in sentences_of(text)] + asked[:-1]
    return sentences, question


def _text(message: Message) -> str:
    return "\n".join([part.text for part in message.content if isinstance(part, Text)])


def _count(request: ChatRequest) -> int:
    return sum(len(_text(message).split()) for message in request.messages)


def _bounded(answer: str, request: ChatRequest) -> tuple[list[str], str]:
    """Cut at the first stop sequence, then at the token limit; return the pieces and the finish reason."""
    ends = [at for at in (answer.find(stop) for stop in request.stop if stop) if at >= 0]
    pieces: list[str] = _PIECE.findall(answer[: min(ends)] if ends else answer)
    limit = request.max_output_tokens
    if limit is not None and len(pieces) > limit:
        return pieces[:limit], "length"
    return pieces, "stop"
