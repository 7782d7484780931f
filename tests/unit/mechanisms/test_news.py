"""News: heard until cancelled, and harmless when the signals are closed first."""

from __future__ import annotations

import asyncio

from penstock.adapters.signals.embedded import EmbeddedSignals
from penstock.kernel.clock import ManualClock
from penstock.mechanisms.news import News
from tests.support import run


def test_watching_closed_signals_leaves_the_loop_free_and_can_be_cancelled() -> None:
    async def case() -> None:
        signals, heard = EmbeddedSignals(), []
        news = News(signals, "people", ManualClock(), lambda: heard.append(1))
        watching = asyncio.create_task(news.watch())
        await asyncio.sleep(0.01)
        await News(signals, "people", ManualClock(), lambda: None).tell()
        async with asyncio.timeout(5):
            while len(heard) < 2:  # once on subscribing, once on the news
                await asyncio.sleep(0.001)
        await signals.close()
        for _ in range(10):
            await asyncio.sleep(0.001)
        watching.cancel()
        outcome = await asyncio.gather(watching, return_exceptions=True)
        assert isinstance(outcome[0], asyncio.CancelledError)

    run(case())
