"""Ours with one feature switched on, or off, and the callers that meet it (`tests/bench/features.py`)."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Mapping
from http.client import HTTPConnection

from tests.bench import payload
from tests.bench.features import Feature
from tests.bench.peers.base import NotRunnable
from tests.bench.peers.penstock import Penstock

_PROOF_LIMIT_S = 10.0


class Featured(Penstock):
    """One process of the gateway. `running()` has proved that what it is measured with is on, or off."""

    def __init__(self, upstream_port: int, feature: Feature, *, is_on: bool) -> None:
        super().__init__(upstream_port)
        self.feature, self.is_on = feature, is_on
        self.side = feature.on if is_on else feature.off
        self.name = f"penstock-{'on' if is_on else 'off'}"
        if self.side.is_anthropic:
            self.path = "/v1/messages"

    def stores(self) -> str:
        return self.side.settings.replace("PORT", str(self.upstream_port))

    def after_start(self) -> None:
        super().after_start()
        for method, path, body in self.side.managed:
            self._manage(method, path, body)

    def headers(self) -> Mapping[str, str]:
        return {**super().headers(), **self.side.headers}

    def body(self, *, stream: bool, paced: bool = False) -> bytes:
        """The JSON every caller sends: no two runs the same where no two requests are to be."""
        words = self.feature.words
        if payload.NTH_MARK in words:
            words += f" {secrets.token_hex(4)}"
        return self._body(words, stream=stream, paced=paced)

    def prove(self) -> None:
        """One answer of the load's kind, and what the feature shows of itself; `NotRunnable` when it is not as said."""
        body = self._body(
            self.feature.trial or self.feature.words, stream=self.feature.load.stream, paced=False
        )
        deadline_s = time.monotonic() + _PROOF_LIMIT_S
        while self.feature.shows:
            told = self._told(body)
            if (re.search(self.feature.shows, told) is not None) is self.is_on:
                return
            if not self.is_on or time.monotonic() > deadline_s:
                raise NotRunnable(
                    f"{self.name}: {self.feature.name!r} is not {self.name[9:]}: {told[:2_000]}"
                )
        self._told(body)

    def _body(self, words: str, *, stream: bool, paced: bool) -> bytes:
        if self.side.is_anthropic:
            return payload.messages_body(self.model, stream=stream)
        return payload.request_body(
            self.model, stream=stream, paced=paced, words=words, members=self.feature.members
        )

    def _told(self, body: bytes) -> str:
        """Ask once; return the answer, the request's record and the metrics, as text."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(
                "POST", self.path, body, {"Content-Type": "application/json", **self.headers()}
            )
            reply = connection.getresponse()
            head = "\n".join(f"{name}: {value}" for name, value in reply.getheaders())
            text = reply.read().decode()
            if reply.status != 200:
                raise NotRunnable(f"{self.name}: {reply.status}: {text[:500]}")
            record = self._record(connection, reply.headers["x-request-id"])
            return f"{head}\n{text}\n{record}\n{self._page(connection, '/metrics')[1]}"
        finally:
            connection.close()

    def _record(self, connection: HTTPConnection, request_id: str) -> str:
        """The record of a request, as soon as there is one."""
        deadline_s = time.monotonic() + _PROOF_LIMIT_S
        while time.monotonic() < deadline_s:
            status, text = self._page(connection, f"/api/v1/requests/{request_id}")
            if status == 200:
                return json.dumps(json.loads(text))
            time.sleep(0.05)
        raise NotRunnable(f"{self.name}: no record of {request_id}: {text[:300]}")

    def _page(self, connection: HTTPConnection, path: str) -> tuple[int, str]:
        connection.request("GET", path, headers={"Authorization": f"Bearer {self._owner}"})
        reply = connection.getresponse()
        return reply.status, reply.read().decode()
