"""Secrets planted to be looked for: random, without any known credential's shape, in every form they could leak in.

Promise: `found` looks for each secret raw, in base64 (any alignment, both alphabets), percent-encoded, in hexadecimal
and by its first eight characters; what it returns names the secret, the form and the place, never the secret.
"""

from __future__ import annotations

import base64
import secrets
import string
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote

PREFIX_CHARS = 8
_LETTERS = string.ascii_letters + string.digits


def canary(length: int = 40) -> str:
    """Return a new secret that looks like nothing in particular."""
    return "".join(secrets.choice(_LETTERS) for _ in range(length))


def key() -> str:
    """Return a new token in the shape of a Penstock key; its first 16 characters are public."""
    return f"pen-{canary(12)}-{canary(43)}"


def secret_part(token: str) -> str:
    """Return what of a key nobody but its owner may know."""
    return token[17:]


def forms(secret: str) -> dict[str, bytes]:
    """Return the forms a secret could leak in."""
    raw = secret.encode()
    found = {
        "raw": raw,
        "percent-encoded": quote(secret, safe="").encode(),
        "hexadecimal": raw.hex().encode(),
        "first eight characters": raw[:PREFIX_CHARS],
    }
    for shift in range(3):
        # Whole groups of three bytes only: what stands before and after changes the rest.
        coded = base64.b64encode(b"\0" * shift + raw)
        inner = coded[4 if shift else 0 : len(coded) // 4 * 4 - 4]
        found[f"base64 at {shift}"] = inner
        found[f"base64url at {shift}"] = inner.translate(bytes.maketrans(b"+/", b"-_"))
    return found


def found(planted: Mapping[str, str], places: Mapping[str, bytes]) -> list[str]:
    """Return where which secret stands in which form."""
    leaks: list[str] = []
    for name, secret in planted.items():
        for form, needle in forms(secret).items():
            leaks += [f"{name} ({form}) in {place}" for place, text in places.items() if needle in text]
    return leaks


def files(folder: Path, but: Iterable[Path] = ()) -> dict[str, bytes]:
    """Return every file below `folder` but the ones a secret was put into on purpose."""
    excluded = {path.resolve() for path in but}
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.resolve() not in excluded
    }
