"""An error inside a stream is an error whatever the vendor sends after it: some go on to a finish and an end mark."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from penstock.adapters.providers.wholes import BytesReply
from penstock.dialects.openai import CODEC
from penstock.gateway.attempt import StreamedAnswer, attempt
from penstock.gateway.wording import Passage
from penstock.ports.providers import CallTimers, ChatCall, ProviderFailure
from tests.support import run

CALL = ChatCall(model="m", body=b"{}", stream=True, request_id="req_1", timers=CallTimers())
ROLE = b'data: {"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'
TEXT = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"Full."}}]}\n\n'
FINISH = b'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
ERROR = b'data: {"error":{"message":"out of memory","type":"server_error"}}\n\n'
DONE = b"data: [DONE]\n\n"

CUTS = pytest.mark.parametrize("together", [False, True], ids=["event by event", "in one read"])
AFTER = pytest.mark.parametrize(
    "after", [(), (DONE,), (FINISH, DONE)], ids=["cut", "then done", "then finish"]
)


async def read(blocks: tuple[bytes, ...], out: list[bytes], *, together: bool) -> None:
    """Make one attempt and read its answer to the end; what may be passed on is added to `out`."""
    reply = BytesReply([b"".join(blocks)] if together else blocks, streamed=True)

    async def chat(_call: ChatCall) -> BytesReply:
        return reply

    target = SimpleNamespace(label="sim/model", provider=SimpleNamespace(chat=chat))
    answer = await attempt(target, CALL, Passage(CODEC), keep_usage=False)  # pyright: ignore[reportArgumentType]  # a target of which only the provider is asked
    assert isinstance(answer, StreamedAnswer)
    out.append(answer.pending)
    while not answer.ended and not answer.facts.done:
        out.append(await answer.next())


@CUTS
@AFTER
@pytest.mark.parametrize("before", [(), (ROLE,)], ids=["at once", "after the role"])
def test_before_content_it_is_a_failed_attempt(
    before: tuple[bytes, ...], after: tuple[bytes, ...], together: bool
) -> None:
    out: list[bytes] = []
    with pytest.raises(ProviderFailure) as caught:
        run(read((*before, ERROR, *after), out, together=together))
    assert caught.value.kind == "server_error"
    assert b"out of memory" in caught.value.body
    assert out == []


@CUTS
@AFTER
def test_after_content_it_ends_the_answer(after: tuple[bytes, ...], together: bool) -> None:
    out: list[bytes] = []
    with pytest.raises(ProviderFailure) as caught:
        run(read((TEXT, ERROR, *after), out, together=together))
    assert caught.value.kind == ("connection_reset" if together else "error_mid_stream")
    assert out == ([] if together else [TEXT])
