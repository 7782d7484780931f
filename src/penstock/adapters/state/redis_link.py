"""A hurried line to Redis: calls of one moment travel together, and a Redis that hangs is not waited for twice.

Promises
1. Calls made while a batch is under way form the next one: one write and one read for up to `BATCH_MOST` of them, in
   the order of calling. At most `QUEUE_MOST` wait; more raise Overloaded.
2. A call ends within `timeout_s` of its batch being sent, and a batch that fails takes the waiting calls with it: so
   no call takes longer than `timeout_s`, plus the loop's own delay.
3. After `TRIP_AFTER` failed batches in a row the line is down: calls fail at once, and a ping each `PROBE_S` finds
   out when it is up again. No request pays for finding out. `trips` counts.
4. No call is sent twice, except one that Redis said it did not know the script of, which it then did not run.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, cast

from redis import exceptions as driver
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError

from penstock.kernel.errors import Invalid, Overloaded, TimedOut, Unavailable

BATCH_MOST = 128
QUEUE_MOST = 4_096
CONNECTIONS = 4
TRIP_AFTER = 3
PROBE_S = 0.5

ERRORS: tuple[tuple[type[BaseException], type[Unavailable], str, str], ...] = (
    (driver.TimeoutError, TimedOut, "Redis did not answer in time.", ""),
    (TimeoutError, TimedOut, "Redis did not answer in time.", ""),
    (driver.AuthenticationError, Unavailable, "Redis refused our password.", "Check its URL."),
    (driver.NoPermissionError, Unavailable, "Redis refused a command.", "Grant our user scripts and keys."),
    (driver.BusyLoadingError, Unavailable, "Redis is loading its data.", ""),
    (driver.ConnectionError, Unavailable, "Redis cannot be reached.", "Check that it runs, and its URL."),
    (OSError, Unavailable, "Redis cannot be reached.", "Check that it runs, and its URL."),
    (driver.OutOfMemoryError, Unavailable, "Redis is out of memory.", "Raise its maxmemory."),
    (driver.ReadOnlyError, Unavailable, "This Redis is a replica.", "Give the URL of the primary."),
    (driver.RedisError, Unavailable, "Redis failed.", ""),
)
"""The table from the driver's errors to ours: the first kind that fits."""
FOREIGN = (RedisError, OSError, TimeoutError, RuntimeError)
"""What a call may raise: the driver's errors, the network's, and uvloop's for a socket that was closed a moment ago."""


def translated(error: BaseException) -> Unavailable:
    """Return our error for the driver's."""
    for kind, ours, message, remedy in ERRORS:
        if isinstance(error, kind):
            return ours(
                f"{message} ({error})" if str(error) else message, remedy=remedy, retry_after_s=PROBE_S
            )
    return Unavailable(f"Redis failed: {error!r}")


class RedisLink:
    """One script on one Redis, called many times a second. Open it with `open`."""

    def __init__(self, url: str, script: str, timeout_s: float) -> None:
        """Use `open`."""
        self._timeout_s = timeout_s
        self._script = script
        self._sha = b""
        # The driver's commands are typed for the synchronous client too; what comes out is typed where it is used.
        self._redis = cast("Any", Redis).from_url(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            max_connections=CONNECTIONS,
            retry=Retry(NoBackoff(), 0),
            health_check_interval=0,
        )
        self._waiting: deque[tuple[tuple[object, ...], asyncio.Future[bytes]]] = deque()
        self._sender: asyncio.Task[None] | None = None
        self._prober: asyncio.Task[None] | None = None
        self._failures = 0
        self._last_error: BaseException = driver.ConnectionError()
        self._is_open = True
        self.is_down = False
        self.trips = 0

    @classmethod
    async def open(cls, url: str, script: str, timeout_s: float) -> RedisLink:
        """Connect and load the script. Unavailable, or Invalid when Redis might forget leases to make room."""
        try:
            link = cls(url, script, timeout_s)
        except ValueError as error:
            raise Invalid(f"This is not the URL of a Redis: {error}", field="url") from error
        try:
            await link._prepare()
        except BaseException as error:  # because the connections must be closed whatever happened
            await link.close()
            if isinstance(error, FOREIGN):
                raise translated(error) from error
            raise
        return link

    async def call(self, keys: list[str], *arguments: object) -> bytes:
        """Run the script on `keys` with `arguments`; Unavailable or Overloaded."""
        if self.is_down or not self._is_open:
            raise translated(self._last_error) if self._is_open else Unavailable("The state was closed.")
        if len(self._waiting) >= QUEUE_MOST:
            raise Overloaded("Too many calls wait for Redis.", limit=QUEUE_MOST, retry_after_s=PROBE_S)
        loop = asyncio.get_running_loop()
        reply: asyncio.Future[bytes] = loop.create_future()
        self._waiting.append((("EVALSHA", self._sha, len(keys), *keys, *arguments), reply))
        if self._sender is None:
            self._sender = loop.create_task(self._send_all())
        return await reply

    async def ping(self) -> bool:
        """Tell whether Redis answers in time."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._redis.ping()
        except FOREIGN:
            return False
        return True

    async def close(self) -> None:
        """Close every connection; calls that wait, and later ones, raise Unavailable."""
        self._is_open = False
        for task in (self._sender, self._prober):
            if task is not None:
                task.cancel()
                await asyncio.wait((task,))
        self._fail_waiting(Unavailable("The state was closed."))
        await self._redis.aclose()

    async def _prepare(self) -> None:
        async with asyncio.timeout(self._timeout_s * 5):
            memory: dict[str, Any] = await self._redis.info("memory")
            policy = str(memory.get("maxmemory_policy", "noeviction"))
            if memory.get("maxmemory") and policy != "noeviction":
                remedy = "Set maxmemory-policy to noeviction, and give the cache a Redis of its own."
                raise Invalid("This Redis evicts keys, and a lease is a key.", value=policy, remedy=remedy)
            self._sha = await self._redis.script_load(self._script)

    async def _send_all(self) -> None:
        """Send batch after batch until none waits."""
        waiting = self._waiting
        batch: list[tuple[tuple[object, ...], asyncio.Future[bytes]]] = []
        try:
            while waiting:
                batch = [waiting.popleft() for _ in range(min(len(waiting), BATCH_MOST))]
                try:
                    async with asyncio.timeout(self._timeout_s):
                        replies = await self._send([command for command, _ in batch])
                except Exception as error:  # because whoever waits must be told, whatever it was
                    self._failed(error, batch)
                    continue
                self._failures = 0
                for (_, reply), value in zip(batch, replies, strict=True):
                    _settle(reply, value)
        finally:
            self._sender = None
            for _, reply in batch:
                _settle(reply, Unavailable("The state was closed."))

    async def _send(self, commands: list[tuple[object, ...]]) -> list[bytes | Exception]:
        """One round trip; a second one for those that met a Redis without our script (it was restarted)."""
        replies = await self._round_trip(commands)
        unknown = [index for index, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            await self._redis.script_load(self._script)
            again = await self._round_trip([commands[index] for index in unknown])
            for index, reply in zip(unknown, again, strict=True):
                replies[index] = reply
        return replies

    async def _round_trip(self, commands: list[tuple[object, ...]]) -> list[bytes | Exception]:
        pipeline: Any = self._redis.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        return await pipeline.execute(raise_on_error=False)

    def _failed(
        self, error: BaseException, batch: list[tuple[tuple[object, ...], asyncio.Future[bytes]]]
    ) -> None:
        """Fail the batch and whatever waits behind it; past `TRIP_AFTER` in a row, stop trying."""
        for _, reply in batch:
            _settle(reply, translated(error))
        self._fail_waiting(translated(error))
        self._last_error = error
        self._failures += 1
        if self._failures >= TRIP_AFTER and not self.is_down:
            self.is_down = True
            self.trips += 1
            self._prober = asyncio.get_running_loop().create_task(self._probe())

    def _fail_waiting(self, error: Unavailable) -> None:
        while self._waiting:
            _settle(self._waiting.popleft()[1], error)

    async def _probe(self) -> None:
        """Ping until Redis answers again."""
        while self.is_down:
            await asyncio.sleep(PROBE_S)
            if await self.ping():
                self._failures = 0
                self.is_down = False


def _settle(reply: asyncio.Future[bytes], value: object) -> None:
    """Deliver a reply or an error, unless the caller has gone."""
    if reply.done():
        return
    if isinstance(value, bytes):
        reply.set_result(value)
    elif isinstance(value, Unavailable):
        reply.set_exception(value)
    else:
        reply.set_exception(
            translated(value if isinstance(value, BaseException) else ResponseError(repr(value)))
        )
