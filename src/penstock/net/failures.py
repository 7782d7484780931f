"""How a call to an upstream can fail. Each error says in `dispatched` whether the request may have reached the server.

| code (`error.reason`) | class | dispatched | what happened |
|---|---|---|---|
| `connect_failed` | CallFailed | no | DNS, refused, unreachable, TLS or proxy trouble |
| `connect_timeout` | CallTimedOut | no | no connection within `connect_s` |
| `pool_full` | CallRefused | no | every connection of the origin is in use and the queue is full |
| `pool_timeout` | CallRefused | no | none became free within `connect_s` |
| `client_closed` | CallRefused | no | the client was closed before the call |
| `connection_reset` | CallFailed | yes | closed before a reply began |
| `first_byte_timeout` | CallTimedOut | yes | no complete reply head within `first_byte_s` |
| `malformed_reply` | CallFailed | yes | not HTTP/1.1, or a head over its bounds |
| `upstream_cut` | CallFailed | yes | the body ended early |
| `upstream_stalled` | CallTimedOut | yes | silence for `between_chunks_s` while we were reading |
| `upstream_total_timeout` | CallTimedOut | yes | `total_s` is over |
| `reply_too_large` | CallFailed | yes | a body over the cap given to `read` |
| `closed` | CallFailed | yes | read after `close`, or the client was closed |
"""

from __future__ import annotations

from penstock.kernel.errors import Overloaded, TimedOut, Upstream


class CallFailed(Upstream):
    """The call to the upstream failed."""

    def __init__(self, message: str, *, code: str, dispatched: bool = True, limit: object = None) -> None:
        """`dispatched`: whether the request may have reached the upstream."""
        super().__init__(message, code=code, limit=limit)
        self.dispatched = dispatched


class CallTimedOut(TimedOut):
    """A timer of the call to the upstream ran out."""

    def __init__(self, message: str, *, code: str, dispatched: bool = True, limit: object = None) -> None:
        """`dispatched`: whether the request may have reached the upstream."""
        super().__init__(message, code=code, limit=limit)
        self.dispatched = dispatched


class CallRefused(Overloaded):
    """No connection to the upstream was free."""

    def __init__(self, message: str, *, code: str, limit: object = None) -> None:
        """Never dispatched: nothing was sent."""
        super().__init__(message, code=code, limit=limit, retry_after_s=1.0)
        self.dispatched = False


CallError = CallFailed | CallTimedOut | CallRefused
