"""The doors: in by the owner's link, by password, through an OpenID provider, and out again.

The identity provider's own pages are foreign: they are operated, not judged.
"""

from __future__ import annotations

import re
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from penstock.kernel.settings import OidcSettings
from penstock.mechanisms.changes import THE_PLATFORM
from penstock.simulator.server import SimulatorOptions
from penstock.wiring.owner import write_private
from tests.browser.theatre import OWNER, PASSWORD, SPEEDS, House, house
from tests.browser.walk import Walk
from tests.oidc_provider import SECRETS, provider

SSO = "Acme SSO"
GUEST = "kim"


@contextmanager
def house_with_sso(
    simulator: SimulatorOptions | None = None, *, called: str = SSO, **sections: Any
) -> Iterator[House]:
    """Put up a platform with a real OpenID provider beside it; somebody is invited who signs in there.

    `called` is the provider's name; `sections` are of the settings (tests/stage).
    """
    with tempfile.TemporaryDirectory(prefix="penstock-doors-") as name, socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        back = f"http://127.0.0.1:{sock.getsockname()[1]}/console/sign-in/oidc/back"
        secrets = Path(name) / "data" / "secrets"
        secrets.mkdir(parents=True, mode=0o700)
        write_private(secrets / "provider", SECRETS["basic"])
        with provider([back]) as issuer:
            oidc = OidcSettings(issuer=issuer, name=called, client_id="basic", client_secret="provider")
            simulated = simulator or SimulatorOptions(speeds=SPEEDS)
            with house(Path(name), simulator=simulated, sock=sock, auth={"oidc": oidc}, **sections) as it:
                invited = it.stage.platform.people.invite(
                    THE_PLATFORM, f"{GUEST}@example.org", "Kim", "developer", org="default", team="search"
                )
                it.run(invited)
                yield it


def owner_link(walk: Walk) -> None:
    """Become the first owner by the link that a first start prints."""
    page = walk.page
    page.goto(walk.house.owner_link())
    walk.sees("Become the owner")
    walk.look("the owner's link")
    walk.write("Your name", "Ada Lovelace")
    walk.write("Email", OWNER)
    walk.write("Password", PASSWORD)
    walk.write("The same again", f"{PASSWORD} not")
    with walk.refusal(400):
        walk.button("Become the owner")
        page.get_by_role("alert").wait_for()
    walk.look("the owner's link: two passwords")
    walk.write("Password", PASSWORD)
    walk.write("The same again", PASSWORD)
    walk.button("Become the owner")
    walk.sees("Overview")


def sign_out(walk: Walk) -> None:
    walk.button("Sign out")
    walk.reads("You are signed out.")
    walk.look("signed out")


def password(walk: Walk) -> None:
    """Sign in with a wrong password, then the right one, and be where one wanted to go."""
    page = walk.page
    page.goto(walk.house.console("/costs?by=team"))
    walk.sees("Sign in")
    walk.look("sign in")
    walk.write("Email", OWNER)
    walk.write("Password", f"{PASSWORD} not")
    with walk.refusal(401):
        walk.button("Sign in")
        page.get_by_role("alert").wait_for()
    walk.look("sign in: refused")
    walk.write("Password", PASSWORD)
    walk.button("Sign in")
    page.wait_for_url(re.compile(r"/costs\?by=team"))


def single_sign_on(walk: Walk) -> None:
    """Sign in through the OpenID provider, as somebody who was invited; then out again."""
    page = walk.page
    page.goto(walk.house.console("/sign-in"))
    walk.link(f"Continue with {SSO}")
    page.wait_for_url(re.compile("/interaction/"))
    walk.write(page.locator("input[name=login]"), GUEST)
    walk.write(page.locator("input[name=password]"), "any")
    walk.press(page.locator("button[type=submit]"))
    walk.press(page.get_by_role("button", name="Continue"))
    page.wait_for_url(re.compile("/console/(?!sign-in)"))
    page.get_by_text(f"{GUEST}@example.org").or_(page.get_by_text("Kim")).first.wait_for()
    walk.look("signed in through the provider")
