"""A provider that says what it was told: the last message as its answer, streamed or whole, or as its error.

Promise: the text comes back byte for byte, in the vendor's own forms; a message that begins with `REFUSE` is refused
with the rest of it as the provider's words.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

REFUSE = "refuse: "
SLICE = 7
"""Characters in each piece of a streamed answer."""


class _Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    heard: deque[str]

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        text = str(asked["messages"][-1]["content"])
        self.heard.append(text)
        if text.startswith(REFUSE):
            self._tell(400, {"error": {"message": text.removeprefix(REFUSE), "type": text, "code": text}})
        elif asked.get("stream"):
            self._stream(text)
        else:
            message = {"role": "assistant", "content": text}
            self._tell(200, _whole({"message": message, "finish_reason": "stop"}, "chat.completion"))

    def _tell(self, status: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, text: str) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        pieces = [text[at : at + SLICE] for at in range(0, len(text), SLICE)]
        for piece in pieces:
            self._event({"delta": {"content": piece}, "finish_reason": None})
        self._event({"delta": {}, "finish_reason": "stop"})
        self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, choice: dict[str, Any]) -> None:
        document = _whole(choice, "chat.completion.chunk")
        self.wfile.write(f"data: {json.dumps(document)}\n\n".encode())

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def _whole(choice: dict[str, Any], kind: str) -> dict[str, Any]:
    usage = {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}
    return {
        "id": "chatcmpl-echo",
        "object": kind,
        "created": 1_700_000_000,
        "model": "echo",
        "choices": [{"index": 0, **choice}],
        "usage": usage,
    }


@contextmanager
def echo(heard: deque[str] | None = None) -> Iterator[str]:
    """Serve on a free port; yields the base URL. What it is told goes to `heard` too."""
    told = deque[str](maxlen=0) if heard is None else heard
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("_Echo", (_Echo,), {"heard": told}))
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        serving.join(5)
