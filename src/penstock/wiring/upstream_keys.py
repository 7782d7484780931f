"""The keys we call vendors with, read again while we run: whoever rotates one (a person, Vault's agent, Kubernetes)
writes the secret anew, and nothing is restarted.

Promises: a key that was rotated is called under at most `READ_S` and a read later, by every process; calls under way
end under the key they began with; a secret that cannot be read, or is no key, is told once in the log and leaves the
key that works in use; no key is ever logged.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Protocol, cast

from penstock.kernel.clock import Clock
from penstock.kernel.errors import PenstockError
from penstock.ports.providers import ChatProvider
from penstock.ports.secrets import Secret, Secrets

_log = logging.getLogger("penstock.wiring")
READ_S: Final = 5.0
"""Seconds between two readings."""


class TakesKeys(Protocol):
    """A provider whose key can be changed while it runs."""

    def rekey(self, key: Secret | None) -> None:
        """Call under `key` from the next call on. Raises Invalid for what is no key; the one before stands then."""
        ...


class _Followed:
    """One secret and the provider that calls under it; `text` is what it read last, `told` what was wrong with it."""

    __slots__ = ("_kept", "_name", "_provider", "_secret", "_text", "_told")

    def __init__(self, secret: str, provider: ChatProvider, kept: Secrets) -> None:
        self._secret = secret
        self._name = provider.name
        self._provider = cast("TakesKeys", provider)
        self._kept = kept
        self._text = ""
        self._told = ""

    async def read(self) -> None:
        """Read the secret, and have the provider call under it where it is another."""
        try:
            key = await self._kept.read(self._secret)
            text = key.reveal()
            if text != self._text:
                self._provider.rekey(key)
                if self._text:
                    _log.info("provider %s calls under a new key, from secret %s", self._name, self._secret)
                self._text = text
        except (PenstockError, OSError) as error:
            told = str(error)
            if told != self._told:
                _log.warning(
                    "provider %s keeps its key: secret %s cannot be used: %s", self._name, self._secret, told
                )
            self._told = told
            return
        self._told = ""


class UpstreamKeys:
    """Follows secrets. One per process; it belongs to one event loop."""

    def __init__(self, clock: Clock) -> None:
        """Follow nothing yet; `clock` says when it is time to read."""
        self._clock = clock
        self._followed: list[_Followed] = []
        self._due_s = clock.monotonic_s() + READ_S
        self._reading: asyncio.Task[None] | None = None

    def follow(self, secret: str, provider: ChatProvider, kept: Secrets) -> None:
        """Follow `secret` of `kept` for a provider just opened with it; one that takes no other key is left alone."""
        if hasattr(provider, "rekey"):
            self._followed.append(_Followed(secret, provider, kept))

    def tick(self) -> None:
        """Have the secrets read when it is time, behind the caller's back. Called once a second."""
        is_busy = self._reading is not None and not self._reading.done()
        now_s = self._clock.monotonic_s()
        if now_s < self._due_s or is_busy or not self._followed:
            return
        self._due_s = now_s + READ_S
        self._reading = asyncio.create_task(self.read(), name="upstream keys")

    async def read(self) -> None:
        """Read every secret now."""
        for each in self._followed:
            await each.read()

    async def close(self) -> None:
        """Read no more."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
