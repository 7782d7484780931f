"""Thoughts go back to whoever thought them: the signature of one says which dialect's vendor made it.

A vendor signs its models' thoughts and refuses a conversation that brings it another's. Callers of the vendor's own
dialect get signatures as they are. To others they are told in an envelope that names the dialect, and looks like what
it holds: base64, whole groups, so that an SDK which decodes and encodes signatures keeps it (Google's does, into the
alphabet of RFC 4648, section 5).

Promises: a provider gets the thoughts that its own dialect's models signed, byte for byte as they were signed, and no
others; what was left out is named. Bytes that pass unread are searched for the mark of an envelope, and else untouched.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

from msgspec.structs import replace

from penstock.kernel.chat import ChatEvent, ChatReply, ChatRequest, Message, Part, Reasoning

_MARK: Final = b"penstock\0"
MARK: Final = urlsafe_b64encode(_MARK)
"""What every envelope begins with, and hardly anything else: 72 bits, letters and digits only."""
_PLAIN: Final = str.maketrans("+/", "-_")


def signed_by(dialect: str, signature: str) -> str:
    """Return `signature` in an envelope that names who made it; "" stays ""."""
    if not signature:
        return ""
    return urlsafe_b64encode(b"%b%b\0%b" % (_MARK, dialect.encode(), signature.encode())).decode()


def signer_of(signature: str, otherwise: str) -> tuple[str, str]:
    """Return whose signature this is and what was signed; `otherwise` made what is in no envelope."""
    if signature.startswith(MARK.decode()):
        text = signature.translate(_PLAIN).rstrip("=")
        try:
            dialect, _, made = urlsafe_b64decode(text + "=" * (-len(text) % 4))[len(_MARK) :].partition(b"\0")
            return dialect.decode(), made.decode()
        except ValueError:
            return "", ""  # an envelope that somebody changed: nobody's
    return otherwise, signature


class Signing:
    """An `AnswerFilter` that puts the signatures of one dialect's vendor in envelopes."""

    __slots__ = ("_dialect",)

    def __init__(self, dialect: str) -> None:
        """Name `dialect` in each."""
        self._dialect = dialect

    def event(self, event: ChatEvent) -> list[ChatEvent]:
        """Return what is passed on for `event`."""
        if event.signature or event.redacted:
            signature, redacted = (
                signed_by(self._dialect, each) for each in (event.signature, event.redacted)
            )
            return [replace(event, signature=signature, redacted=redacted)]
        return [event]

    def end(self) -> list[ChatEvent]:
        """Return nothing: nothing was held back."""
        return []

    def reply(self, reply: ChatReply) -> ChatReply:
        """Return what is passed on for a whole answer."""
        return replace(reply, choices=tuple([self._message(message) for message in reply.choices]))

    def _message(self, message: Message) -> Message:
        if not any(isinstance(part, Reasoning) for part in message.content):
            return message
        return replace(message, content=tuple([self._part(part) for part in message.content]))

    def _part(self, part: Part) -> Part:
        if not isinstance(part, Reasoning):
            return part
        signature, redacted = (signed_by(self._dialect, each) for each in (part.signature, part.redacted))
        return replace(part, signature=signature, redacted=redacted)


def returned(request: ChatRequest, dialect: str) -> tuple[ChatRequest, bool]:
    """Return `request` with those thoughts only that `dialect` signed, or nobody, and whether others were left out."""
    messages = tuple([_returned(message, request.dialect, dialect) for message in request.messages])
    left = sum(len(message.content) for message in request.messages) > sum(
        len(message.content) for message in messages
    )
    return replace(request, messages=messages), left


def _returned(message: Message, caller: str, dialect: str) -> Message:
    if not any(isinstance(part, Reasoning) for part in message.content):
        return message
    kept: list[Part] = []
    for part in message.content:
        if not isinstance(part, Reasoning) or not (part.signature or part.redacted):
            kept.append(part)
            continue
        signer, made = signer_of(part.signature or part.redacted, caller)
        if signer == dialect:
            told = {"redacted": made} if part.redacted else {"signature": made}
            kept.append(replace(part, **told))
    return replace(message, content=tuple(kept))
