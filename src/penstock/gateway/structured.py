"""Answers that must be JSON: what was asked for, whether an answer is it, and what to do when it is not.

    wanted = asked(request, schemas)                    # None: any words will do
    match judge(wanted, request, reply, reasks=0):
        case Accepted(reply, repairs): …                # the text is valid JSON that fits, mended if need be
        case ReAsk(request, mismatches): …              # ask this, judge what comes with reasks=1
        case Failed(error, mismatches): …               # 502 ``structured_output_invalid``

    answer → valid JSON? → else mended (dialects/json_lenient) → fits the schema? → else asked again, at most
    `MAX_REASKS` times → else a structured error

Promises: pure values in, pure values out; a valid answer that fits passes as it came; a refusal, a call of tools, an
answer that a filter stopped are not judged; an answer cut off at its limit is never asked for again (it would be cut
again); each re-ask is the caller's own conversation with the last bad answer and why it is bad, so it does not grow.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec
from msgspec import Raw

from penstock.dialects.json_lenient import Mended, Unreadable, mend
from penstock.dialects.strict_json import decode_as, shorten
from penstock.kernel.chat import ChatReply, ChatRequest, Message, Part, Text
from penstock.kernel.errors import Invalid, Upstream
from penstock.mechanisms.schemas import Mismatch, Schema, Schemas

MAX_REASKS: Final = 2
"""Most times an answer is asked for again."""
MAX_ECHO: Final = 8_000
"""Longest bad answer shown to the model again, in characters."""
MAX_SCHEMA: Final = 2_000
"""Longest schema told to a model whose answer held no JSON at all, in characters."""
MAX_CHECK: Final = 50_000_000
"""Most work of one check: schemas looked at per part of a value, times the characters of the answer."""

Mode = Literal["validated", "raw"]
"""What a streaming caller chooses: held until it is known to fit, or mended as it flows and never asked for again."""

NOT_AN_ANSWER: Final = frozenset({"tool_calls", "content_filter", "error"})
"""How choices finish that are not judged."""
_REMEDY: Final = (
    'Send {"type": "json_schema", "json_schema": {"name": …, "schema": {…}}} or {"type": "json_object"}.'
)


class _JsonSchema(msgspec.Struct, frozen=True):
    schema: Raw = Raw(b'{"type":"object"}')


class _Format(msgspec.Struct, frozen=True):
    type: str = ""
    json_schema: _JsonSchema | None = None


_FORMAT: Final = msgspec.json.Decoder(_Format | None)


class Wanted(msgspec.Struct, frozen=True):
    """What an answer must be: JSON that fits `schema`, or any object where there is none."""

    schema: Schema | None
    text: str
    """The schema as its caller wrote it, in brief."""

    @property
    def opens(self) -> str:
        """The brackets with which an answer may begin; "" for one that is neither object nor array."""
        return "{" if self.schema is None else self.schema.opens

    def accepts(self, value: object) -> bool:
        """Tell whether a value fits."""
        return isinstance(value, dict) if self.schema is None else self.schema.accepts(value)

    def read(self, text: str, *, cut: bool) -> tuple[Mended | None, tuple[Mismatch, ...]]:
        """Return the value in an answer and why it does not fit; `cut` says that a limit ended the answer."""
        if self.schema is not None and self.schema.work * len(text) > MAX_CHECK:
            return None, (
                Mismatch("", "the answer is too long to be checked against this schema", "a shorter answer"),
            )
        got = mend(text, accepts=self.accepts, opens=self.opens, cut=cut)
        if isinstance(got, Unreadable):
            return None, (Mismatch("", got.reason, self.text),)
        if self.accepts(got.value):
            return got, ()
        told = () if self.schema is None else self.schema.mismatches(got.value)
        return got, told or (Mismatch("", f"{shorten(got.text)} does not fit", self.text),)


class Accepted(msgspec.Struct, frozen=True):
    """The answer is good. `repairs` are the kinds of mending it took."""

    reply: ChatReply
    repairs: tuple[str, ...] = ()


class ReAsk(msgspec.Struct, frozen=True):
    """The answer is bad and may get better: what to ask, under the same limits and hold."""

    request: ChatRequest
    mismatches: tuple[Mismatch, ...]


class Failed(msgspec.Struct, frozen=True):
    """The answer is bad and stays so."""

    error: Upstream
    mismatches: tuple[Mismatch, ...]


Outcome = Accepted | ReAsk | Failed


class Tally:
    """How structured answers came out, for metrics: each answer is counted once, where it ended."""

    __slots__ = ("failed", "first_try", "reasked", "repaired")

    def __init__(self) -> None:
        """Start at nought."""
        self.first_try = 0
        """Good as they came."""
        self.repaired = 0
        """Good once mended."""
        self.reasked = 0
        """Good once asked for again."""
        self.failed = 0
        """Never good."""

    def count(self, outcome: Outcome, reasks: int) -> None:
        """Count an answer after so many re-asks; a re-ask itself is not the end of one."""
        if isinstance(outcome, Failed):
            self.failed += 1
        elif isinstance(outcome, Accepted):
            self.end(reasks=reasks, repaired=bool(outcome.repairs))

    def end(self, *, reasks: int, repaired: bool) -> None:
        """Count a good answer."""
        if reasks:
            self.reasked += 1
        elif repaired:
            self.repaired += 1
        else:
            self.first_try += 1


def mode(header: str) -> Mode:
    """Read what a streaming caller chose; "" is ``raw``. Raises `Invalid`."""
    match header.strip().lower():
        case "validated":
            return "validated"
        case "raw" | "":
            return "raw"
        case _:
            raise Invalid(
                "This way of streaming structured output is unknown.",
                code="invalid_header",
                field="x-penstock-structured",
                value=shorten(header),
                remedy="Send validated or raw.",
            )


def asked(request: ChatRequest, schemas: Schemas) -> Wanted | None:
    """Return what JSON the request asks for; None when any words will do. Raises `Invalid` for a bad schema."""
    if not isinstance(request.response_format, Raw):
        return None
    try:
        wish = decode_as(request.response_format, _FORMAT)
    except msgspec.ValidationError:
        raise _malformed("The response format is malformed.") from None
    if wish is None:
        return None
    if wish.type == "json_object":
        return Wanted(None, '{"type":"object"}')
    if wish.type != "json_schema":
        return None
    if wish.json_schema is None:
        raise _malformed("The response format has no schema.")
    raw = wish.json_schema.schema
    schema = schemas.get(raw, "response_format.json_schema.schema")
    return Wanted(schema, shorten(bytes(raw).decode(), MAX_SCHEMA))


def judge(wanted: Wanted, request: ChatRequest, reply: ChatReply, *, reasks: int) -> Outcome:
    """Decide on the reply to `request`, the caller's own, or to its re-ask number `reasks`."""
    choices: list[Message] = []
    repairs: dict[str, None] = {}
    bad: list[tuple[int, tuple[Mismatch, ...]]] = []
    for index, (message, finish) in enumerate(zip(reply.choices, reply.finishes, strict=True)):
        if not is_answer(message, finish):
            choices.append(message)
            continue
        got, mismatches = wanted.read(text_of(message), cut=finish == "length")
        if mismatches:
            bad.append((index, mismatches))
        elif got is not None:
            repairs.update(dict.fromkeys(got.repairs))
            choices.append(_said(message, got.text) if got.repairs else message)
    if not bad:
        mended = msgspec.structs.replace(reply, choices=tuple(choices)) if repairs else reply
        return Accepted(mended, tuple(repairs))
    index, mismatches = bad[0]
    cut = reply.finishes[index] == "length"
    if request.n == 1 and reasks < MAX_REASKS and not cut:
        return ReAsk(_again(request, reply.choices[index], mismatches), mismatches)
    return Failed(failure(mismatches, attempts=reasks + 1, cut=cut), mismatches)


def is_answer(message: Message, finish: str) -> bool:
    """Tell whether a choice is an answer to be judged, not a refusal, a call of tools, or what a filter left."""
    return not (message.refusal or message.tool_calls or finish in NOT_AN_ANSWER)


def text_of(message: Message) -> str:
    """Return the words of a message."""
    return "".join([part.text for part in message.content if isinstance(part, Text)])


def failure(mismatches: tuple[Mismatch, ...], *, attempts: int, cut: bool) -> Upstream:
    """Build the error of an answer that stays bad."""
    said = "; ".join([f"{told.path or 'the answer'}: {told.message}" for told in mismatches])
    return Upstream(
        f"The model's answer is not the JSON that was asked for, in {attempts} attempt{'s' * (attempts > 1)}.",
        code="structured_output_invalid",
        field="response_format",
        value=shorten(said, MAX_SCHEMA),
        limit=attempts,
        remedy="Allow more output tokens: the answer was cut off."
        if cut
        else "Simplify the schema, say it in the prompt, or use a model that enforces it.",
    )


def _said(message: Message, text: str) -> Message:
    """Return the message with `text` for its words, everything else in its place."""
    parts: list[Part] = []
    for part in message.content:
        if not isinstance(part, Text):
            parts.append(part)
        elif text:
            parts.append(msgspec.structs.replace(part, text=text))
            text = ""
    return msgspec.structs.replace(message, content=tuple(parts))


def _again(request: ChatRequest, answer: Message, mismatches: tuple[Mismatch, ...]) -> ChatRequest:
    lines = [f"- {told.path or 'the whole'}: {told.message}; expected {told.expected}" for told in mismatches]
    words = "\n".join(
        [
            "That answer cannot be used. It must be one JSON value that fits the schema. What is wrong:",
            *lines,
            "Answer again with the corrected JSON value alone, without any other words.",
        ]
    )
    bad = Message(role="assistant", content=(Text(shorten(text_of(answer), MAX_ECHO) or "(nothing)"),))
    return msgspec.structs.replace(
        request, messages=(*request.messages, bad, Message(role="user", content=(Text(words),)))
    )


def _malformed(message: str) -> Invalid:
    return Invalid(message, code="invalid_field", field="response_format", remedy=_REMEDY)
