"""The key pepper: 32 secret bytes under which API keys are stored.

Promise: it is read from the secret `pepper`; where there is none on an embedded deployment, it is made once,
written with mode 0600 before it is used, and never shown. A fleet must be given one: two nodes with two
peppers would know different keys.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from penstock.kernel.errors import Invalid, NotFound
from penstock.kernel.settings import Settings
from penstock.ports.secrets import Secrets

BYTES = 32


async def load_pepper(kept: Secrets, settings: Settings) -> bytes:
    """Return the pepper, making it on first use of an embedded deployment."""
    try:
        return (await kept.read("pepper")).reveal().encode()
    except NotFound:
        if not settings.store.records_url.startswith("sqlite:"):
            raise Invalid(
                "Nodes that share their records must share one pepper.",
                field="secrets.pepper",
                remedy="Set PENSTOCK_SECRET_PEPPER to the same 64 hexadecimal characters on every node.",
            ) from None
    folder = Path(settings.store.data) / settings.store.secrets
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    text = secrets.token_hex(BYTES)
    handle = os.open(folder / "pepper", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())  # keys made under a pepper that a power cut took would all be lost
    return text.encode()
