"""From the raw bytes of one request head to a checked Request, or to a refusal that says why.

llhttp (through httptools) does the grammar: it refuses bare LF, obs-fold, blanks before the colon, bad names, NUL and
control bytes, repeated or non-numeric Content-Length, and Content-Length beside Transfer-Encoding (each is a row of
the test table). What it lets through and we do not is checked here: a second blank in the request line, RTSP and odd
versions, codings before `chunked`, chunked in HTTP/1.0, repeated single-valued fields, a missing or foreign Host,
an absolute target that disagrees with Host, and every path that two programs could read differently.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from penstock.net.http1 import Headers
from penstock.net.limits import ServerLimits
from penstock.net.refusals import (
    BodyTooLarge,
    ExpectationRefused,
    HeadTooLarge,
    HostRefused,
    MalformedRequest,
    MethodRefused,
    TargetRefused,
    TargetTooLong,
    VersionRefused,
)

CHUNKED = -1
"""`Request.length` of a body whose length only its chunks tell."""

METHODS = {m.encode(): m for m in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")}
_VERSIONS = {b" HTTP/1.1": 1, b" HTTP/1.0": 0}
_SINGLE = frozenset(
    (
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"authorization",
        b"content-type",
        b"expect",
        b"origin",
    )
)
# RFC 3986 path characters without `;`: parameters are the classic way to make two programs see two paths.
_PATH = re.compile(rb"/[A-Za-z0-9\-._~!$&'()*+,=:@/%]*+")
_QUERY = re.compile(rb"[!\"$-~]*+")  # visible ASCII without `#`
_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})|%(?:[01][0-9A-Fa-f]|2[EeFf]|5[Cc]|7[Ff])")
_DOTS = re.compile(rb"/\.\.?(?:/|$)")
_HOST = re.compile(rb"(?:[a-z0-9_](?:[a-z0-9\-._]*)|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_KNOWN_LINES = 256  # accepted request lines that are remembered: a gateway is called on a handful of paths
_KNOWN_LINE_BYTES = 256
_KNOWN_HOSTS = (
    256  # spellings of an accepted Host that are remembered, so that the common one costs a look-up
)


class Request:
    """One request, complete. `path` is the raw ASCII path (never decoded), checked to have only one reading."""

    __slots__ = (
        "body", "expects_continue", "header", "headers", "keep_alive", "length", "method", "minor", "path", "peer",
        "query", "received_ns",
    )  # fmt: skip

    def __init__(
        self, method: str, path: str, query: bytes, headers: Headers, fields: dict[bytes, bytes]
    ) -> None:
        """Build it from a checked head; the connection fills `body`, `peer` and `received_ns`."""
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.header: Callable[[bytes], bytes | None] = fields.get
        """``header(name)``: the first value of `name` (lower-case bytes), or None."""
        self.body = b""
        self.peer = ""
        self.received_ns = 0
        self.length = 0
        self.minor = 1
        self.keep_alive = True
        self.expects_continue = False


class HeadParser:
    """Turns complete heads (through the empty line) into Requests. One serves all connections of a loop."""

    __slots__ = ("_hosts", "_known_hosts", "_limits", "_lines", "_named_below", "headers")

    def __init__(
        self,
        limits: ServerLimits,
        allowed_hosts: frozenset[str] | None = None,
        named_below: tuple[str, ...] = (),
    ) -> None:
        """`allowed_hosts` holds names with or without a port; None serves any well-formed Host. Below `named_below`,
        what is read (GET) has a name that may hold slashes, escaped or not.
        """
        self._limits = limits
        self._named_below = tuple([prefix.encode() for prefix in named_below])
        self._hosts = None if allowed_hosts is None else {name.lower().encode() for name in allowed_hosts}
        self._known_hosts: set[bytes] = set()
        self._lines: dict[bytes, tuple[str, str, bytes, int]] = {}
        self.headers: Headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field of the head; leading blanks are gone, trailing ones are not."""
        self.headers.append((name.lower(), value.rstrip()))

    def parse(self, head: bytes) -> Request:
        """Parse and check one head of at most `header_bytes`. Raises the classes of `refusals`."""
        line = head[: head.find(b"\r\n")]
        known = self._lines.get(line)
        minor = _minor_version(line) if known is None else known[3]
        headers: Headers = []
        self.headers = headers
        parser = HttpRequestParser(self)  # 0.2 us; a used one could carry state from one client to the next
        try:
            parser.feed_data(head)
        except HttpParserUpgrade:
            pass  # an Upgrade may be ignored (RFC 9110 section 7.8); CONNECT is refused below
        except HttpParserError as error:
            raise MalformedRequest(f"Malformed HTTP request: {error}.") from None
        if len(headers) > self._limits.header_count:
            raise HeadTooLarge(
                "Too many header fields.",
                value=len(headers),
                limit=self._limits.header_count,
                field="headers",
            )
        fields = dict(headers)
        if len(fields) != len(headers):
            fields = _first_values(headers)
        host = fields.get(b"host")
        if known is None:
            known = self._read_line(line, host or b"", minor)
        request = Request(known[0], known[1], known[2], headers, fields)
        request.minor = minor
        self._frame(request, fields)
        if minor == 0 or host is None:
            self._old_version(request, host)
        if host is not None and host not in self._known_hosts:
            self._check_host(host)
        return request

    def _read_line(self, line: bytes, host: bytes, minor: int) -> tuple[str, str, bytes, int]:
        """Method, path and query of a request line llhttp accepts; the plain ones are remembered."""
        word, target = line.split(b" ")[:2]
        method = METHODS.get(word)
        if method is None:
            raise MethodRefused(value=word.decode("ascii"), limit=", ".join(METHODS.values()))
        path, query = self._split_target(target, host, word)
        known = (method, path, query, minor)
        if (
            not query
            and target[:1] == b"/"
            and len(line) <= _KNOWN_LINE_BYTES
            and len(self._lines) < _KNOWN_LINES
        ):
            self._lines[line] = known
        return known

    def _frame(self, request: Request, fields: dict[bytes, bytes]) -> None:
        """Decide where the body ends and whether the connection stays."""
        length = fields.get(b"content-length")
        if length is not None:
            request.length = int(length)  # llhttp let only digits through
            if request.length > self._limits.body_bytes:
                raise BodyTooLarge(field="body", value=request.length, limit=self._limits.body_bytes)
        coding = fields.get(b"transfer-encoding")
        if coding is not None:
            if coding.lower() != b"chunked" or request.minor == 0:
                raise MalformedRequest("The only transfer coding served is `chunked`, in HTTP/1.1.")
            request.length = CHUNKED
        connection = fields.get(b"connection")
        if connection is not None and connection != b"keep-alive":
            request.keep_alive = b"close" not in _tokens(request.headers, b"connection")
        expect = fields.get(b"expect")
        if expect is not None:
            if expect.lower() != b"100-continue":
                raise ExpectationRefused(field="expect")
            request.expects_continue = request.length != 0 and request.minor == 1

    def _old_version(self, request: Request, host: bytes | None) -> None:
        """HTTP/1.0 keeps the connection only when it asks to, and may lack Host where any host is served."""
        if host is None and (request.minor == 1 or self._hosts is not None):
            raise HostRefused(
                "The Host header is missing.", field="host", remedy="Send exactly one Host header."
            )
        request.keep_alive = b"keep-alive" in _tokens(request.headers, b"connection") and request.keep_alive

    def _check_host(self, host: bytes) -> None:
        """Refuse a Host that is malformed or not ours; remember accepted spellings."""
        name = host.lower()
        if not _HOST.fullmatch(name):
            raise HostRefused("The Host header is malformed.", field="host")
        if self._hosts is not None and name not in self._hosts and _without_port(name) not in self._hosts:
            raise HostRefused(
                "This host is not served here.", field="host", remedy="Add it to the allowed hosts."
            )
        if len(self._known_hosts) < _KNOWN_HOSTS:
            self._known_hosts.add(host)

    def _split_target(self, target: bytes, host: bytes, method: bytes) -> tuple[str, bytes]:
        """The target as (path, query), refused unless it has only one reading."""
        if len(target) > self._limits.target_bytes:
            raise TargetTooLong(field="target", value=len(target), limit=self._limits.target_bytes)
        if target[:1] != b"/":
            target = _origin_form(target, host)
        path, mark, query = target.partition(b"?")
        if not _PATH.fullmatch(path):
            raise TargetRefused("The path holds a character that must be escaped.", field="path")
        read = path
        if b"%2" in path and method == b"GET" and path.startswith(self._named_below):
            # Whoever unescapes its slashes early reads the same name: so it is checked as they would read it.
            read = path.replace(b"%2F", b"/").replace(b"%2f", b"/")
        if (b"/." in read or b"//" in read or b"%" in read) and (reason := _path_confusion(read)):
            raise TargetRefused(
                f"The path is ambiguous: {reason}.", field="path", remedy="Send the plain path."
            )
        if mark and not _QUERY.fullmatch(query):
            raise TargetRefused("The query holds a character that must be escaped.", field="query")
        return path.decode("ascii"), query


def _minor_version(line: bytes) -> int:
    """1 or 0 from the request line; refuses other versions and lines that are not three words."""
    minor = _VERSIONS.get(line[-9:])
    if minor is None:
        if re.fullmatch(rb"[^\r\n]* HTTP/[0-9](?:\.[0-9])?", line):
            raise VersionRefused(value=line[-8:].decode("latin-1").strip())
        raise MalformedRequest("Malformed HTTP request: the request line does not end in an HTTP version.")
    if line.count(b" ") != 2:
        raise MalformedRequest(
            "Malformed HTTP request: the request line is not three words with single blanks."
        )
    return minor


def _first_values(headers: Headers) -> dict[bytes, bytes]:
    """Fields by name, first value winning; refuses a repetition that changes meaning by who reads it."""
    fields: dict[bytes, bytes] = {}
    for name, value in headers:
        if name not in fields:
            fields[name] = value
        elif name in _SINGLE:
            kind = HostRefused if name == b"host" else MalformedRequest
            raise kind(f"The header {name.decode()} is repeated.", field=name.decode())
    return fields


def _tokens(headers: Headers, name: bytes) -> set[bytes]:
    """The comma-separated words of every field called `name`, in lower case."""
    joined = b",".join(value for field, value in headers if field == name)
    return {word.strip().lower() for word in joined.split(b",")}


def _without_port(host: bytes) -> bytes:
    """`name:8080` as `name`; an IPv6 literal keeps its brackets."""
    return host[: host.index(b"]") + 1] if host.startswith(b"[") else host.partition(b":")[0]


def _origin_form(target: bytes, host: bytes) -> bytes:
    """An absolute-form target as path and query, when its authority is the Host; anything else is refused."""
    match = re.fullmatch(rb"https?://([^/?#]*)(/[^#]*)?", target, re.IGNORECASE)
    if match is None:
        raise TargetRefused("The target must start with `/`.", field="target")
    if match[1].lower() != host.lower() or not host:
        raise TargetRefused("The target's authority differs from the Host header.", field="target")
    return match[2] or b"/"


def _path_confusion(path: bytes) -> str:
    """Why two programs could read this path differently; empty when they cannot."""
    if b"//" in path:
        return "it has an empty segment (`//`)"
    if _DOTS.search(path):
        return "it has a `.` or `..` segment"
    if _ESCAPE.search(path):
        return "it escapes a dot, a slash, a backslash or a control byte, or an escape is cut short"
    return ""
