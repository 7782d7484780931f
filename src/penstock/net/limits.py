"""Every bound of the HTTP server in one frozen value. Sizes in bytes, times in seconds."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """The server's bounds; each has a defined refusal, named beside it."""

    header_bytes: int = 32 * KIB
    """Request line and header fields together; 431 past it."""
    header_count: int = 100
    """Header fields of one request; 431 past it."""
    target_bytes: int = 8 * KIB
    """Path and query together; 414 past it."""
    body_bytes: int = 8 * MIB
    """One request body; 413 past it, before it is read when its length is announced."""
    header_timeout_s: float = 10.0
    """From a head's first byte to its last; 408 past it."""
    body_timeout_s: float = 60.0
    """Grace for a body; it must then have kept `body_rate_bytes_per_s` on average; 408 past it."""
    body_rate_bytes_per_s: int = 16 * KIB
    """The slowest average rate of a body that is tolerated beyond the grace."""
    idle_timeout_s: float = 75.0
    """A kept-alive connection without a request is closed after this."""
    write_idle_s: float = 30.0
    """A client that takes none of the bytes waiting for it for this long is cut."""
    write_buffer_bytes: int = 64 * KIB
    """High-water mark of unsent reply bytes: past it `Responder.paused` is true."""
    pipeline_bytes: int = 64 * KIB
    """Bytes of further requests read ahead while one is being answered; past it the socket is not read."""
    linger_s: float = 5.0
    """After a refusal the rest of the upload is read and dropped this long, so that the client can read the reply."""
    connections: int = 10_000
    """Open connections; 503 and close past it."""
    in_flight: int = 4_096
    """Requests being handled at once; 503 with `retry-after` past it."""
    buffered_body_bytes: int = 256 * MIB
    """Request bodies held in memory by all connections together; 503 past it."""
    drain_grace_s: float = 1.0
    """While draining, how long a connection stays open without a request: the next one may be on its way."""
    backlog: int = 2_048
    """Connections the kernel queues before they are accepted."""
