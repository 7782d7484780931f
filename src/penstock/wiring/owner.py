"""The first keys: the operator's own admin key from the environment, and those a newcomer's first start makes.

Promises: a key given as PENSTOCK_ADMIN_KEY becomes an owner of the organisation `default`, once; one that was revoked,
or belongs to somebody else, refuses the start instead of coming back to life; a key file is written with mode 0600
before anybody is told of it, and never over another.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from penstock.kernel.errors import Invalid, Unauthenticated
from penstock.kernel.ids import secret_token
from penstock.mechanisms.tenancy import KeyDoc, Tenancy

ADMIN_KEY = "PENSTOCK_ADMIN_KEY"
KEY_FILE = "owner.key"
ORG = "default"
OWNER = KeyDoc(id="", mac="", org=ORG, team="default", project="default", user="owner", role="owner")
FIRST_CALLER = KeyDoc(
    id="", mac="", org=ORG, team="default", project="default", user="default", name="first key"
)


def mint() -> str:
    """Return a new token in the form of a key; nothing knows it until it is adopted."""
    key_id = secret_token(96)[:12].replace("-", "x").replace("_", "y")
    return f"pen-{key_id}-{secret_token(256)}"


async def adopt_admin_key(tenancy: Tenancy, token: str) -> None:
    """Make `token` an owner's key unless it is one already. Raises Invalid for a revoked or foreign one."""
    try:
        principal = await tenancy.principal(token.encode())
    except Unauthenticated:
        if await tenancy.key(token[4:16]) is not None:
            raise _unusable("it was revoked, or its first 12 characters are another key's") from None
        named = msgspec.structs.replace(OWNER, name=f"{ADMIN_KEY} of the environment")
        await tenancy.adopt_key(named, token)
        return
    if principal.role != "owner":
        raise _unusable(f"it is the key of a {principal.role}")


class FirstKeys(msgspec.Struct, frozen=True, kw_only=True):
    """What a start for a newcomer found or made. `caller_token` is empty when the caller's key was made before."""

    owner_file: Path
    made: bool
    caller_token: str


async def first_keys(tenancy: Tenancy, data: Path) -> FirstKeys:
    """Make the owner's key and a first caller's, or find the owner's in its file.

    An owner's key that this deployment does not know (its records were deleted) is made anew; the old file is kept
    beside it.
    """
    file = data / KEY_FILE
    if file.exists():
        try:
            await tenancy.principal(file.read_bytes().strip())
        except Unauthenticated:
            file.replace(file.with_suffix(".key.old"))
        else:
            return FirstKeys(owner_file=file, made=False, caller_token="")
    owner = msgspec.structs.replace(OWNER, name="made by penstock up")
    _, token = await tenancy.create_key(owner)
    write_private(file, token + "\n")
    _, caller_token = await tenancy.create_key(FIRST_CALLER)
    return FirstKeys(owner_file=file, made=True, caller_token=caller_token)


def write_private(path: Path, text: str) -> None:
    """Write a new file that only its owner can read. Raises FileExistsError rather than follow or replace one."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)


def _unusable(reason: str) -> Invalid:
    return Invalid(
        f"The key in {ADMIN_KEY} cannot be the owner's: {reason}.",
        code="unsafe_start",
        field=ADMIN_KEY,
        remedy="Make another with `penstock keys mint`, or leave it out.",
    )
