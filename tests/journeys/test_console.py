"""The console on a whole platform: from `/` to the door, in by the owner's link, a request seen, and out again."""

from __future__ import annotations

import asyncio
import http.client
import re
from http.cookies import SimpleCookie
from urllib.parse import urlencode

import pytest

from penstock.sdk.client import Client
from tests.stage import MODEL, Stage, stage
from tests.support import run

PASSWORD = "the water turns the wheel"


class Window:
    """A browser without a window: one call at a time, cookies kept."""

    def __init__(self, it: Stage) -> None:
        self.port = it.platform.port
        self.jar: dict[str, str] = {}

    async def ask(self, method: str, path: str, form: dict[str, str] | None = None) -> tuple[int, str, str]:
        """Return status, `Location` and text."""
        return await asyncio.to_thread(self._ask, method, path, form)

    def _ask(self, method: str, path: str, form: dict[str, str] | None) -> tuple[int, str, str]:
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        headers = {"cookie": "; ".join(f"{name}={value}" for name, value in self.jar.items())}
        if form is not None:
            headers |= {"content-type": "application/x-www-form-urlencoded", "sec-fetch-site": "same-origin"}
        line.request(method, path, urlencode(form or {}), headers)
        reply = line.getresponse()
        text = reply.read().decode()
        for cookie in reply.headers.get_all("set-cookie") or ():
            for name, morsel in SimpleCookie(cookie).items():
                self.jar[name] = morsel.value
        line.close()
        return reply.status, reply.headers.get("location", ""), text


def test_from_the_address_to_the_first_answer_seen_and_out_again(tmp_path):
    async def journey() -> None:
        async with stage(tmp_path) as it:
            window = Window(it)
            for path, target in (
                ("/", "/console/"),
                ("/console", "/console/"),
                ("/console/", "/console/sign-in"),
            ):
                assert (await window.ask("GET", path))[:2] == (303, target)

            token = await it.platform.people.owner_link()
            given = {
                "token": token,
                "email": "ada@acme.example",
                "name": "Ada",
                "password": PASSWORD,
                "again": PASSWORD,
            }
            assert (await window.ask("POST", "/console/link", given))[:2] == (303, "/console/")
            status, _, first = await window.ask("GET", "/console/")
            assert (status, "No request has come through yet" in first) == (200, True)

            caller = await it.caller()
            async with Client(f"http://127.0.0.1:{it.platform.port}", caller.token) as client:
                answer = await client.chat.create(
                    model=MODEL, messages=[{"role": "user", "content": "Hello"}]
                )
            async with asyncio.timeout(10):
                while (found := await window.ask("GET", f"/console/requests/{answer.request_id}"))[0] != 200:
                    await asyncio.sleep(0.05)
            assert "Waterfall" in found[2]
            async with asyncio.timeout(10):
                while answer.request_id not in (await window.ask("GET", "/console/requests?org=acme"))[2]:
                    await asyncio.sleep(0.05)

            csrf = re.search(r'name="csrf" content="([^"]+)"', found[2])[1]
            kept = dict(window.jar)
            assert (await window.ask("POST", "/console/sign-out", {"csrf": csrf}))[1] == "/console/sign-in"
            window.jar = kept
            assert (await window.ask("GET", "/console/account"))[1].startswith("/console/sign-in")

    run(journey(), 60.0)


@pytest.mark.parametrize(("urls", "secure"), [((), False), (("https://penstock.example",), True)])
def test_behind_tls_the_cookie_is_bound_to_the_host_and_never_sent_in_the_clear(tmp_path, urls, secure):
    async def journey() -> None:
        async with stage(tmp_path, auth={"console_urls": urls}) as it:
            window = Window(it)
            token = await it.platform.people.owner_link()
            given = {
                "token": token,
                "email": "ada@acme.example",
                "name": "Ada",
                "password": PASSWORD,
                "again": PASSWORD,
            }
            await window.ask("POST", "/console/link", given)
            assert ("__Host-penstock_session" in window.jar) is secure

    run(journey(), 60.0)
