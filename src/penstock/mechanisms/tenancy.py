"""Who may call: organisations, teams, projects, users and keys, kept in `records`, looked up in memory.

Promises: a key is 256 random bits, shown once, stored as HMAC-SHA256 under a pepper, found by its public prefix;
revoking or changing it is felt on every node within a second (a signal; when signals are down, entries older than
`STALE_S` are read again); an unknown or revoked key costs one bounded look-up, remembered for a few seconds.
The plain token is never stored, logged or put into an error.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from hashlib import blake2b
from secrets import token_bytes

import msgspec

from penstock.kernel.clock import Clock
from penstock.kernel.context import Cap, Principal, Rate, Scope
from penstock.kernel.errors import Broken, Invalid, NotFound, StaleVersion, Unauthenticated
from penstock.kernel.ids import secret_token
from penstock.mechanisms.changes import Author, Told, change_writes
from penstock.mechanisms.news import STALE_S, News
from penstock.mechanisms.scopes import ScopeDoc, resolve, scope_write
from penstock.ports.records import Collection, Records, Row, Write
from penstock.ports.signals import Signals

COLLECTIONS = (Collection(name="keys", indexes=("org",)), Collection(name="scopes", indexes=("level",)))
PLATFORM = "*"
TOPIC = "tenancy"
TOKEN_START = b"pen-"
SESSION_IDS = "ses_"
MACHINE_IDS = "jwt_"
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


class _Entry:
    __slots__ = ("doc", "loaded_s", "principal")

    def __init__(self, doc: KeyDoc, principal: Principal, loaded_s: float) -> None:
        self.doc = doc
        self.principal = principal
        self.loaded_s = loaded_s


class Tenancy:
    """The directory of callers. One per process."""

    def __init__(self, records: Records, signals: Signals, clock: Clock, pepper: bytes) -> None:
        """`pepper` is at least 32 secret bytes that never change while keys live."""
        if len(pepper) < 32:
            raise Invalid("The key pepper is too short.", field="pepper", value=len(pepper), limit=32)
        self._records = records
        self._clock = clock
        self._pepper = pepper
        # Remembered under a keyed digest of the whole token: no plain token stays in memory, and unlike an OpenSSL
        # HMAC the look-up never gives the interpreter lock away in the middle of a request.
        self._memory_key = token_bytes(32)
        self._tokens: OrderedDict[bytes, _Entry] = OrderedDict()
        self._keys: dict[str, _Entry] = {}
        self._users: OrderedDict[tuple[str, str], tuple[KeyDoc, Principal]] = OrderedDict()
        self._refused: OrderedDict[bytes, float] = OrderedDict()
        self._news = News(signals, TOPIC, clock, self._forget)
        self.generation = 0

    # --- looking up ------------------------------------------------------------------------------------------------

    def known(self, token: bytes) -> Principal | None:
        """Return the caller if the key is in memory, fresh, valid and unexpired; None asks for `principal`."""
        entry = self._tokens.get(blake2b(token, key=self._memory_key, digest_size=16).digest())
        if entry is None:
            return None
        now_s = self._clock.monotonic_s()
        if now_s - self._news.heard_s > STALE_S and now_s - entry.loaded_s > STALE_S:
            return None
        expires_s = entry.principal.expires_at_s
        if expires_s and self._clock.wall_s() >= expires_s:
            return None
        return entry.principal

    def is_fresh(self, generation: int, loaded_s: float) -> bool:
        """Tell whether limits read at `generation` and `loaded_s` (monotonic) may still be believed."""
        return generation == self.generation and self._news.is_fresh(loaded_s)

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

    async def principal_of(self, key_id: str) -> Principal:
        """Return whom a key stands for, for work done on its behalf; raise Unauthenticated when it is no more."""
        doc = await self._key_doc(key_id)
        if doc is None or not self._alive(doc):
            raise Unauthenticated("This key is revoked, has expired, or never was.")
        return await self._resolve(doc, doc.user)

    def key_name(self, key_id: str) -> str:
        """Return what a remembered key is called; empty when it is not in memory."""
        entry = self._keys.get(key_id)
        return "" if entry is None else entry.doc.name

    async def acting_for(self, principal: Principal, user: str) -> Principal:
        """Return the caller acting for an end user it names, if its key allows that; else the caller unchanged."""
        if not user or user == principal.user:
            return principal
        generation = self.generation
        entry = self._keys.get(principal.key_id)
        # A key forgotten since it was checked is read again: its users' limits do not lapse with our memory of it.
        if entry is None and principal.key_id.startswith((SESSION_IDS, MACHINE_IDS)):
            return principal  # a person at the console, or a machine by its own token, acts for nobody else
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
        return (await self._key_row(key_id))[1]

    async def _key_row(self, key_id: str) -> tuple[Row | None, KeyDoc | None]:
        row = await self._records.get("keys", PLATFORM, key_id)
        return row, None if row is None else msgspec.json.decode(row.value, type=KeyDoc)

    async def _resolve(self, doc: KeyDoc, user: str) -> Principal:
        above = await self.scopes_of(doc.org, doc.team, doc.project, user)
        own = Scope(level="key", path=f"org:{doc.org}/key:{doc.id}", rate=doc.rate, caps=doc.caps)
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
            scopes=(*above, own),
            max_input_tokens=doc.max_input_tokens,
            max_output_tokens=doc.max_output_tokens,
            max_request_nanos=doc.max_request_nanos,
            expires_at_s=min(ends, default=0.0),
        )

    async def scopes_of(self, org: str, team: str, project: str, user: str) -> tuple[Scope, ...]:
        """Return the limits of the four levels above a key, as they are now; `generation` tells when to ask again."""
        return await resolve(self._records, org, team, project, user)

    # --- changing --------------------------------------------------------------------------------------------------

    async def create_key(self, doc: KeyDoc, *, by: Author | None = None) -> tuple[KeyDoc, str]:
        """Store a new key like `doc` (its id and mac are set here); returns it with the token, shown only now."""
        made, token = self._minted(doc)
        await self._commit(_key_write(made, expected=0), by=by, told=_told("key.create", None, made))
        return made, token

    async def adopt_key(self, doc: KeyDoc, token: str) -> KeyDoc:
        """Store a key whose token was made elsewhere (an operator's own admin key); at least 32 characters."""
        raw = token.encode()
        if not raw.startswith(TOKEN_START) or raw[16:17] != b"-" or len(raw) < 49:
            raise Invalid("The key is too weak or malformed.", field="key", limit="pen-<12>-<32 or more>")
        mac = hmac.digest(self._pepper, raw, "sha256").hex()
        made = msgspec.structs.replace(doc, id=token[4:16], mac=mac, created_s=self._clock.wall_s())
        await self._commit(_key_write(made), by=None, told=_told("key.adopt", None, made))
        return made

    async def revoke_key(self, key_id: str, *, after_s: float = 0.0, by: Author | None = None) -> KeyDoc:
        """Revoke now, or `after_s` seconds from now; never later than it was revoked already."""
        for last_try in (False, False, True):
            row, doc = await self._key_row(key_id)
            if row is None or doc is None:
                raise NotFound("There is no such key.", field="key", value=key_id)
            made = self._ending(doc, after_s)
            # Once somebody was quicker thrice, the key ends whatever was written meanwhile.
            write = _key_write(made, expected=None if last_try else row.version)
            try:
                await self._commit(write, by=by, told=_told("key.revoke", doc, made))
                return made
            except StaleVersion:
                continue
        raise Broken("An unconditional write was refused.")

    async def rotate_key(
        self, key_id: str, *, overlap_s: float, by: Author | None = None
    ) -> tuple[KeyDoc, str]:
        """Make a key with the same rights; the old one goes on for `overlap_s` seconds. Both or neither; raises
        StaleVersion when the old key was changed at the same time.
        """
        row, doc = await self._key_row(key_id)
        if row is None or doc is None or not self._alive(doc):
            raise NotFound("There is no such living key.", field="key", value=key_id)
        made, token = self._minted(doc)
        ending = _key_write(self._ending(doc, overlap_s), expected=row.version)
        told = msgspec.structs.replace(_told("key.rotate", doc, made), subject=key_id)
        await self._commit(_key_write(made, expected=0), ending, by=by, told=told)
        return made, token

    async def change_key(self, doc: KeyDoc, *, by: Author | None = None, seen: KeyDoc | None = None) -> None:
        """Replace a stored key's rights and limits. With `by`, StaleVersion when it was changed meanwhile; with `seen`
        also when it is no longer what the change was made of (somebody may have revoked it since).
        """
        row, before = await self._key_row(doc.id)
        if seen is not None and before != seen:
            raise StaleVersion(field="key", value=doc.id)
        write = _key_write(doc, expected=_seen(by, row))
        await self._commit(write, by=by, told=_told("key.change", before, doc))

    async def put_scope(self, org: str, doc: ScopeDoc, *, by: Author | None = None) -> None:
        """Store the limits of one level. With `by`, StaleVersion when they were changed meanwhile."""
        row = await self._records.get("scopes", org, doc.path)
        before = None if row is None else msgspec.json.decode(row.value, type=ScopeDoc)
        _, _, under_team = doc.path.partition("/team:")
        told = Told(
            action="scope.put",
            subject=doc.path,
            org=org,
            team=under_team.partition("/")[0],
            before=before,
            after=doc,
        )
        write = scope_write(org, doc, expected=_seen(by, row))
        await self._commit(write, by=by, told=told)

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

    async def _commit(self, *writes: Write, by: Author | None, told: Told) -> None:
        """Write the change and what tells of it in one transaction, then tell every node."""
        await self._records.transact([*writes, *change_writes(by, told, self._clock.wall_s())])
        await self._news.tell()

    def _forget(self) -> None:
        self.generation += 1
        self._tokens.clear()
        self._keys.clear()
        self._users.clear()
        self._refused.clear()

    # --- hearing of changes ----------------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Listen for changes until cancelled. While signals are down, entries go stale and are read again."""
        await self._news.watch()


def _key_write(doc: KeyDoc, expected: int | None = None) -> Write:
    return Write(
        collection="keys",
        tenant=PLATFORM,
        id=doc.id,
        value=msgspec.json.encode(doc),
        indexed={"org": doc.org},
        expected=expected,
    )


def _told(action: str, before: KeyDoc | None, after: KeyDoc) -> Told:
    return Told(action=action, subject=after.id, org=after.org, team=after.team, before=before, after=after)


def _seen(by: Author | None, row: Row | None) -> int | None:
    """What is audited must find what it tells of as `before`; what is not may overwrite anything."""
    if by is None:
        return None
    return 0 if row is None else row.version
