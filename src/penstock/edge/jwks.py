"""The public keys of one issuer (RFC 7517): read from a file or fetched, kept fresh, never more than asked for.

Promises: a known key is found without waiting; an unknown id starts at most one fetch per `PAUSE_S`, which whoever
asked for one waits for together; keys are fetched anew every `FRESH_S`, so that one withdrawn is felt without a
restart; when fetching fails the last keys serve on, for `STALE_S` at most; every fetch and failure is counted; what is
not a public key for signatures is left out (shared secrets, keys for encryption, RSA below 2,048 bits).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import cast

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
from joserfc.jws import JWSRegistry
from joserfc.util import base64_to_int

from penstock.kernel.clock import Clock
from penstock.kernel.errors import PenstockError, Upstream

PAUSE_S = 30.0
FRESH_S = 300.0
STALE_S = 86_400.0
KEYS_MOST = 100
RSA_BITS_LEAST = 2_048
_log = logging.getLogger("penstock.edge")
_KINDS: dict[str, type[RSAKey | ECKey | OKPKey]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}
_PUBLIC = frozenset({"kty", "use", "key_ops", "alg", "kid", "n", "e", "crv", "x", "y"})

Load = Callable[[], Awaitable[object]]
"""Reads the JWK Set, as decoded JSON; raises PenstockError."""


class KeyRing:
    """The keys of one issuer. `generation` grows whenever they change."""

    def __init__(self, name: str, load: Load, clock: Clock) -> None:
        """`name` is for the log; nothing is loaded yet."""
        self._name = name
        self._load = load
        self._clock = clock
        self._keys: tuple[Key, ...] = ()
        self._loaded_s: float | None = None
        self._tried_s: float | None = None
        self._running: asyncio.Task[None] | None = None
        self.generation = 0
        self.fetches = 0
        self.failures = 0

    def find(self, kid: str, algorithm: str) -> Key | None:
        """Return the one key with this id for this algorithm; with no id, the only key there is for it.

        Two keys that both fit are none: which of them was meant would be a guess.
        """
        fits = [key for key in self._keys if (not kid or key.kid == kid) and _fits(key, algorithm)]
        return fits[0] if len(fits) == 1 else None

    async def refresh(self) -> None:
        """Load the keys again unless that was tried within `PAUSE_S`; returns when they are here, or are not."""
        if self._running is None:
            now_s = self._clock.monotonic_s()
            if self._tried_s is not None and now_s - self._tried_s < PAUSE_S:
                return
            self._tried_s = now_s
            self._running = asyncio.create_task(self._reload(), name="jwks")
        # Shielded: whoever leaves does not end what the others wait for.
        await asyncio.shield(self._running)

    async def tick(self) -> None:
        """Load the keys again when they are old; forget them when they are too old to be believed."""
        now_s = self._clock.monotonic_s()
        if self._loaded_s is not None and now_s - self._loaded_s > STALE_S and self._keys:
            self._keys = ()
            self.generation += 1
        if self._loaded_s is None or now_s - self._loaded_s >= FRESH_S:
            await self.refresh()

    async def close(self) -> None:
        """Give up what is being fetched."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def _reload(self) -> None:
        self.fetches += 1
        try:
            keys = signature_keys(await self._load())
        except PenstockError as error:
            self.failures += 1
            _log.warning("the keys of %s could not be loaded: %s", self._name, error.message)
            return
        except Exception:  # because what a stranger publishes must not end the loop that keeps all keys fresh
            self.failures += 1
            _log.exception("the keys of %s made the loading stumble", self._name)
            return
        finally:
            self._running = None
        self._loaded_s = self._clock.monotonic_s()
        if [key.as_dict() for key in keys] != [key.as_dict() for key in self._keys]:
            self._keys = keys
            self.generation += 1


def signature_keys(document: object) -> tuple[Key, ...]:
    """Return the public signature keys of a JWK Set; Upstream when it is none, or holds none."""
    listed = cast("dict[str, object]", document).get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list) or len(cast("list[object]", listed)) > KEYS_MOST:
        raise Upstream("This is not a JWK Set.", code="bad_jwks", limit=f"at most {KEYS_MOST} keys")
    keys = [key for each in cast("list[object]", listed) if (key := _key(each)) is not None]
    if not keys:
        raise Upstream("The JWK Set holds no public key for signatures.", code="bad_jwks")
    return tuple(keys)


def _key(jwk: object) -> Key | None:
    """Return a usable key, or None: one we do not understand is left out (RFC 7517 §5)."""
    if not isinstance(jwk, dict):
        return None
    # Only the public members: a provider that publishes a private key gives it away to us neither.
    members = {name: value for name, value in cast("dict[str, object]", jwk).items() if name in _PUBLIC}
    kind = _KINDS.get(str(members.get("kty")))
    if kind is None or members.get("use", "sig") != "sig":
        return None
    try:
        if kind is RSAKey and base64_to_int(str(members.get("n"))).bit_length() < RSA_BITS_LEAST:
            return None
        return kind.import_key(cast("dict[str, str | list[str]]", members))
    except (JoseError, ValueError, TypeError, KeyError, OverflowError):
        return None


def _fits(key: Key, algorithm: str) -> bool:
    """Tell whether a key is of the kind, curve, use and purpose that an algorithm needs."""
    try:
        JWSRegistry.algorithms[algorithm].check_key(key)
        key.check_key_op("verify")
    except JoseError:
        return False
    return algorithm != "EdDSA" or key.get("crv") in ("Ed25519", "Ed448")
