"""Who may call: organisations, teams, projects, users and keys, kept in `records`, looked up in memory.

Promises: a key is 256 random bits, shown once, stored as HMAC-SHA256 under a pepper, found by its public prefix;
revoking or changing it is felt on every node within a second (a signal; when signals are down, entries older than
`STALE_S` are read again); an unknown or revoked key costs one bounded look-up, remembered for a few seconds.
The plain token is never stored, logged or put into an error.
"""

from __future__ import annotations

import asyncio
import hmac
from collections import OrderedDict
from hashlib import blake2b
from secrets import token_bytes

import msgspec

from penstock.kernel.clock import Clock
from penstock.kernel.context import Cap, Principal, Rate, Scope
from penstock.kernel.errors import Invalid, NotFound, PenstockError, Unauthenticated
from penstock.kernel.ids import new_id, secret_token
from penstock.ports.records import Collection, Records, Row, Write
from penstock.ports.signals import Signals, Subscription

COLLECTIONS = (Collection(name="keys", indexes=("org",)), Collection(name="scopes", indexes=("level",)))
PLATFORM = "*"
TOPIC = "tenancy"
TOKEN_START = b"pen-"
STALE_S = 1.0
REFUSAL_REMEMBERED_S = 2.0
REMEMBERED_KEYS = 50_000
REMEMBERED_USERS = 50_000
REMEMBERED_REFUSALS = 10_000


class KeyDoc(msgspec.Struct, frozen=True, kw_only=True):
    """A stored key. Times are seconds since 1970, 0 for never. `mac` is the HMAC of the token, in hexadecimal.

    With `end_users` the caller may name whom it acts for (the `user` member of a request); that user's own limits,
    or the project's defaults for a user never seen, apply from the first request on.
    """

    id: str
    mac: str
    org: str
    team: str
    project: str
    user: str
    name: str = ""
    role: str = "caller"
    tier: str = "standard"
    models: tuple[str, ...] = ()
    rate: Rate = Rate()
    caps: tuple[Cap, ...] = ()
    max_input_tokens: int = 0
    max_output_tokens: int = 0
    max_request_nanos: int = 0
    created_s: float = 0.0
    expires_s: float = 0.0
    revoked_s: float = 0.0
    end_users: bool = False


class ScopeDoc(msgspec.Struct, frozen=True, kw_only=True):
    """A stored level of the tenancy path with what is limited there, and the defaults for users first seen below it."""

    path: str
    level: str
    name: str = ""
    rate: Rate = Rate()
    caps: tuple[Cap, ...] = ()
    user_rate: Rate = Rate()
    user_caps: tuple[Cap, ...] = ()


class _Entry:
    __slots__ = ("doc", "loaded_s", "principal")

    def __init__(self, doc: KeyDoc, principal: Principal, loaded_s: float) -> None:
        self.doc = doc
        self.principal = principal
        self.loaded_s = loaded_s


def scope_paths(org: str, team: str, project: str, user: str, key: str) -> tuple[tuple[str, str], ...]:
    """Return (level, path) from organisation to key. A user and a key are one per organisation, whatever project."""
    root = f"org:{org}"
    return (
        ("org", root),
        ("team", f"{root}/team:{team}"),
        ("project", f"{root}/team:{team}/project:{project}"),
        ("user", f"{root}/user:{user}"),
        ("key", f"{root}/key:{key}"),
    )


class Tenancy:
    """The directory of callers. One per process."""

    def __init__(self, records: Records, signals: Signals, clock: Clock, pepper: bytes) -> None:
        """`pepper` is at least 32 secret bytes that never change while keys live."""
        if len(pepper) < 32:
            raise Invalid("The key pepper is too short.", field="pepper", value=len(pepper), limit=32)
        self._records = records
        self._signals = signals
        self._clock = clock
        self._pepper = pepper
        # Remembered under a keyed digest of the whole token: no plain token stays in memory, and unlike an OpenSSL
        # HMAC the look-up never gives the interpreter lock away in the middle of a request.
        self._memory_key = token_bytes(32)
        self._tokens: OrderedDict[bytes, _Entry] = OrderedDict()
        self._keys: dict[str, _Entry] = {}
        self._users: OrderedDict[tuple[str, str], tuple[KeyDoc, Principal]] = OrderedDict()
        self._refused: OrderedDict[bytes, float] = OrderedDict()
        self._heard_s = clock.monotonic_s()
        self.generation = 0

    # --- looking up ------------------------------------------------------------------------------------------------

    def known(self, token: bytes) -> Principal | None:
        """Return the caller if the key is in memory, fresh, valid and unexpired; None asks for `principal`."""
        entry = self._tokens.get(blake2b(token, key=self._memory_key, digest_size=16).digest())
        if entry is None:
            return None
        now_s = self._clock.monotonic_s()
        if now_s - self._heard_s > STALE_S and now_s - entry.loaded_s > STALE_S:
            return None
        expires_s = entry.principal.expires_at_s
        if expires_s and self._clock.wall_s() >= expires_s:
            return None
        return entry.principal

    async def principal(self, token: bytes) -> Principal:
        """Return the caller behind a token, reading the store if need be; raise Unauthenticated."""
        found = self.known(token)
        if found is not None:
            return found
        if not token.startswith(TOKEN_START) or len(token) > 256 or token[16:17] != b"-":
            raise Unauthenticated(remedy="A Penstock key looks like pen-<12 characters>-<43 characters>.")
        digest = hmac.digest(self._pepper, token, "sha256")
        now_s = self._clock.monotonic_s()
        if self._refused.get(digest, 0.0) > now_s:
            raise Unauthenticated
        # Taken before reading: what changes meanwhile must not be remembered as it was.
        generation = self.generation
        doc = await self._key_doc(token[4:16].decode("ascii", "replace"))
        if doc is None or not hmac.compare_digest(digest, bytes.fromhex(doc.mac)) or not self._alive(doc):
            self._remember_refusal(digest, now_s)
            raise Unauthenticated
        entry = _Entry(doc, await self._resolve(doc, doc.user), now_s)
        if generation == self.generation:
            self._remember(token, entry)
        return entry.principal

    async def acting_for(self, principal: Principal, user: str) -> Principal:
        """Return the caller acting for an end user it names, if its key allows that; else the caller unchanged."""
        if not user or user == principal.user:
            return principal
        generation = self.generation
        entry = self._keys.get(principal.key_id)
        # A key forgotten since it was checked is read again: its users' limits do not lapse with our memory of it.
        doc = await self._key_doc(principal.key_id) if entry is None else entry.doc
        if doc is None:
            raise Unauthenticated
        if not doc.end_users:
            return principal
        if len(user) > 128 or not user.isprintable() or "/" in user or "@" in user:
            raise Invalid(
                "The user name cannot be used.",
                field="user",
                value=user[:40],
                limit=128,
                remedy="Use 1 to 128 printable characters without / and @.",
            )
        known_doc, known = self._users.get((doc.id, user), (None, principal))
        if known_doc is doc:
            return known
        found = await self._resolve(doc, user)
        if generation == self.generation:
            self._users[doc.id, user] = doc, found
            if len(self._users) > REMEMBERED_USERS:
                self._users.popitem(last=False)
        return found

    def _remember(self, token: bytes, entry: _Entry) -> None:
        self._tokens[blake2b(token, key=self._memory_key, digest_size=16).digest()] = entry
        self._keys[entry.doc.id] = entry
        if len(self._tokens) > REMEMBERED_KEYS:
            _, oldest = self._tokens.popitem(last=False)
            self._keys.pop(oldest.doc.id, None)

    def _alive(self, doc: KeyDoc) -> bool:
        now_s = self._clock.wall_s()
        return not (doc.revoked_s and now_s >= doc.revoked_s) and not (
            doc.expires_s and now_s >= doc.expires_s
        )

    def _remember_refusal(self, digest: bytes, now_s: float) -> None:
        self._refused[digest] = now_s + REFUSAL_REMEMBERED_S
        if len(self._refused) > REMEMBERED_REFUSALS:
            self._refused.popitem(last=False)

    async def _key_doc(self, key_id: str) -> KeyDoc | None:
        row = await self._records.get("keys", PLATFORM, key_id)
        return None if row is None else msgspec.json.decode(row.value, type=KeyDoc)

    async def _resolve(self, doc: KeyDoc, user: str) -> Principal:
        paths = scope_paths(doc.org, doc.team, doc.project, user, doc.id)
        docs: dict[str, ScopeDoc] = {}
        for level, path in paths[:4]:
            row = await self._records.get("scopes", doc.org, path)
            docs[level] = _scope_doc(row, level, path)
            if level == "user" and row is None:
                docs[level] = _first_seen(path, docs["project"], docs["team"], docs["org"])
        scopes = [Scope(level=d.level, path=d.path, rate=d.rate, caps=d.caps) for d in docs.values()]
        scopes.append(Scope(level="key", path=paths[4][1], rate=doc.rate, caps=doc.caps))
        ends = [at_s for at_s in (doc.expires_s, doc.revoked_s) if at_s]
        return Principal(
            key_id=doc.id,
            org=doc.org,
            team=doc.team,
            project=doc.project,
            user=user,
            role=doc.role,
            tier=doc.tier,
            models=doc.models,
            scopes=tuple(scopes),
            max_input_tokens=doc.max_input_tokens,
            max_output_tokens=doc.max_output_tokens,
            max_request_nanos=doc.max_request_nanos,
            expires_at_s=min(ends, default=0.0),
        )

    # --- changing --------------------------------------------------------------------------------------------------

    async def create_key(self, doc: KeyDoc) -> tuple[KeyDoc, str]:
        """Store a new key like `doc` (its id and mac are set here); returns it with the token, shown only now."""
        made, token = self._minted(doc)
        await self._put_keys(_key_write(made, expected=0))
        return made, token

    async def adopt_key(self, doc: KeyDoc, token: str) -> KeyDoc:
        """Store a key whose token was made elsewhere (an operator's own admin key); at least 32 characters."""
        raw = token.encode()
        if not raw.startswith(TOKEN_START) or raw[16:17] != b"-" or len(raw) < 49:
            raise Invalid("The key is too weak or malformed.", field="key", limit="pen-<12>-<32 or more>")
        mac = hmac.digest(self._pepper, raw, "sha256").hex()
        made = msgspec.structs.replace(doc, id=token[4:16], mac=mac, created_s=self._clock.wall_s())
        await self._put_keys(_key_write(made))
        return made

    async def revoke_key(self, key_id: str, *, after_s: float = 0.0) -> KeyDoc:
        """Revoke now, or `after_s` seconds from now; never later than it was revoked already."""
        doc = await self._key_doc(key_id)
        if doc is None:
            raise NotFound("There is no such key.", field="key", value=key_id)
        made = self._ending(doc, after_s)
        await self._put_keys(_key_write(made))
        return made

    async def rotate_key(self, key_id: str, *, overlap_s: float) -> tuple[KeyDoc, str]:
        """Make a key with the same rights; the old one goes on for `overlap_s` seconds. Both or neither; raises
        StaleVersion when the old key was changed at the same time.
        """
        row = await self._records.get("keys", PLATFORM, key_id)
        doc = None if row is None else msgspec.json.decode(row.value, type=KeyDoc)
        if row is None or doc is None or not self._alive(doc):
            raise NotFound("There is no such living key.", field="key", value=key_id)
        made, token = self._minted(doc)
        ending = _key_write(self._ending(doc, overlap_s), expected=row.version)
        await self._put_keys(_key_write(made, expected=0), ending)
        return made, token

    async def change_key(self, doc: KeyDoc) -> None:
        """Replace a stored key's rights and limits."""
        await self._put_keys(_key_write(doc))

    async def put_scope(self, org: str, doc: ScopeDoc) -> None:
        """Store the limits of one level."""
        write = Write(
            collection="scopes",
            tenant=org,
            id=doc.path,
            value=msgspec.json.encode(doc),
            indexed={"level": doc.level},
        )
        await self._records.transact([write])
        await self._changed()

    async def scope(self, org: str, path: str) -> ScopeDoc | None:
        """Return the stored limits of a level, or None."""
        row = await self._records.get("scopes", org, path)
        return None if row is None else msgspec.json.decode(row.value, type=ScopeDoc)

    async def scopes(self, org: str, level: str, after: str = "", limit: int = 100) -> list[ScopeDoc]:
        """Return a page of an organisation's stored levels of one kind."""
        rows = await self._records.find("scopes", org, "level", level, after=after, limit=limit)
        return [msgspec.json.decode(row.value, type=ScopeDoc) for row in rows]

    async def keys(self, org: str, after: str = "", limit: int = 100) -> list[KeyDoc]:
        """Return a page of an organisation's keys, without their secrets (there is only the MAC)."""
        rows = await self._records.find("keys", PLATFORM, "org", org, after=after, limit=limit)
        return [msgspec.json.decode(row.value, type=KeyDoc) for row in rows]

    async def key(self, key_id: str) -> KeyDoc | None:
        """Return one stored key, or None."""
        return await self._key_doc(key_id)

    def _minted(self, doc: KeyDoc) -> tuple[KeyDoc, str]:
        """Return a living key like `doc` with an id and a token of its own."""
        key_id = secret_token(96)[:12].replace("-", "x").replace("_", "y")
        token = f"pen-{key_id}-{secret_token(256)}"
        mac = hmac.digest(self._pepper, token.encode(), "sha256").hex()
        now_s = self._clock.wall_s()
        return msgspec.structs.replace(doc, id=key_id, mac=mac, created_s=now_s, revoked_s=0.0), token

    def _ending(self, doc: KeyDoc, after_s: float) -> KeyDoc:
        end_s = self._clock.wall_s() + after_s
        return msgspec.structs.replace(doc, revoked_s=min(doc.revoked_s, end_s) if doc.revoked_s else end_s)

    async def _put_keys(self, *writes: Write) -> None:
        await self._records.transact(writes)
        await self._changed()

    async def _changed(self) -> None:
        self._forget()
        await self._signals.publish(TOPIC, new_id("chg_").encode())

    def _forget(self) -> None:
        self.generation += 1
        self._tokens.clear()
        self._keys.clear()
        self._users.clear()
        self._refused.clear()

    # --- hearing of changes ----------------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Listen for changes until cancelled. While signals are down, entries go stale and are read again."""
        ear: Subscription | None = None
        while True:
            try:
                if ear is None:
                    ear = await self._signals.subscribe(TOPIC)
                    self._forget()
                signal = await ear.next(STALE_S / 4)
                self._heard_s = self._clock.monotonic_s()
                if signal is not None:
                    self._forget()
            except PenstockError:
                ear = None
                await asyncio.sleep(STALE_S / 4)


def _key_write(doc: KeyDoc, expected: int | None = None) -> Write:
    return Write(
        collection="keys",
        tenant=PLATFORM,
        id=doc.id,
        value=msgspec.json.encode(doc),
        indexed={"org": doc.org},
        expected=expected,
    )


def _scope_doc(row: Row | None, level: str, path: str) -> ScopeDoc:
    return ScopeDoc(path=path, level=level) if row is None else msgspec.json.decode(row.value, type=ScopeDoc)


def _first_seen(path: str, *above: ScopeDoc) -> ScopeDoc:
    """A user nobody configured gets the nearest defaults above it: never unlimited by accident."""
    rate = next((d.user_rate for d in above if d.user_rate != Rate()), Rate())
    caps = next((d.user_caps for d in above if d.user_caps), ())
    return ScopeDoc(path=path, level="user", rate=rate, caps=caps)
