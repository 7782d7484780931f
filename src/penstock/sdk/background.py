"""What lets plain code use the client: one event loop on a thread of its own.

    caller's thread ── run(coroutine) ──► loop's thread ── result or error ──► caller's thread

Promises: any number of threads may call; Ctrl-C, or a stream that is left, ends the call at the server too; `close`
ends what is under way and the thread with it, nobody is left waiting; a client that was forgotten holds up neither its
collection nor the end of the program; after a fork the child is told that it has none.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent import futures
from typing import Any, Final, Generic, Self, TypeVar

import uvloop

from penstock.kernel.errors import PenstockError, Unavailable
from penstock.sdk.streams import EventStream

JOIN_S: Final = 5.0
"""What a loop is given to end what it was doing."""
End = Callable[[], Coroutine[Any, Any, None]]
C = TypeVar("C")
T = TypeVar("T")


class Background:
    """An event loop that runs on a thread of its own until it is closed, or nobody knows of it any more."""

    def __init__(self, end: End) -> None:
        """Start the thread; `end` is the last that runs there, and must not lead back here."""
        self._loop = uvloop.new_event_loop()
        turn = (self._loop, end)
        self._thread = threading.Thread(target=_turn, args=turn, name="penstock-client", daemon=True)
        self._thread.start()
        self._stop = weakref.finalize(self, _stop, self._loop, self._thread)
        # Nothing may be given to the loop once its stop is: nobody would ever run it.
        self._giving = threading.Lock()
        self._closed = False

    @property
    def is_alive(self) -> bool:
        """Whether it still runs what it is given."""
        return not self._closed and self._thread.is_alive()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` to its end and return what it returns. Raises what it raises, Unavailable once closed."""
        with self._giving:
            if not self.is_alive:
                work.close()
                raise _closed()
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except futures.CancelledError:
            raise _closed() from None
        except BaseException:  # because an interrupt of this thread must end the call in the other
            future.cancel()
            raise

    def close(self) -> None:
        """Cancel what is under way, run `end`, then end the thread. Idempotent."""
        with self._giving:
            self._closed = True
        self._stop()


class BlockingCalls(Generic[C]):
    """The calls of one noun, made on a background loop."""

    def __init__(self, background: Background, calls: C) -> None:
        """Do what `calls` do."""
        self._background = background
        self._run = background.run
        self._calls = calls


class BlockingStream(Generic[T]):
    """The values of a reply, each as it comes: ``with … as stream: for value in stream``."""

    def __init__(self, background: Background, stream: EventStream[T]) -> None:
        """Read `stream`."""
        self._background = background
        self._stream = stream

    def __enter__(self) -> Self:
        """Send the request and wait for the head of its reply. Raises PenstockError."""
        self._background.run(self._stream.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def __iter__(self) -> Self:
        """Iterate over what comes."""
        return self

    def __next__(self) -> T:
        """Return the next value. Raises PenstockError when there will be no proper end."""
        value = self._background.run(_next(self._stream))
        if value is None:
            raise StopIteration
        return value

    def close(self) -> None:
        """Be done with it: a reply that was not read to its end is cut. Idempotent."""
        if self._background.is_alive:
            self._background.run(self._stream.__aexit__())


async def _next(stream: EventStream[T]) -> T | None:
    """Return the next value, None at the end."""
    async for value in stream:
        return value
    return None


def _closed() -> PenstockError:
    return Unavailable("This client is closed.", code="client_closed")


def _turn(loop: asyncio.AbstractEventLoop, end: End) -> None:
    """Run the loop until it is stopped, then `end`; what is still under way is cancelled."""
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.get_loop().run_forever()
        runner.run(end())


def _stop(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    """Stop a loop and wait for its thread, unless this is it (a collection may run anywhere) or it is not ours."""
    if thread.is_alive():
        loop.call_soon_threadsafe(loop.stop)
        if thread is not threading.current_thread():
            thread.join(JOIN_S)
