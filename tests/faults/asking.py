"""A caller of the fault suite: one request in any dialect, read to its end or left, and what was told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

from penstock.net.client import CallFailed, HttpClient, Origin, Response, Timers
from penstock.net.sse import SseSplitter

TIMERS = Timers(connect_s=5.0, first_byte_s=20.0, between_chunks_s=20.0, total_s=20.0)
_ENDS = {
    "openai": b"[DONE]",
    "anthropic": b"message_stop",
    "gemini": b'"finishReason"',
    "responses": b"response.completed",
    "completions": b"[DONE]",
    "array": b'"finishReason"',
}
_ANSWERS = {
    "openai": b'"choices"',
    "anthropic": b'"stop_reason"',
    "gemini": b'"usageMetadata"',
    "responses": b'"output"',
    "completions": b'"choices"',
    "array": b'"usageMetadata"',
}


@dataclass
class Told:
    """What a caller got; status 0 when it left before anything came."""

    face: str
    stream: bool
    kept: bool = False
    """Whether an answer may be kept, and a kept one told."""
    status: int = 0
    body: bytes = b""
    retry_after_s: int | None = None
    by: str = ""
    """What stood in, as the headers say."""

    @property
    def whole(self) -> bool:
        """Whether the answer carries its success mark, and no error."""
        mark = (_ENDS if self.stream else _ANSWERS)[self.face]
        is_stream = self.body.startswith((b"data:", b"event:") if self.face != "array" else b"[")
        return self.status in (200, 202) and is_stream == self.stream and mark in self.body and not self.code

    @property
    def code(self) -> str:
        """The typed error, in-band or not; "" for none."""
        for data in self._events() if self.stream and self.status == 200 else [self.body]:
            with suppress(ValueError):  # not JSON: no error either
                value: Any = json.loads(data)
                if error := value.get("error"):
                    return _code(self.face, cast("dict[str, Any]", error))
        return ""

    @property
    def in_band(self) -> bool:
        """Whether an error came inside an answer that had begun with 200."""
        return self.status == 200 and bool(self.code)

    @property
    def in_sequence(self) -> bool:
        """Whether the events count from 0 without a gap, where their dialect numbers them."""
        if self.face != "responses" or not self.stream or self.status != 200:
            return True
        numbers = [json.loads(data)["sequence_number"] for data in self._events()]
        return numbers == list(range(len(numbers)))

    def _events(self) -> list[bytes]:
        if self.face == "array":
            return [json.dumps(element).encode() for element in json.loads(self.body)]
        lines = b"".join(SseSplitter().feed(self.body)).split(b"\n")
        return [line.removeprefix(b"data: ") for line in lines if line.startswith(b"data: ")]


def _code(face: str, error: dict[str, Any]) -> str:
    """Return an error's typed code where the dialect has it."""
    if face == "anthropic":
        return str(error["details"]["error_code"])
    if face in ("gemini", "array"):
        return str(error["details"][0]["reason"]).lower()
    return str(error["code"])


def request_of(face: str, model: str, *, stream: bool) -> tuple[str, dict[str, Any]]:
    """Return path and body of one question to `model`."""
    text = f"What of {model}?"
    messages = [{"role": "user", "content": text}]
    match face:
        case "anthropic":
            return "/v1/messages", {"model": model, "max_tokens": 200, "messages": messages, "stream": stream}
        case "gemini" | "array":
            sse = "?alt=sse" if face == "gemini" else ""
            verb = f"streamGenerateContent{sse}" if stream else "generateContent"
            contents = [{"role": "user", "parts": [{"text": text}]}]
            config = {"maxOutputTokens": 200}
            return f"/v1beta/models/{model}:{verb}", {"contents": contents, "generationConfig": config}
        case "responses":
            return "/v1/responses", {
                "model": model,
                "input": text,
                "stream": stream,
                "max_output_tokens": 200,
            }
        case "completions":
            return "/v1/completions", {"model": model, "prompt": text, "stream": stream, "max_tokens": 200}
        case _:
            return "/v1/chat/completions", {
                "model": model, "messages": messages, "stream": stream, "max_completion_tokens": 200
            }  # fmt: skip


async def ask(
    port: int, token: str, model: str, told: Told, *, leaves: str, called: Callable[[], bool]
) -> None:
    """Ask once and write down what is `told`; leave "early" (as soon as `called()`) or "midway" (content has come)."""
    client = HttpClient()
    path, body = request_of(told.face, model, stream=told.stream)
    lines = (
        f"authorization: Bearer {token}\r\ncontent-type: application/json\r\n"
        f"x-penstock-feature: {model}\r\nx-prefer-cached: {str(told.kept).lower()}\r\n"
    ).encode()
    origin = Origin("http", "127.0.0.1", port)
    asking = asyncio.create_task(
        client.request(origin, b"POST", path.encode(), lines, json.dumps(body).encode(), TIMERS)
    )
    try:
        if leaves == "early":
            while not called():
                await asyncio.sleep(0.01)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            return
        await _read(await asking, told, leaves)
    finally:
        await client.close()


async def _read(response: Response, told: Told, leaves: str) -> None:
    told.status = response.status
    waits = response.header(b"retry-after")
    told.retry_after_s = None if waits is None else int(waits)
    with suppress(CallFailed):  # a reply that breaks off has no success mark, which is what is judged
        while data := await response.chunk():
            told.body += data
            if leaves == "midway" and told.body.count(b"data:") > 3:
                break
    response.close()
    told.by = _stood_in(response, told.body)


def _stood_in(response: Response, body: bytes) -> str:
    """Return what stood in for the route's own back ends, as the headers say; an error says it in words."""
    written = (response.header(b"x-penstock-answer") or b"").decode()
    if written:
        return written
    if (response.header(b"x-penstock-cache") or b"").startswith(b"stale"):
        return "stale"
    if response.header(b"x-penstock-later") is not None:
        return "later"
    if b"in place of" in (response.header(b"x-penstock-route") or b""):
        return "other"
    return "nobody" if b"Tried in its place" in body else ""
