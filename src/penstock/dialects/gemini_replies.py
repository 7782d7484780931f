"""Whole replies of the Gemini wire, both ways: ``GenerateContentResponse`` and `kernel.chat.ChatReply`.

How they meet
- A candidate is a choice. Its members we do not know (``safetyRatings``, ``groundingMetadata`` …) are its message's
  extras under ``choice.<name>``, those of the reply are the reply's; ``logprobsResult`` is OpenAI's ``logprobs``.
- A finish reason that our word does not lead back to stays beside it as ``choice.finishReason``.
- A blocked prompt is no error: one empty choice that ended by "content_filter", with the ``promptFeedback`` beside.
- A call whose arguments are no object cannot be said here: the candidate ends by MALFORMED_FUNCTION_CALL, as Gemini's
  own do, and its ``finishMessage`` tells what the model wrote.

Promise: `parse_reply(render_reply(x)) == x` for every reply this wire can say. What is none is an `Upstream` error.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from msgspec import Raw, structs

from penstock.dialects.gemini_errors import read_vendor_error
from penstock.dialects.gemini_facts import REASONS, WireUsage, canonical_finish, render_usage
from penstock.dialects.gemini_foreign import Translation
from penstock.dialects.gemini_logprobs import parse_logprobs, render_logprobs
from penstock.dialects.gemini_messages import render_content
from penstock.dialects.gemini_parts import Answer, parse_parts
from penstock.dialects.gemini_words import REMEDIES, camel_cased, is_object, made_id, open_object, take_object
from penstock.dialects.members import Members, raw
from penstock.dialects.nonsense import no_reply
from penstock.dialects.strict_json import decode_object, refusal, shorten
from penstock.kernel.chat import ChatReply, Extras, Message, Part, ToolCall
from penstock.kernel.errors import Invalid, Upstream
from penstock.kernel.money import Usage

LOGPROBS: Final = "choice.logprobs"
FINISH: Final = "choice.finishReason"
USAGE: Final = "usageMetadata"
_LAST_S: Final = 253_402_300_799
_MALFORMED_CALL: Final = "MALFORMED_FUNCTION_CALL"
_WHOLE: Final = msgspec.json.Decoder(int, strict=False)
_USAGE: Final = msgspec.json.Decoder(WireUsage, strict=False)
_COUNTED: Final = frozenset({*WireUsage.__struct_encode_fields__, "totalTokenCount"}) - {
    "toolUsePromptTokenCount"
}


class Candidate(msgspec.Struct, frozen=True):
    """A candidate taken apart; of a whole reply or of a stream's event."""

    index: int
    parts: list[Any]
    finish: str
    """Gemini's own word, "" when it goes on."""
    extras: Extras
    """Under ``choice.<name>`` those of the candidate, by plain names those of its content."""


def not_an_answer(error: Invalid) -> Upstream:
    """Build the error of a vendor's answer that is none."""
    return no_reply("a GenerateContentResponse", error)


def given_up(members: Members, body: bytes) -> Upstream | None:
    """Return the error that stands in place of an answer, None when there is none."""
    if members.take_raw("error") is None:
        return None
    said = read_vendor_error(200, body)
    return Upstream(f"The provider gave up: {said.message}", code=said.kind, retry_after_s=said.retry_after_s)


# --------------------------------------------------------------------------------------------------- parsing


def parse_reply(body: bytes) -> ChatReply:
    """Read a whole reply. Raises `Upstream`."""
    try:
        members = Members(camel_cased(decode_object(body), ""), "", REMEDIES)
        failed = given_up(members, body)
        if failed is not None:
            raise failed
        return _reply(members)
    except Invalid as error:
        raise not_an_answer(error) from None


def _reply(members: Members) -> ChatReply:
    id = members.take_text("responseId")
    feedback = members.take_raw("promptFeedback")
    items = members.take_list("candidates") or []
    if not items and feedback is None:
        raise members.missing("candidates")
    messages: list[Message] = []
    finishes: list[str] = []
    for index, item in enumerate(items):
        candidate = parse_candidate(item, f"candidates[{index}]")
        message = _message(candidate, id)
        finish, kept = finish_of(candidate.finish, calls=bool(message.tool_calls))
        messages.append(structs.replace(message, extras={**message.extras, **kept}) if kept else message)
        finishes.append(finish)
    if not items:
        messages.append(Message(role="assistant"))
        finishes.append("content_filter")
    usage, uncounted = parse_usage(members)
    created_s, created = parse_created(members)
    told: Extras = {} if feedback is None else {"promptFeedback": feedback}
    return ChatReply(
        id=id,
        model=members.take_text("modelVersion"),
        created_s=created_s,
        choices=tuple(messages),
        finishes=tuple(finishes),
        usage=usage,
        extras={**members.rest(), **told, **uncounted, **created},
    )


def parse_candidate(item: Raw, path: str) -> Candidate:
    """Take a candidate apart. Raises `Invalid`."""
    members = open_object(item, path)
    index = members.take("index", _WHOLE, 0)
    finish = members.take_text("finishReason")
    logprobs = members.take_raw("logprobsResult")
    content = take_object(members, "content")
    pieces: list[Any] = []
    extras: Extras = {}
    if content is not None:
        content.take_text("role")
        pieces = parse_parts(content)
        if any(isinstance(piece, Answer) for piece in pieces):
            raise content.wrong("parts", "A model answers no function calls.", "functionResponse")
        extras = content.rest()
    extras |= members.rest("choice.")
    if logprobs is not None:
        extras[LOGPROBS] = parse_logprobs(logprobs, f"{path}.logprobsResult")
    return Candidate(index, pieces, finish, extras)


def _message(candidate: Candidate, salt: str) -> Message:
    parts: list[Part] = []
    calls: list[ToolCall] = []
    for piece in candidate.parts:
        if not isinstance(piece, ToolCall):
            parts.append(piece)
        elif piece.id:
            calls.append(piece)
        else:
            calls.append(structs.replace(piece, id=made_id(len(calls), piece.name, salt)))
    return Message(role="assistant", content=tuple(parts), tool_calls=tuple(calls), extras=candidate.extras)


def finish_of(reason: str, *, calls: bool) -> tuple[str, Extras]:
    """Return our word for Gemini's, and Gemini's as an extra when ours does not lead back to it."""
    finish = canonical_finish(reason, calls=calls)
    return finish, {} if REASONS.get(finish, "") == reason else {FINISH: raw(reason)}


def parse_usage(members: Members) -> tuple[Usage | None, Extras]:
    """Take ``usageMetadata``: what is counted, and as an extra what our usage has no place for."""
    given = take_object(members, USAGE)
    if given is None:
        return None, {}
    others = given.rest()
    try:
        counts = _USAGE.decode(msgspec.json.encode(others))
    except msgspec.ValidationError as error:
        raise refusal(error, raw(others), REMEDIES, prefix=USAGE) from None
    uncounted = {name: value for name, value in others.items() if name not in _COUNTED}
    usage = counts.usage()
    if usage is None:
        return None, {USAGE: raw(others)}
    return usage, {USAGE: raw(uncounted)} if uncounted else {}


def parse_created(members: Members) -> tuple[int, Extras]:
    """Take ``createTime``: seconds since 1970, and as an extra what is finer than a second."""
    text = members.take_raw("createTime")
    if text is None:
        return 0, {}
    try:
        created_s = int(datetime.fromisoformat(msgspec.json.decode(text, type=str)).timestamp())
    except (ValueError, OverflowError):
        return 0, {"createTime": text}
    return created_s, {} if render_created(created_s) == text else {"createTime": text}


# ------------------------------------------------------------------------------------------------- rendering


def render_reply(reply: ChatReply) -> bytes:
    """Return the reply's bytes. Raises `Invalid` for a part of another dialect."""
    extras = dict(reply.extras)
    wire: dict[str, Any] = {}
    blocked = is_blocked(extras.get("promptFeedback"))
    if not blocked or reply.finishes != ("content_filter",) or reply.choices[0].content:
        wire["candidates"] = [
            render_candidate(index, message, finish)
            for index, (message, finish) in enumerate(zip(reply.choices, reply.finishes, strict=True))
        ]
    uncounted = extras.pop(USAGE, None)
    if reply.usage is not None or uncounted is not None:
        wire[USAGE] = usage_member(reply.usage, uncounted)
    if reply.model:
        wire["modelVersion"] = reply.model
    if reply.created_s:
        wire["createTime"] = render_created(reply.created_s)
    if reply.id:
        wire["responseId"] = reply.id
    return msgspec.json.encode({**wire, **extras})


def is_blocked(feedback: Raw | None) -> bool:
    """Tell whether a ``promptFeedback`` says that the prompt was refused by a filter."""
    return feedback is not None and b'"blockReason"' in bytes(feedback)


def render_candidate(index: int, message: Message, finish: str) -> dict[str, Any]:
    """Return a choice as a candidate."""
    own: Extras = {}
    plain: Extras = {}
    for name, value in message.extras.items():
        if name.startswith("choice."):
            own[name.removeprefix("choice.")] = value
        else:
            plain[name] = value
    wrong = [call for call in message.tool_calls if not is_object(call.arguments or "{}")]
    calls = tuple([call for call in message.tool_calls if call not in wrong]) if wrong else message.tool_calls
    message = structs.replace(message, tool_calls=calls, extras=plain, name="")
    wire: dict[str, Any] = {
        "content": render_content(message, f"candidates[{index}]", Translation()),
        "index": index,
    }
    if finish:
        wire["finishReason"] = REASONS[finish]
    if wrong:
        wire |= malformed_calls(wrong)
    logprobs = own.pop("logprobs", None)
    if logprobs is not None:
        wire["logprobsResult"] = render_logprobs(logprobs)
    return {**wire, **own}


def malformed_calls(calls: list[ToolCall]) -> dict[str, Any]:
    """Say that a model wrote calls which are none, in the members Gemini has for that."""
    told = ", ".join(f"{call.name}({call.arguments})" for call in calls)
    return {
        "finishReason": _MALFORMED_CALL,
        "finishMessage": f"Malformed function call: {shorten(told, 2_000)}",
    }


def _count(told: Raw | None) -> int:
    """Return a count as a vendor told it; 0 for none, and for what is no number."""
    try:
        return 0 if told is None else _WHOLE.decode(told)
    except msgspec.ValidationError:
        return 0


def usage_member(usage: Usage | None, uncounted: Raw | None) -> dict[str, Any]:
    """Return ``usageMetadata`` with what was not counted."""
    others = {} if uncounted is None else msgspec.json.decode(uncounted, type=dict[str, Raw])
    if usage is None:
        return dict(others)
    tools = others.pop("toolUsePromptTokenCount", None)
    return {**render_usage(usage, _count(tools)), **others}


def render_created(created_s: int) -> Raw:
    """Return a time as Google writes it; one outside its years (1970 to 9999) is the nearest inside."""
    within_s = min(max(created_s, 0), _LAST_S)
    return raw(datetime.fromtimestamp(within_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
