"""Several keys of one provider as one provider: each call goes out under the key with the fewest calls under way.

Promises: a key whose vendor asked to wait is left alone until then, while another is free; a refusal of one key says
whether another is (`has_other_key`), so that no caller waits for the first; what each key was used for is counted; the
pool adds nothing to an answer and keeps none. Spreading over keys does not raise what an organisation may use: vendors
limit organisations, and some forbid several keys to get around it (see docs/routing.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from penstock.kernel.clock import Clock
from penstock.ports.providers import ChatCall, ChatProvider, ChatReplyStream, ProviderFailure, RateHint

PAUSE_S: Final = 5.0
"""How long a key is left alone after a refusal that names no time."""
PAUSE_MOST_S: Final = 300.0
_REFUSALS: Final = frozenset({"rate_limited", "quota_exhausted", "spend_limit", "unauthenticated"})


class PooledKey:
    """One key: the provider that calls under it, and what it was used for."""

    __slots__ = ("calls", "failures", "in_flight", "name", "paused_until_s", "provider")

    def __init__(self, name: str, provider: ChatProvider) -> None:
        """`name` is the secret's name, never its value."""
        self.name = name
        self.provider = provider
        self.calls = self.failures = self.in_flight = 0
        self.paused_until_s = 0.0


class _Reply:
    """An answer that tells its key when it has ended."""

    __slots__ = ("_inner", "_key", "_open", "key", "status", "streamed")

    def __init__(self, inner: ChatReplyStream, key: PooledKey) -> None:
        self._inner = inner
        self._key = key
        self.key = key.name
        self._open = True
        self.status = inner.status
        self.streamed = inner.streamed

    @property
    def rates(self) -> RateHint:
        found = getattr(self._inner, "rates", None)
        return found if isinstance(found, RateHint) else RateHint()

    async def read(self, max_bytes: int) -> bytes:
        return await self._inner.read(max_bytes)

    async def chunk(self) -> bytes:
        return await self._inner.chunk()

    def close(self) -> None:
        if self._open:
            self._open = False
            self._key.in_flight -= 1
        self._inner.close()


class KeyPool:
    """A `ChatProvider` over several keys. Whatever else a provider can do is done under the first."""

    def __init__(self, keys: Mapping[str, ChatProvider], clock: Clock) -> None:
        """`keys` are providers by the name of their secret, alike but for their key; at least one."""
        self.keys = [PooledKey(name, provider) for name, provider in keys.items()]
        self._clock = clock
        first = self.keys[0].provider
        self.name, self.vendor, self.dialect = first.name, first.vendor, first.dialect
        self.limit_name = first.limit_name

    def __getattr__(self, name: str) -> object:
        """Return what only some providers have (`models`, `count_tokens`), of the first key's."""
        if name.startswith("_") or name == "keys":
            raise AttributeError(name)
        return getattr(self.keys[0].provider, name)

    async def chat(self, call: ChatCall) -> ChatReplyStream:
        """Start one attempt under the least loaded key. Raises ProviderFailure."""
        key = self._least_loaded()
        key.calls += 1
        key.in_flight += 1
        try:
            reply = await key.provider.chat(call)
        except BaseException as error:  # because a call that never began must not count as under way
            key.in_flight -= 1
            if isinstance(error, ProviderFailure):
                self._failed(key, error)
            raise
        return _Reply(reply, key)

    async def close(self) -> None:
        """Release every connection of every key."""
        for key in self.keys:
            await key.provider.close()

    def _least_loaded(self) -> PooledKey:
        """Return the key to call under: one that may be used, then the idlest, then the least used so far."""
        now_s = self._clock.monotonic_s()
        return min(self.keys, key=lambda key: (key.paused_until_s > now_s, key.in_flight, key.calls))

    def _failed(self, key: PooledKey, failure: ProviderFailure) -> None:
        failure.key = key.name
        key.failures += 1
        failure.has_other_key = False
        if failure.kind in _REFUSALS:
            now_s = self._clock.monotonic_s()
            asked_s = failure.retry_after_s if failure.retry_after_s is not None else PAUSE_S
            key.paused_until_s = now_s + min(asked_s, PAUSE_MOST_S)
            failure.has_other_key = any(each.paused_until_s <= now_s for each in self.keys if each is not key)
