"""What `penstock doctor` looks at: settings, safety, machine, books, providers, a collector, webhooks, every store's
contract.

Promises: each finding says what was looked at and, when it is not well, why and what to do; one that fails does not
hide the next; a case that was not tried, for want of a harm that nobody does to a live deployment, is never counted as
kept; nothing is written outside a scratch folder that is removed; every look has an end.
"""

from __future__ import annotations

import asyncio
import shutil
import stat
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, cast

import apsw
import msgspec

from penstock.contracts.case import Case, NotTried
from penstock.kernel.clock import SystemClock
from penstock.kernel.errors import Forbidden, Invalid, NotFound, PenstockError, Unavailable
from penstock.kernel.settings import ProviderSettings, Settings, WebhookSettings
from penstock.mechanisms.webhooks import signature
from penstock.ports.providers import ListsModels
from penstock.wiring import adapters, safety
from penstock.wiring.books import verify_offline
from penstock.wiring.catalogue import price_book
from penstock.wiring.harness import Suite, suites
from penstock.wiring.span_export import open_sink

LOOK_S: Final = 60.0
"""One look, or one case of a contract, takes this long at most."""
PROVIDER_S: Final = 15.0
SHOWN_MAX: Final = 3
"""So many broken promises of one store are told in full."""
REACH: Final = "reach the store"
DISK_LEAST_BYTES: Final = 512 * 1024 * 1024


class Cases(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a contract's cases, in numbers, and the names of those not tried by what could not be done."""

    kept: int
    broken: int
    not_tried: int
    could_not: dict[str, list[str]]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one look found: `what` was looked at, whether it is well, and the reason or the figure.

    A store that was put to its contract has its `cases`; it is well when none is broken, however many were not tried.
    """

    what: str
    well: bool
    told: str
    cases: Cases | None = None


async def examine(settings: Settings, env: dict[str, str]) -> AsyncGenerator[Finding]:
    """Look at everything, in order, and give each finding as it is made."""
    data = Path(settings.store.data)
    looks: list[tuple[str, Callable[[], str]]] = [
        ("safety", lambda: _safe(settings, env.get("PENSTOCK_ADMIN_KEY", ""))),
        ("SQLite", apsw.sqlite_lib_version),
        ("clock", lambda: _clock(settings)),
        ("disk", lambda: _disk(data)),
        ("data folder", lambda: _private(data)),
    ]
    for what, look in looks:
        yield await _found(what, asyncio.to_thread(look))
    yield await _found("ledger", _books(settings))
    for provider in await adapters.found_providers(settings, env):
        yield await _found(f"provider {provider.name}", _reachable(provider, settings, env))
    if settings.otel.endpoint:
        yield await _found("collector", _collecting(settings, env))
    for target in settings.webhooks:
        yield await _found(f"webhook {target.name}", _posting(target, settings, env))
    scratch = await asyncio.to_thread(_scratch, data)
    try:
        for suite in suites(settings, scratch):
            yield await _kept(suite)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _scratch(data: Path) -> Path:
    """Make a folder beside the data, on the same disk."""
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    return Path(tempfile.mkdtemp(prefix="doctor-", dir=data))


async def _found(what: str, look: Awaitable[str]) -> Finding:
    try:
        async with asyncio.timeout(LOOK_S):
            return Finding(what=what, well=True, told=await look)
    except TimeoutError:
        return Finding(what=what, well=False, told=f"no answer within {LOOK_S:g} s")
    except (PenstockError, OSError) as error:
        return Finding(what=what, well=False, told=str(error))


async def _kept(suite: Suite) -> Finding:
    """Put an engine to every case of its contract; each on a harness of its own."""
    kept, broken = 0, list[str]()
    could_not: dict[str, list[str]] = {}
    for place, (name, _promises, case) in enumerate(suite.cases, 1):
        try:
            async with asyncio.timeout(LOOK_S):
                await _run(suite, case)
            kept += 1
        except NotTried as untried:
            could_not.setdefault(str(untried), []).append(name)
        except (
            Exception
        ) as error:  # because an engine may break its promise in any way, and the next case still runs
            broken.append(f"{name.replace('_', ' ')}: {str(error) or type(error).__name__:.200}")
            if isinstance(error, Unavailable):
                # The engine is not there: every other case would say the same.
                could_not.setdefault(REACH, []).extend(name for name, _, _ in suite.cases[place:])
                break
    cases = Cases(
        kept=kept,
        broken=len(broken),
        not_tried=sum(map(len, could_not.values())),
        could_not={harm: names for harm, names in could_not.items() if names},
    )
    what = f"{suite.port} on {suite.engine}"
    return Finding(what=what, well=not broken, told=_told(cases, broken), cases=cases)


def _told(cases: Cases, broken: list[str]) -> str:
    """Say what became of the cases: the counts, the first of what is broken, and why what was not tried was not."""
    told = f"{cases.kept} kept, {cases.broken} broken, {cases.not_tried} not tried"
    if broken:
        more = f"; and {len(broken) - SHOWN_MAX} more" if len(broken) > SHOWN_MAX else ""
        told += f". Broken: {'; '.join(broken[:SHOWN_MAX]).rstrip('.')}{more}"
    if cases.could_not:
        harms = (f"{harm} ({len(names)})" for harm, names in cases.could_not.items())
        told += f". Could not {', '.join(harms)}"
    return told


async def _run(suite: Suite, case: Case[object]) -> None:
    async with AsyncExitStack() as closing:
        harness = await closing.enter_async_context(suite.open())
        await case(harness)


# -------------------------------------------------------------------------------------------------------------- looks


def _safe(settings: Settings, admin_key: str) -> str:
    safety.check(settings, workers=1, admin_key=admin_key)
    return "may start"


def _clock(settings: Settings) -> str:
    now = datetime.fromtimestamp(SystemClock().wall_s(), UTC)
    built = price_book(settings, settings.providers).built
    if now.date() < built:
        raise Invalid(
            "The clock is behind: budgets and prices go by its date.",
            field="clock",
            value=f"{now:%Y-%m-%d}",
            limit=f"{built:%Y-%m-%d}, when the price table was made",
            remedy="Set it, and keep it with NTP.",
        )
    return f"{now:%Y-%m-%d %H:%M}Z"


def _disk(data: Path) -> str:
    place = next(folder for folder in (data.absolute(), *data.absolute().parents) if folder.exists())
    free_bytes = shutil.disk_usage(place).free
    if free_bytes < DISK_LEAST_BYTES:
        raise Unavailable(
            "The disk is nearly full; on a full one paid requests are refused.",
            field="store.data",
            value=f"{free_bytes // 2**20} MiB free",
            limit=f"{DISK_LEAST_BYTES // 2**20} MiB",
            remedy="Free some.",
        )
    return f"{free_bytes // 2**20:,} MiB free"


def _private(data: Path) -> str:
    if not data.exists():
        return "not made yet"
    mode = stat.S_IMODE(data.stat().st_mode)
    if mode & 0o007:
        raise Forbidden(
            "Everybody on this machine can look into the data folder.",
            field="store.data",
            value=f"{data} has mode {mode:04o}",
            limit="0700",
            remedy=f"Run: chmod 700 {data}",
        )
    return f"mode {mode:04o}"


async def _books(settings: Settings) -> str:
    try:
        verdict = await verify_offline(settings)
    except NotFound:
        return "none yet"
    if verdict.problems:
        raise Invalid(
            f"{len(verdict.problems)} problems, the first: {verdict.problems[0]}",
            field="ledger",
            remedy="See `penstock ledger verify --offline`.",
        )
    return f"whole: {verdict.entries:,} entries, {verdict.pending} under way"


async def _collecting(settings: Settings, env: dict[str, str]) -> str:
    """Send no span at all, which a collector takes: the contract's spans would be in somebody's figures."""
    sink = await open_sink(settings.otel, adapters.secrets(settings, env))
    try:
        await sink.export([])
    finally:
        await sink.close()
    return "takes traces"


async def _posting(target: WebhookSettings, settings: Settings, env: dict[str, str]) -> str:
    """Look whether messages can be signed and where they go; nothing is posted: somebody would be told."""
    origin, _ = adapters.adapter("hooks.https", "address")(target.url)
    if target.secret:
        secret = await adapters.secrets(settings, env).read(target.secret)
        try:
            signature(secret.reveal(), "msg_doctor", 0, b"")
        except ValueError:
            raise Invalid(
                "The secret after whsec_ is not base64.", field=f"secrets.{target.secret}"
            ) from None
    try:
        async with asyncio.timeout(PROVIDER_S):
            await asyncio.get_running_loop().getaddrinfo(origin.host, origin.port)
    except OSError:  # a TimeoutError is one
        raise Unavailable("Its name is not known.", field="url", value=origin.host) from None
    return f"{origin.host} is known; messages are {'signed' if target.secret else 'not signed'}"


async def _reachable(provider: ProviderSettings, settings: Settings, env: dict[str, str]) -> str:
    opened = await adapters.provider(provider, adapters.secrets(settings, env), SystemClock())
    try:
        if not hasattr(opened, "models"):
            return "cannot be asked without being paid" if provider.base_url else "in this process"
        started_s = time.monotonic()
        async with asyncio.timeout(PROVIDER_S):
            models = await cast("ListsModels", opened).models()
        return f"{len(models)} models, answered in {(time.monotonic() - started_s) * 1000:.0f} ms"
    except TimeoutError:
        raise Unavailable("It does not answer.", limit=f"{PROVIDER_S:g} s", field=provider.base_url) from None
    finally:
        await opened.close()
