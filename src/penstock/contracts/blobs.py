"""What every blob store must keep: the promises of `ports/blobs.py` as cases.

`BlobsHarness` adds awkward states that only the owner of the disk can make; an engine whose disk is not ours leaves
them None, and the cases that need them raise NotTried.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256

from penstock.contracts.case import Contract, Harness, expect, expect_error, needs
from penstock.kernel.errors import Broken, Invalid, NotFound, Unavailable
from penstock.ports.blobs import Blobs

CASES: Contract[Blobs] = Contract("blobs")

BAD_NAMES = (
    "",
    "/",
    "/a",
    "a/",
    "a//b",
    "..",
    "../a",
    "a/../b",
    "a/..",
    "./a",
    "a/./b",
    "a\0b",
    "\ud800",
    "n" * 1025,
)


@dataclass(slots=True)
class BlobsHarness(Harness[Blobs]):
    """A harness that may also reach the disk.

    `flip(digest, position)` changes a byte of a stored blob; `stored()` is how many files of blobs there are;
    `fill(room)` lets no file grow past `room` bytes, None ends it; `cut_short(value)` returns once a crash in the
    middle of writing `value` is simulated. `wall_s()` is the time blobs are stamped with.
    """

    wall_s: Callable[[], float] | None = None
    flip: Callable[[str, int], None] | None = None
    stored: Callable[[], int] | None = None
    fill: Callable[[int | None], None] | None = None
    tear: Callable[[], Awaitable[Blobs]] | None = None


def digest_of(value: bytes) -> str:
    """Return the SHA-256 that names `value`."""
    return sha256(value).hexdigest()


@CASES.case(1)
async def bytes_come_back_by_their_digest(h: Harness[Blobs]) -> None:
    """Any bytes, empty ones included, also after a restart; an unknown digest is not found."""
    tenant = h.name("acme")
    values = [b"", b"a", bytes(range(256)) * 4096, b"\n" * 7]
    for value in values:
        digest = await h.port.put(tenant, value)
        expect(digest == digest_of(value), "put returns the SHA-256", digest=digest)
    port = await h.reopen()
    for value in values:
        expect(await port.get(tenant, digest_of(value)) == value, "get returns the bytes", size=len(value))
    await expect_error(NotFound, port.get(tenant, digest_of(b"never")), "an unknown digest is not found")
    await expect_error(NotFound, port.get(tenant, "never"), "an unknown name is not found")


@CASES.case(1)
async def the_same_bytes_are_stored_once(h: Harness[Blobs]) -> None:
    """Putting bytes again, at once or by name, stores nothing more."""
    tenant = h.name("acme")
    stored = h.stored if isinstance(h, BlobsHarness) else None
    before = stored() if stored else 0
    digests = await asyncio.gather(*(h.port.put(tenant, b"same") for _ in range(8)))
    await h.port.name(tenant, "one", b"same")
    await h.port.name(tenant, "two", b"same")
    expect(set(digests) == {digest_of(b"same")}, "every put returns the same digest", digests=set(digests))
    expect(await h.port.get(tenant, "one") == b"same", "they read back by name")
    files = needs(stored, "count the files of blobs")() - before
    expect(files == 1, "the same bytes are stored once per tenant", files=files)


@CASES.case(2)
async def a_crash_in_mid_write_leaves_nothing_readable(h: Harness[Blobs]) -> None:
    """What was half written is neither a blob nor a name; the same put then succeeds."""
    tear = needs(h.tear if isinstance(h, BlobsHarness) else None, "crash in mid-write")
    tenant = h.name("acme")
    await h.port.name(tenant, "kept", b"kept")
    port = await tear()
    expect(list(await port.list(tenant)) == ["kept"], "no name appears", names=await port.list(tenant))
    expect(await port.get(tenant, "kept") == b"kept", "what was there stays")
    value = b"half" * 1000
    await expect_error(NotFound, port.get(tenant, digest_of(value)), "half a blob is no blob")
    await port.put(tenant, value)
    expect(await port.get(tenant, digest_of(value)) == value, "and the whole one can be put")


@CASES.case(2)
async def a_full_disk_leaves_nothing_readable(h: Harness[Blobs]) -> None:
    """A put that found no room raises Unavailable, leaves nothing, and succeeds when there is room."""
    fill = needs(h.fill if isinstance(h, BlobsHarness) else None, "fill the disk")
    tenant = h.name("acme")
    value = b"v" * 10_000
    await h.port.name(tenant, "n", b"old")
    for room in (0, 1, 9_999):
        fill(room)
        try:
            await expect_error(Unavailable, h.port.put(tenant, value), "a full disk is Unavailable")
            await expect_error(Unavailable, h.port.name(tenant, "n", value), "for names too")
        finally:
            fill(None)
        await expect_error(NotFound, h.port.get(tenant, digest_of(value)), "nothing of it is readable")
        expect(await h.port.get(tenant, "n") == b"old", "the name keeps its binding", room=room)
    await h.port.put(tenant, value)
    expect(await h.port.get(tenant, digest_of(value)) == value, "with room it succeeds")


@CASES.case(3)
async def a_name_is_bound_anew_whole(h: Harness[Blobs]) -> None:
    """Readers of a name that is being replaced see one binding or the other, never a mixture or a gap."""
    tenant = h.name("acme")
    values = [bytes([letter]) * 5_000 for letter in b"abcdef"]
    digest = await h.port.name(tenant, "report", values[0])
    expect(digest == digest_of(values[0]), "name returns the digest", digest=digest)
    seen: set[bytes] = set()
    done = asyncio.Event()

    async def replace() -> None:
        for value in values * 3:
            await h.port.name(tenant, "report", value)
        done.set()

    async def read() -> None:
        while not done.is_set():
            seen.add(await h.port.get(tenant, "report"))

    await asyncio.gather(replace(), read(), read())
    expect(seen <= set(values), "readers see one binding or the other", strange=len(seen - set(values)))
    expect(await h.port.get(tenant, "report") == values[-1], "the last binding holds")
    port = await h.reopen()
    expect(await port.get(tenant, "report") == values[-1], "after a restart too")
    expect(list(await port.list(tenant)) == ["report"], "one name is one name")
    expect(await port.get(tenant, digest_of(values[0])) == values[0], "the old bytes stay under their digest")


@CASES.case(4)
async def tenants_do_not_meet(h: Harness[Blobs]) -> None:
    """Neither by digest nor by name, whatever the tenants are called."""
    mine, other = h.name("acme"), h.name("acme") + ".x"
    digest = await h.port.name(mine, "plan", b"secret")
    for tenant in (other, mine.upper(), mine + "/", mine + "%2F", "../" + mine, "é", "."):
        await expect_error(NotFound, h.port.get(tenant, digest), f"{tenant!r} does not read it by digest")
        await expect_error(NotFound, h.port.get(tenant, "plan"), f"{tenant!r} does not read it by name")
        expect(not await h.port.list(tenant), "nor list it", tenant=tenant)
    await h.port.name(other, "plan", b"public")
    expect(await h.port.get(mine, "plan") == b"secret", "the same name is another binding for another tenant")
    await h.port.expire(other, 1e12)
    expect(await h.port.get(mine, digest) == b"secret", "nor does it expire it")
    for tenant in ("", "t" * 65, "a\0b"):
        await expect_error(Invalid, h.port.put(tenant, b"x"), f"{tenant!r} is no tenant")


@CASES.case(4)
async def names_that_could_leave_are_refused(h: Harness[Blobs]) -> None:
    """Bad names are refused by name and get; strange but honest ones work."""
    tenant = h.name("acme")
    for name in (*BAD_NAMES, "a" * 64):
        await expect_error(Invalid, h.port.name(tenant, name, b"x"), f"name refuses {name[:20]!r}")
    for name in BAD_NAMES:
        await expect_error(Invalid, h.port.get(tenant, name), f"get refuses {name[:20]!r}")
    good = sorted(
        [
            "a",
            "a/b",
            "a/b/c",
            "...",
            "a..b",
            "é/ü",
            "n" * 1024,
            "%2e%2e",
            "a+",
            "a=",
            "sp ace",
            "x" * 200,
            "A",
        ]
    )
    for name in good:
        await h.port.name(tenant, name, name.encode())
    expect(
        list(await h.port.list(tenant)) == good,
        "names come back as they were given",
        names=await h.port.list(tenant),
    )
    for name in good:
        expect(await h.port.get(tenant, name) == name.encode(), "and each has its own bytes", name=name)


@CASES.case(5)
async def listing_in_pages_neither_misses_nor_repeats(h: Harness[Blobs]) -> None:
    """Any page size gives the same names in order, under any prefix."""
    tenant = h.name("acme")
    names = sorted(
        [f"logs/{day:02d}/{part}" for day in range(5) for part in "abc"] + ["logs", "log", "logs0", "z"]
    )
    await asyncio.gather(*(h.port.name(tenant, name, name.encode()) for name in reversed(names)))
    for prefix in ("", "logs/", "logs/03", "logs", "none"):
        wanted = [name for name in names if name.startswith(prefix)]
        for size in (1, 4, 1000):
            seen: list[str] = []
            while page := await h.port.list(tenant, prefix, after=seen[-1] if seen else "", limit=size):
                expect(len(page) <= size, "a page is no larger than asked", size=size, got=len(page))
                seen += page
            expect(
                seen == wanted, "pages hold every name once, in order", prefix=prefix, size=size, seen=seen
            )
    for limit in (0, 10_001):
        await expect_error(Invalid, h.port.list(tenant, limit=limit), "a limit out of bounds is refused")


@CASES.case(6)
async def expire_removes_what_is_old_and_unnamed(h: Harness[Blobs]) -> None:
    """Not what is young, not what is named, not what was put again; the count and the bytes are exact."""
    wall_s = needs(
        h.wall_s if isinstance(h, BlobsHarness) else None, "read the clock that blobs are stamped with"
    )
    tenant = h.name("acme")
    for value in (b"old one", b"old two!", b"put again"):
        await h.port.put(tenant, value)
    await h.port.name(tenant, "n", b"replaced")
    await h.port.name(tenant, "n", b"named")
    oldest_s = wall_s()
    await h.advance(2.0)
    bound_s = wall_s()
    await h.port.put(tenant, b"put again")
    await h.port.put(tenant, b"young")
    expect(await h.port.expire(tenant, oldest_s) == (0, 0), "what is not older than the bound stays")
    removed = await h.port.expire(tenant, bound_s)
    expect(removed == (3, 7 + 8 + 8), "it returns how many and the bytes", removed=removed)
    for gone in (b"old one", b"old two!", b"replaced"):
        await expect_error(NotFound, h.port.get(tenant, digest_of(gone)), "old and unnamed is gone")
    for kept in (b"named", b"put again", b"young"):
        expect(await h.port.get(tenant, digest_of(kept)) == kept, "named or young stays", value=kept)
    expect(
        await h.port.expire(h.name("nobody"), bound_s) == (0, 0), "an unknown tenant has nothing to expire"
    )


@CASES.case(6, 3)
async def expire_never_takes_what_is_being_named(h: Harness[Blobs]) -> None:
    """Naming and expiring the same old bytes at once leaves the name readable."""
    tenant = h.name("acme")
    values = [b"%d" % number for number in range(30)]
    for value in values:
        await h.port.put(tenant, value)
    await h.advance(1.0)

    async def sweep() -> None:
        for _ in range(20):
            await h.port.expire(tenant, 1e12)

    naming = (h.port.name(tenant, f"n{number:02d}", value) for number, value in enumerate(values))
    await asyncio.gather(sweep(), sweep(), *naming)
    for number, value in enumerate(values):
        expect(
            await h.port.get(tenant, f"n{number:02d}") == value,
            "a named blob is never expired",
            number=number,
        )


@CASES.case(7)
async def a_flipped_byte_is_found(h: Harness[Blobs]) -> None:
    """Wherever it is: Broken, by digest and by name; putting the bytes again heals it."""
    flip = needs(h.flip if isinstance(h, BlobsHarness) else None, "flip a byte of a blob")
    tenant = h.name("acme")
    value = bytes(range(200))
    digest = await h.port.name(tenant, "n", value)
    for position in (0, 1, 100, 199):
        flip(digest, position)
        await expect_error(Broken, h.port.get(tenant, digest), f"byte {position} flipped is found")
        await expect_error(Broken, h.port.get(tenant, "n"), f"byte {position} flipped is found by name")
        await h.port.put(tenant, value)
        expect(
            await h.port.get(tenant, "n") == value, "the bytes put again are whole again", position=position
        )


@CASES.case(8)
async def an_ended_name_is_gone_and_its_bytes_expire(h: Harness[Blobs]) -> None:
    """Only that name ends, also for the next life; the bytes stay by their digest until they are old and unnamed."""
    tenant = h.name("acme")
    for name in ("a", "a/b", "other"):
        await h.port.name(tenant, name, b"bytes")
    expect(await h.port.unname(tenant, "a"), "a name that was there ends")
    expect(not await h.port.unname(tenant, "a"), "and is none the second time")
    expect(not await h.port.unname(h.name("other"), "a/b"), "another tenant ends none of ours")
    port = await h.reopen()
    await expect_error(NotFound, port.get(tenant, "a"), "an ended name is not found after a restart either")
    expect(list(await port.list(tenant)) == ["a/b", "other"], "no other name ends")
    expect(await port.get(tenant, digest_of(b"bytes")) == b"bytes", "the bytes stay by their digest")
    for name in ("a/b", "other"):
        await port.unname(tenant, name)
    await port.expire(tenant, 1e12)
    await expect_error(NotFound, port.get(tenant, digest_of(b"bytes")), "bytes without a name expire")
    for name in BAD_NAMES:
        await expect_error(Invalid, port.unname(tenant, name), f"unname refuses {name[:20]!r}")
