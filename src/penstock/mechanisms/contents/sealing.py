"""Sealing with AES-256-GCM (NIST SP 800-38D) by `cryptography`; this module is loaded only where contents are kept.

Promise: what is sealed opens with the same key and the same context only, else `Broken`; every seal has 96 random bits
of its own, so that a key is good for 2³² of them.
"""

from __future__ import annotations

from os import urandom
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from penstock.kernel.errors import Broken

NONCE_BYTES: Final = 12


class AesSeal:
    """Seals and opens."""

    def seal(self, key: bytes, plain: bytes, context: bytes) -> bytes:
        """Return the nonce and what is sealed."""
        nonce = urandom(NONCE_BYTES)
        return nonce + AESGCM(key).encrypt(nonce, plain, context)

    def open(self, key: bytes, sealed: bytes, context: bytes) -> bytes:
        """Return what was sealed; Broken when a byte, the key or the context is another."""
        try:
            return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context)
        except (InvalidTag, ValueError):
            raise Broken("A sealed content does not open.") from None
