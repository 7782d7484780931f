"""Whoever leaves early, is cancelled or waits too long ends the work at the server: over a socket and in process."""

from __future__ import annotations

import asyncio

import pytest

from penstock.kernel import errors
from penstock.sdk.client import Client
from tests.support import run
from tests.unit.sdk.test_chat import ASK, both, chunk, read
from tests.unit.sdk.wires import EVENTS, Pieces, Scripted, reaching


def waiting_for_departure(told: asyncio.Event, *, begin: bool):
    """A handler that answers a first chunk, or nothing, and waits until its client leaves."""

    async def handle(request, responder):
        responder.on_gone(told.set)
        if begin:
            responder.begin(200, EVENTS)
            responder.write(chunk("Hel"))
        await told.wait()

    return handle


@both
def test_leaving_a_stream_ends_it_at_the_server_at_once(way):
    async def ask():
        told = asyncio.Event()
        async with reaching(way, waiting_for_departure(told, begin=True)) as (transport, stats):
            async with Client(transport=transport).chat.stream(**ASK) as stream:
                async for _ in stream:
                    break
                assert not told.is_set()
            await told.wait()
            return stats.clients_gone

    assert run(ask()) == 1


@both
@pytest.mark.parametrize("begin", [True, False])
def test_a_reader_that_is_cancelled_ends_it_at_the_server(way, begin):
    async def ask():
        told = asyncio.Event()
        async with reaching(way, waiting_for_departure(told, begin=begin)) as (transport, stats):
            reader = asyncio.create_task(read(Client(transport=transport)))
            while not stats.in_flight:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.01)
            reader.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reader
            await told.wait()

    run(ask())


@both
@pytest.mark.parametrize("begin", [True, False])
def test_a_whole_answer_whose_caller_is_cancelled_is_ended_at_the_server(way, begin):
    async def ask():
        told = asyncio.Event()
        async with reaching(way, waiting_for_departure(told, begin=begin)) as (transport, stats):
            caller = asyncio.create_task(Client(transport=transport).chat.create(**ASK))
            while not stats.in_flight:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.01)
            caller.cancel()
            with pytest.raises(asyncio.CancelledError):
                await caller
            await told.wait()

    run(ask())


@both
def test_a_call_that_takes_too_long_is_given_up_on_both_sides(way):
    async def ask():
        told = asyncio.Event()
        async with reaching(way, waiting_for_departure(told, begin=False)) as (transport, _):
            with pytest.raises(errors.TimedOut):
                await Client(transport=transport).chat.create(**ASK, timeout_s=0.05)
            await told.wait()

    run(ask())


@pytest.mark.parametrize("ends", ["cancelled", "cut", "whole"])
def test_a_stream_that_is_over_is_closed_before_it_is_left(ends):
    async def ask():
        last = {
            "cancelled": asyncio.CancelledError(),
            "cut": errors.Unavailable("cut"),
            "whole": b"data: [DONE]\n\n",
        }
        pieces = Pieces(chunk("Hel"), last[ends])
        async with Client(transport=Scripted(pieces)).chat.stream(**ASK) as stream:
            await anext(stream)
            assert not pieces.closed
            with pytest.raises((asyncio.CancelledError, errors.Unavailable, StopAsyncIteration)):
                await anext(stream)
            return pieces.closed

    assert run(ask())
