"""An answer that no provider gives now, said as one request wants it: kept, written by an operator, or a receipt.

Promise: it passes the request's filters and its check as a fresh answer does, and comes whole or as a stream, in the
caller's dialect, as was asked; an answer that does not pass its check is not said.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from penstock.gateway.headers import money_headers, request_headers
from penstock.gateway.relay import JSON_TYPE, STREAM_TYPE
from penstock.gateway.replay import events_of
from penstock.gateway.structured import Accepted
from penstock.gateway.targets import Target
from penstock.gateway.turn import Turn
from penstock.gateway.wording import Wording
from penstock.kernel.chat import ChatEvent, ChatReply, Extras, Message, Text
from penstock.kernel.money import Usage

NOTHING_USED: Final = Usage()


class Nobody(NamedTuple):
    """Who answered where no back end did: nothing but the header that says why."""

    headers: bytes


def say(turn: Turn, reply: ChatReply, source: Target | Nobody, marks: bytes, *, status: int = 200) -> bool:
    """Say `reply`, which is of `source`, with `marks` (header lines) before the others; False when it does not pass the
    request's check, and nothing was said.
    """
    wording, client = turn.wording, turn.client
    streams = wording.envelope.stream
    if not streams:
        for each in wording.filters:
            reply = each.reply(reply)
        if wording.check is not None:
            outcome = wording.check.judge(reply, 0)
            if not isinstance(outcome, Accepted):
                return False
            reply = outcome.reply
    wording.left_out, turn.meter.seat.wanted_tokens = (
        (),
        0,
    )  # whatever it is, no provider was told to be shorter
    headers = marks + request_headers(turn.context, wording, turn.meter.seat, source)
    if isinstance(source, Target):
        turn.story.first_token(source)
    if streams or wording.replays:
        client.begin(status, STREAM_TYPE + headers)
        client.finish(_as_stream(wording, reply, filtered=not streams))
    else:
        money = money_headers(turn.meter.spent_nanos)
        client.send(status, JSON_TYPE + headers + money, wording.written(reply))
    turn.story.finished(reply.finishes[0], sum(len(message.tool_calls) for message in reply.choices))
    return True


def written(turn: Turn, text: str, extras: Extras | None = None) -> ChatReply:
    """Return `text` as the answer to a request, as often as it asked for; `extras` stand beside it."""
    envelope = turn.wording.envelope
    message = Message(role="assistant", content=(Text(text),))
    return ChatReply(
        id=turn.context.request_id,
        model=envelope.model,
        created_s=turn.wording.now_s(),
        choices=(message,) * envelope.n,
        finishes=("stop",) * envelope.n,
        usage=NOTHING_USED,
        extras=extras or {},
    )


def _as_stream(wording: Wording, reply: ChatReply, *, filtered: bool) -> bytes:
    """Return the answer as the whole of a stream, through the request's filters unless it went through them."""
    renderer = wording.renderer()
    events: list[ChatEvent] = list(events_of(reply))
    for each in () if filtered else wording.filters:
        events = [passed for event in events for passed in each.event(event)] + each.end()
    return b"".join([renderer.event(event) for event in events]) + renderer.done()
