"""One call of a browser, as a page's code sees it.

    Guest   the request, a client of the platform without a token, ways to answer
    Visit   a guest who signed in: a client under their session, and who they are

Promises: the client is closed when the call ends; what a person may not open they get a 403 for, without the page's
code running; a form reaches the page's code only with its CSRF token; an error becomes a page (or, for htmx, a
fragment) with the request's id and the remedy.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote, urlencode

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from penstock.console import navigation, security
from penstock.console.render import Renderer
from penstock.console.security import PREFIX
from penstock.kernel.allowance import Allowance
from penstock.kernel.clock import Clock
from penstock.kernel.errors import Invalid
from penstock.sdk.client import Client
from penstock.sdk.people import Me

FORM_FIELDS_MAX: Final = 200
AS_GIVEN: Final = frozenset({"password", "again"})
"""Fields whose surrounding space is theirs."""
NOTICE_BYTES_MAX: Final = 300
NOTICE_S: Final = 30
THEMES: Final = ("auto", "light", "dark")


@dataclass(frozen=True, slots=True)
class Console:
    """What every page shares. `connect` opens a client under a token ("" for none) for somebody at an address; `urls`
    are where people reach the console; `drawing` is what live pages may take of the event loop.
    """

    connect: Callable[[str, str], Client]
    renderer: Renderer
    clock: Clock
    secure: bool
    urls: tuple[str, ...]
    drawing: Allowance
    draining: Callable[[], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """Somebody who is not signed in, or not asked to be."""

    console: Console
    request: Request
    client: Client
    files_most: int = 0
    """How many files a form may bring."""

    @property
    def is_htmx(self) -> bool:
        """Whether htmx asks for a part of a page, not the browser for a whole one."""
        return self.request.headers.get("hx-request") == "true"

    @property
    def agent(self) -> str:
        """What the browser calls itself."""
        return self.request.headers.get("user-agent", "")[:200]

    @property
    def peer(self) -> str:
        """The address the call came from."""
        return peer_of(self.request)

    @property
    def origin(self) -> str:
        """Where the browser reaches the console: as configured when that is known, else as the browser says."""
        host = self.request.headers.get("host", "")
        known = [url.rstrip("/") for url in self.console.urls]
        here = f"{'https' if self.console.secure else 'http'}://{host}"
        return here if here in known or not known else known[0]

    @property
    def request_id(self) -> str:
        """The id this call goes by, as in the reply's `x-request-id`."""
        return str(getattr(self.request.state, "request_id", ""))

    def query(self, name: str, default: str = "") -> str:
        """Return a parameter of the address."""
        return self.request.query_params.get(name, default)

    async def form(self) -> Mapping[str, str]:
        """Return the form's fields, the last of each name, without surrounding space but for a password's; a file is
        its text. Raises Invalid.
        """
        known: dict[str, str] | None = getattr(self.request.state, "form", None)
        if known is None:
            known = self.request.state.form = await self._read_form()
        return known

    async def _read_form(self) -> dict[str, str]:
        try:
            async with self.request.form(max_files=self.files_most, max_fields=FORM_FIELDS_MAX) as given:
                return {
                    name: value if name in AS_GIVEN else value.strip()
                    for name, value in [(name, await _text_of(name, each)) for name, each in given.items()]
                }
        except Invalid:
            raise
        except Exception:  # because the parser's errors are many, and each means the same: not a form
            raise Invalid("The form could not be read.", field="body") from None

    def values(self) -> dict[str, object]:
        """Return what every template may use."""
        theme = self.request.cookies.get("penstock_theme", "auto")
        return {
            "request_id": self.request_id,
            "theme": theme if theme in THEMES else "auto",
            "path": self.request.url.path,
            "me": None,
            "csrf": "",
            "notice": self._notice(),
            "nav": (),
        }

    def fragment(self, template: str, **values: object) -> str:
        """Return a part of a page as HTML."""
        return self.console.renderer.html(template, {**self.values(), **values})

    def render(self, template: str, *, status: int = 200, **values: object) -> Response:
        """Answer with a template."""
        html = self.fragment(template, **values)
        response = Response(html, status_code=status, media_type="text/html")
        if self._notice() and not self.is_htmx:
            security.drop_cookie(response, "notice", secure=self.console.secure)
        return response

    def go(self, path: str, *, notice: str = "") -> Response:
        """Send the browser to `path` below the console; `notice` is said once on the page it comes to."""
        target = path if path.startswith(PREFIX) else PREFIX + path
        if self.is_htmx:
            response = Response(
                status_code=204, headers={"hx-redirect": quote(target, safe="/?&=%:~+,;@!$'()*#")}
            )
        else:
            response = RedirectResponse(target, status_code=303)
        if notice:
            kept = quote(notice[:NOTICE_BYTES_MAX])
            security.set_cookie(response, "notice", kept, secure=self.console.secure, max_age_s=NOTICE_S)
        return response

    def _notice(self) -> str:
        name = security.cookie_name("notice", secure=self.console.secure)
        return unquote(self.request.cookies.get(name, ""))[:NOTICE_BYTES_MAX]


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit(Guest):
    """A person at a page: `me` says who, and what they may do."""

    me: Me

    def may(self, action: str) -> bool:
        """Tell whether they may do something, by its name in the table of roles."""
        return action in self.me.may

    def values(self) -> dict[str, object]:
        """Return what every template may use."""
        more: dict[str, object] = {
            "me": self.me,
            "csrf": self.me.csrf,
            "nav": tuple(navigation.shown(self.me.may)),
        }
        return Guest.values(self) | more


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """A page for anybody. `path` is below the console; `method` is GET or POST."""

    path: str
    serve: Callable[[Guest], Awaitable[Response]]
    method: str = "GET"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page for people. `needs` is an action of the platform's table of roles, or SIGNED_IN; `files_most` is how many
    files its form may bring.
    """

    path: str
    serve: Callable[[Visit], Awaitable[Response]]
    needs: str
    method: str = "GET"
    files_most: int = 0


async def _text_of(name: str, given: str | UploadFile) -> str:
    """Return what a field holds: itself, or the text of its file. Raises Invalid for a file that is no text."""
    if isinstance(given, str):
        return given
    try:
        return (await given.read()).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Invalid("The file is no text (UTF-8).", field=name, value=(given.filename or "")[:80]) from None


def peer_of(request: Request) -> str:
    """Return the address a call came from."""
    return request.client.host if request.client else ""


def sign_in_path(request: Request) -> str:
    """Return where to sign in and come back from; a form is not come back to."""
    back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    usable = request.method in security.SAFE_METHODS and request.headers.get("hx-request") != "true"
    return "/sign-in" + (f"?{urlencode({'next': back})}" if usable and back != f"{PREFIX}/" else "")
