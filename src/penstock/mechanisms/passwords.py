"""Passwords: argon2id off the event loop, in a pool that can neither block it nor fill memory.

Promises: hashing takes the cost named by `Cost`, at most `workers` at once (each fills its memory) with at most
`waiting` behind them, beyond which Overloaded is raised before anything is spent; a check against no hash at all costs
what a wrong password costs; a hash made at another cost is told, so that it can be made anew; no error, repr or log
shows a password or a hash.
"""

from __future__ import annotations

import asyncio
import threading
import unicodedata
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from secrets import token_bytes
from typing import TypeVar

import msgspec
from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from penstock.kernel.errors import Invalid, Overloaded

T = TypeVar("T")

LEAST_CHARACTERS = 12
MOST_CHARACTERS = 1_024
HASH_BYTES = 32
SALT_BYTES = 16


class Cost(msgspec.Struct, frozen=True):
    """What one hash costs: passes over `memory_kib`, in `lanes` parallel lanes.

    The defaults are the second recommended option of RFC 9106 §4: its first takes 2 GiB a hash, which would let a
    handful of sign-ins take a machine's memory; this one takes 64 MiB.
    """

    passes: int = 3
    memory_kib: int = 65_536
    lanes: int = 4


class Passwords:
    """Hashes and checks passwords. One per process; `close` ends its threads."""

    def __init__(self, cost: Cost | None = None, *, workers: int = 2, waiting: int = 32) -> None:
        """Work with `workers` threads and let at most `waiting` calls wait for one."""
        self.cost = cost or Cost()
        self._hasher = PasswordHasher(
            time_cost=self.cost.passes,
            memory_cost=self.cost.memory_kib,
            parallelism=self.cost.lanes,
            hash_len=HASH_BYTES,
            salt_len=SALT_BYTES,
            type=Type.ID,
        )
        self._nobody = _hash_of_nothing(self.cost)
        self._pool = ThreadPoolExecutor(workers, "passwords")
        self._room = threading.BoundedSemaphore(workers + waiting)

    async def hash(self, password: str) -> str:
        """Return a new hash, in the encoded form that names its cost and salt; Overloaded."""
        text = normal(password)
        return await self._work(lambda: self._hasher.hash(text))

    async def check(self, stored: str, password: str) -> bool:
        """Tell whether `password` is the one hashed; an empty `stored` is nobody's and costs the same. Overloaded."""
        if len(password) > MOST_CHARACTERS:
            return False
        try:
            text = normal(password)
        except Invalid:
            return False
        matched = await self._work(lambda: self._matches(stored or self._nobody, text))
        return matched and bool(stored)

    def is_stale(self, stored: str) -> bool:
        """Tell whether a hash was made at another cost than today's."""
        try:
            return self._hasher.check_needs_rehash(stored)
        except InvalidHashError:
            return True

    def close(self) -> None:
        """End the threads; what waits is given up."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _matches(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _work(self, job: Callable[[], T]) -> T:
        if not self._room.acquire(blocking=False):
            raise Overloaded("Too many passwords are being checked just now.", retry_after_s=1.0)
        try:
            future = self._pool.submit(job)
        except RuntimeError:
            self._room.release()
            raise Overloaded("The server is stopping.", retry_after_s=1.0) from None
        # Given back when the thread is done, not when its caller has gone away: memory is taken until then.
        future.add_done_callback(lambda _: self._room.release())
        return await asyncio.wrap_future(future)


def check_new(password: str, email: str, name: str) -> None:
    """Raise Invalid unless `password` may become somebody's: 12 to 1,024 characters, not the email, nor the name."""
    text = normal(password)
    folded = text.strip().casefold()
    if not LEAST_CHARACTERS <= len(text) <= MOST_CHARACTERS:
        limit = f"{LEAST_CHARACTERS} to {MOST_CHARACTERS} characters"
        raise Invalid("The password is too short or too long.", field="password", limit=limit)
    if folded in {normal(email).strip().casefold(), normal(name).strip().casefold()}:
        raise Invalid("The password is the email address or the name.", field="password")


def normal(text: str) -> str:
    """Return `text` as NFKC, so that one password typed on two keyboards is one (NIST SP 800-63B §5.1.1.2); Invalid."""
    if len(text) > MOST_CHARACTERS:
        raise Invalid("The text is too long.", field="password", limit=f"{MOST_CHARACTERS} characters")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Invalid("This is not text: a lone surrogate has no UTF-8.", field="password") from None
    return unicodedata.normalize("NFKC", text)


def _hash_of_nothing(cost: Cost) -> str:
    """Return a hash of this cost that no password has: random bytes where the digest would be, made in no time."""
    salt, digest = (b64encode(token_bytes(size)).decode().rstrip("=") for size in (SALT_BYTES, HASH_BYTES))
    return f"$argon2id$v=19$m={cost.memory_kib},t={cost.passes},p={cost.lanes}${salt}${digest}"
