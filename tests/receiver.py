"""A receiver of webhooks for tests: takes posts on a free port and checks their signatures by itself.

    with Receiver("a secret") as receiver:
        ... WebhookSettings(name="desk", url=receiver.url, secret="hook")
        receiver.told()                    the messages taken, in order, as JSON

Promise: it is Python's own `http.server`, and the signature is computed here from the words of Standard Webhooks 1.0; a
post that is not signed as it should be gets 401 and is told in `forged`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class Receiver:
    """Takes messages signed with one secret."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()
        self._messages: dict[str, dict[str, Any]] = {}
        self.forged: list[dict[str, str]] = []
        """The headers of posts that were not signed as they should be."""
        self.posts = 0

    def __enter__(self) -> Self:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                self.send_response(receiver.take({k.lower(): v for k, v in self.headers.items()}, body))
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """Where to post."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/hook"

    def take(self, headers: dict[str, str], body: bytes) -> int:
        """Take one post; returns the status of the answer."""
        self.posts += 1
        signed = f"{headers.get('webhook-id')}.{headers.get('webhook-timestamp')}.".encode() + body
        mac = base64.b64encode(hmac.new(self._secret, signed, hashlib.sha256).digest()).decode()
        if headers.get("webhook-signature") != f"v1,{mac}":
            self.forged.append(headers)
            return 401
        self._messages[headers["webhook-id"]] = json.loads(body)
        return 204

    def told(self, type: str = "") -> list[dict[str, Any]]:
        """Return the messages taken, each once, in order; those of one type if it is named."""
        return [each for each in self._messages.values() if each["type"].startswith(type)]
