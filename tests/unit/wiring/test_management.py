"""The management API is built on its first request, once, off the event loop."""

from __future__ import annotations

import asyncio
import threading

import pytest

from penstock.wiring.management import LateApp
from tests.support import run


async def answered(scope, _receive, _send):
    scope["answered"] = True


def test_many_first_requests_build_it_once_and_in_a_thread():
    builders = []

    def build():
        builders.append(threading.current_thread())
        return answered

    async def work():
        app = LateApp(build)
        scopes = [{} for _ in range(20)]
        await asyncio.gather(*(app(scope, None, None) for scope in scopes))
        return scopes

    assert all(scope["answered"] for scope in run(work()))
    assert len(builders) == 1
    assert builders[0] is not threading.main_thread()


def test_a_build_that_failed_is_tried_again():
    tries = []

    def build():
        tries.append(1)
        if len(tries) == 1:
            raise ImportError("a broken installation")
        return answered

    async def work():
        app = LateApp(build)
        with pytest.raises(ImportError):
            await app({}, None, None)
        scope = {}
        await app(scope, None, None)
        return scope

    assert run(work()) == {"answered": True}
