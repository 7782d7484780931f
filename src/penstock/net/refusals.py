"""The refusals an HTTP server makes on its own, before any route is known. Each carries its HTTP status and code.

They are kernel errors, so the edge renders them like any other: `error.status`, `error.reason`, `error.remedy`.
"""

from __future__ import annotations

from penstock.kernel.errors import Forbidden, Invalid, TimedOut, TooLarge


class MalformedRequest(Invalid):
    """The request is not well-formed HTTP/1.1."""

    code = "malformed_request"


class HostRefused(Invalid):
    """The Host header is missing, repeated, malformed or not served here."""

    code = "host_refused"


class TargetRefused(Invalid):
    """The request target could be read in two ways, so it is read in none."""

    code = "target_refused"


class TargetTooLong(TooLarge):
    """The request target is longer than this server accepts."""

    code, status = "target_too_long", 414


class HeadTooLarge(TooLarge):
    """The header fields are larger than this server accepts."""

    code, status = "headers_too_large", 431


class BodyTooLarge(TooLarge):
    """The request body is larger than this server accepts."""

    code = "request_too_large"


class MethodRefused(Invalid):
    """This method is not served."""

    code, status = "method_not_allowed", 405


class ExpectationRefused(Invalid):
    """The only expectation this server meets is `100-continue`."""

    code, status = "expectation_failed", 417


class VersionRefused(Invalid):
    """Only HTTP/1.1 and HTTP/1.0 are spoken here."""

    code = "version_not_supported"


class SlowRequest(TimedOut):
    """The request took too long to arrive."""

    code, status = "request_timeout", 408


class CrossOriginRefused(Forbidden):
    """This origin may not call from a browser. Add it to the allowed origins."""

    code = "origin_refused"
