"""One answer per Idempotency-Key: the same key and body replays it, another body is a conflict.

Promises (after Stripe's: docs.stripe.com/api/idempotent_requests): keys are scoped by API key and kept 24 h,
then forgotten, a few by each request that brings one; the row is claimed durably before anything is spent, so
of many concurrent requests with one key exactly one reaches a vendor; its answer, errors of the vendor
included, is replayed byte for byte; what ends before any vendor was called frees the key; a request that a
crash interrupted is never repeated on its own: its key answers 409 and says so.
"""

from __future__ import annotations

import asyncio
import hashlib
from base64 import b64decode, b64encode
from contextlib import suppress

import msgspec

from penstock.gateway.client import Before, Client
from penstock.gateway.inquiry import Inquiry
from penstock.gateway.line import Line
from penstock.gateway.story import Story
from penstock.kernel.clock import Clock
from penstock.kernel.context import RequestContext
from penstock.kernel.errors import IdempotencyConflict, Invalid, PenstockError, StaleVersion
from penstock.ports.records import Collection, Records, Write

COLLECTION = Collection(name="idempotency", indexes=("hour",))
TENANT = (
    "*"  # a row's id covers the API key, and those are unique; one tenant lets one sweep find all that is old
)
KEPT_S = 86_400
HOUR_S = 3_600
SWEPT_ROWS = 4
SWEPT_HOURS = 24
LOOKED_BACK_HOURS = 31 * 24
KEY_BYTES_MAX = 255
SAVED_BYTES_MAX = 700_000


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """A claimed key. `body` is base64; empty `status` 0 means the first request has not ended."""

    fingerprint: str
    request_id: str
    claimed_s: float
    status: int = 0
    headers: str = ""
    body: str = ""
    too_large: bool = False


class Recorder(Before):
    """Stands between the relay and the client and remembers what was sent, up to `SAVED_BYTES_MAX` bytes."""

    __slots__ = ("_parts", "_size", "headers", "status")

    def __init__(self, client: Client) -> None:
        """Record what goes to `client`."""
        super().__init__(client)
        self._parts: list[bytes] = []
        self._size = 0
        self.status = 0
        self.headers = b""

    @property
    def gone(self) -> bool:
        """The recorder stays when the client leaves, so that the replay is whole, its error included."""
        return False

    @property
    def paused(self) -> bool:
        """The client is behind."""
        return self._client.paused and not self._client.gone

    @property
    def started(self) -> bool:
        """Bytes have left, or would have."""
        return self.status != 0

    def send(self, status: int, headers: bytes, body: bytes) -> None:
        """Record and send a whole reply."""
        self._open(status, headers)
        self._keep(body)
        self._client.send(status, headers, body)

    def begin(self, status: int, headers: bytes) -> None:
        """Record and begin a stream."""
        self._open(status, headers)
        self._client.begin(status, headers)

    def write(self, data: bytes) -> None:
        """Record and send one piece."""
        self._keep(data)
        self._client.write(data)

    def finish(self, tail: bytes = b"") -> None:
        """Record and send the last piece."""
        self._keep(tail)
        self._client.finish(tail)

    def saved(self, claim: Saved) -> Saved:
        """Return what to keep of the reply."""
        if self._size > SAVED_BYTES_MAX:
            return msgspec.structs.replace(claim, status=self.status, too_large=True)
        return msgspec.structs.replace(
            claim,
            status=self.status,
            headers=self.headers.decode("latin-1"),
            body=b64encode(b"".join(self._parts)).decode(),
        )

    def _open(self, status: int, headers: bytes) -> None:
        self.status = status
        self.headers = headers

    def _keep(self, data: bytes) -> None:
        self._size += len(data)
        self._parts.append(data)
        if self._size > SAVED_BYTES_MAX:
            self._parts.clear()


class Idempotency:
    """Serves requests that carry an Idempotency-Key."""

    def __init__(self, records: Records, clock: Clock) -> None:
        """Keep claims and answers in `records`."""
        self._records = records
        self._clock = clock
        self._hour = 0
        """Every row claimed in an earlier hour since 1970 is forgotten."""

    async def serve(
        self, context: RequestContext, key: bytes, inquiry: Inquiry, client: Client, line: Line
    ) -> None:
        """Serve the request once, or replay what was answered. Raises IdempotencyConflict."""
        if not 1 <= len(key) <= KEY_BYTES_MAX:
            raise Invalid(
                "The Idempotency-Key is empty or too long.",
                field="Idempotency-Key",
                value=len(key),
                limit=KEY_BYTES_MAX,
            )
        row_id = hashlib.sha256(b"%b|%b" % (context.principal.key_id.encode(), key)).hexdigest()
        claim = Saved(
            fingerprint=_fingerprint(inquiry),
            request_id=context.request_id,
            claimed_s=self._clock.wall_s(),
        )
        earlier = await self._claim(row_id, claim)
        if earlier is not None:
            _replay(earlier, claim, client)
            return
        recorder, story = Recorder(client), Story(context, self._clock, inquiry.face.name)
        try:
            await line.serve(context, inquiry, recorder, story)
        except (PenstockError, asyncio.CancelledError) as error:
            if not story.attempts:  # nothing was spent: the caller may mend its request and use the key again
                await self._put(row_id, None)
                raise
            if isinstance(error, PenstockError) and not recorder.started:
                recorder.send(*inquiry.face.error_reply(error, context.request_id))
            if recorder.started:
                await self._put(row_id, recorder.saved(claim))
            if not isinstance(error, PenstockError):
                raise
        else:
            await self._put(row_id, recorder.saved(claim))
        await self._sweep()

    async def _claim(self, row_id: str, claim: Saved) -> Saved | None:
        """Claim the key durably; returns the earlier claim if somebody was first and it still counts."""
        try:
            await self._put(row_id, claim, expected=0)
        except StaleVersion:
            row = await self._records.get(COLLECTION.name, TENANT, row_id)
            if row is None:
                return await self._claim_again(row_id, claim, 0)
            earlier = msgspec.json.decode(row.value, type=Saved)
            if claim.claimed_s - earlier.claimed_s < KEPT_S:
                return earlier
            return await self._claim_again(row_id, claim, row.version)
        return None

    async def _claim_again(self, row_id: str, claim: Saved, version: int) -> None:
        try:
            await self._put(row_id, claim, expected=version)
        except StaleVersion:
            raise IdempotencyConflict(retry_after_s=1) from None

    async def _put(self, row_id: str, saved: Saved | None, expected: int | None = None) -> None:
        hour = {} if saved is None else {"hour": str(int(saved.claimed_s) // HOUR_S)}
        value = None if saved is None else msgspec.json.encode(saved)
        await self._records.transact([_write(row_id, value, expected, hour)])

    async def _sweep(self) -> None:
        """Forget a few rows past their time; more than one request can add, so what is kept stays bounded."""
        last = int(self._clock.wall_s() - KEPT_S) // HOUR_S - 1
        self._hour = max(self._hour, last - LOOKED_BACK_HOURS)
        for _ in range(SWEPT_HOURS):
            if self._hour > last:
                return
            rows = await self._records.find(
                COLLECTION.name, TENANT, "hour", str(self._hour), limit=SWEPT_ROWS
            )
            if rows:
                with suppress(StaleVersion):  # another node sweeps too
                    await self._records.transact([_write(row.id, None, row.version, {}) for row in rows])
                return
            self._hour += 1


def _fingerprint(inquiry: Inquiry) -> str:
    """Return what tells one request from another; some dialects name the model in the path."""
    return hashlib.sha256(b"%b\n%b" % (inquiry.path.encode(), inquiry.body)).hexdigest()


def _write(row_id: str, value: bytes | None, expected: int | None, indexed: dict[str, str]) -> Write:
    return Write(
        collection=COLLECTION.name, tenant=TENANT, id=row_id, value=value, expected=expected, indexed=indexed
    )


def _replay(earlier: Saved, claim: Saved, client: Client) -> None:
    if earlier.fingerprint != claim.fingerprint:
        raise IdempotencyConflict(
            "This Idempotency-Key was used with another body.",
            field="Idempotency-Key",
            value=earlier.request_id,
            remedy="Use a new key for a new request.",
        )
    if earlier.status == 0:
        raise IdempotencyConflict(
            "The first request with this Idempotency-Key has not ended, or was interrupted.",
            field="Idempotency-Key",
            value=earlier.request_id,
            retry_after_s=1,
            remedy="Wait for it; if it was interrupted, use a new key (it may have been billed as an estimate).",
        )
    if earlier.too_large:
        raise IdempotencyConflict(
            "The first answer was too large to keep.",
            field="Idempotency-Key",
            value=earlier.request_id,
            limit=SAVED_BYTES_MAX,
        )
    headers = earlier.headers.encode("latin-1") + b"idempotent-replayed: true\r\n"
    client.send(earlier.status, headers, b64decode(earlier.body))
