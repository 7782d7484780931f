"""Live streams: values as they come, what was skipped is counted, and every end is told from a cut."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from penstock.dialects.openai_errors import render_error
from penstock.kernel import errors
from penstock.sdk.client import Client
from tests.support import run
from tests.unit.sdk.wires import EVENTS, WAYS, Pieces, Scripted, reaching

ONE = b'event: request\ndata: {"request_id": "req_1", "at_s": 1.0, "new": 1}\n\n'
TWO = b'event: request\ndata: {"request_id": "req_2", "at_s": 2.0}\n\n'


async def seen(*pieces):
    """Return the ids seen, how many were skipped, and what it ended with."""
    found, error = [], None
    live = Client(transport=Scripted(Pieces(*pieces))).requests.live(org="acme")
    try:
        async with live:
            while (request := await anext(live, None)) is not None:
                found.append(request.request_id)
    except errors.PenstockError as raised:
        error = raised
    return found, live.skipped, error


def test_requests_come_as_they_end_and_what_was_skipped_is_counted():
    skipped = b'event: skipped\ndata: {"count": 7}\n\n'
    pieces = [
        b"retry: 2000\n: live\n\n",
        ONE,
        skipped,
        b": live\n\n",
        b"event: newer\ndata: ?\n\n",
        TWO + skipped,
    ]
    assert run(seen(*pieces)) == (["req_1", "req_2"], 14, None)


def test_an_error_event_is_raised_as_itself_after_what_came():
    refusal = render_error(errors.Unauthenticated("This view has ended.", code="signed_out"))[1]
    found, _, error = run(seen(ONE + b"event: error\ndata: %b\n\n" % refusal, TWO))
    assert found == ["req_1"]
    assert (type(error), error.reason) == (errors.Unauthenticated, "signed_out")


@pytest.mark.parametrize("data", [b"{", b"{}", b'{"request_id": 1, "at_s": 1}', b"\xff"])
def test_an_event_not_understood_is_an_error(data):
    _, _, error = run(seen(b"event: request\ndata: %b\n\n" % data))
    assert (type(error), error.reason) == (errors.Upstream, "malformed_event")


def test_an_overview_is_asked_for_one_organisation():
    wire = Scripted(Pieces(b'event: overview\ndata: {"at_s": 5.0}\n\n'))

    async def look():
        async with Client(transport=wire).overview.live("acme") as live:
            return [view.at_s async for view in live]

    assert run(look()) == [5.0]
    assert wire.calls == [("GET", "/api/v1/overview/live?org=acme", b"")]


def test_canaries_come_each_time_they_changed_with_how_near_a_conviction_is():
    evidence = [
        {"metric": "errors", "evidence": each, "bound": 200.0} for each in (0.5, 1.0, 200.0**0.5, 9_000.0)
    ]
    canary = {"route": "chat", "state": "on trial", "percent": 10, "evidence": evidence}
    wire = Scripted(Pieces(b"event: canaries\ndata: %b\n\n" % msgspec.json.encode({"canaries": [canary]})))

    async def look():
        async with Client(transport=wire).routing.watch_canaries() as live:
            return [each.nearness async for seen in live for each in seen.canaries[0].evidence]

    assert run(look()) == [0.0, 0.0, pytest.approx(0.5), 1.0]
    assert wire.calls == [("GET", "/api/v1/routing/canaries/live", b"")]


@pytest.mark.parametrize("way", WAYS)
def test_a_live_stream_is_ended_at_the_server_when_it_is_left(way):
    async def look():
        told = asyncio.Event()

        async def handle(request, responder):
            responder.on_gone(told.set)
            responder.begin(200, EVENTS)
            responder.write(ONE)
            await told.wait()

        async with reaching(way, handle) as (transport, _):
            async with Client(transport=transport).requests.live() as live:
                first = await anext(live)
                assert not told.is_set()
            await told.wait()
            return first.request_id

    assert run(look()) == "req_1"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("whole", [True, False])
def test_a_server_that_drains_ends_it_and_one_that_breaks_off_is_told_apart(way, whole):
    async def handle(request, responder):
        responder.begin(200, EVENTS)
        responder.write(ONE)
        await asyncio.sleep(0.02)
        responder.finish() if whole else responder.abort()

    async def look():
        async with (
            reaching(way, handle) as (transport, _),
            Client(transport=transport).requests.live() as live,
        ):
            return [request.request_id async for request in live]

    if whole:
        assert run(look()) == ["req_1"]
    else:
        with pytest.raises(errors.Unavailable):
            run(look())
