"""S8: a deployment that cannot be safe does not start, and no secret is anywhere but where it was put.

Every unsafe start is the real command in a process of its own. Canaries are planted for every secret of two
deployments, embedded and on Redis + PostgreSQL, both at DEBUG under injected errors; then all they said and wrote is
searched for every canary in every form.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import apsw
import redis

from penstock.kernel.errors import Invalid
from penstock.kernel.settings import Settings
from penstock.wiring import safety
from tests.canaries import canary, files, forms, found
from tests.evidence.registry import Result, Table
from tests.planted import Planted, command, plant, running, upstreams
from tests.planted_traffic import new_caller, trouble
from tests.services import PostgresServer, RedisServer
from tests.support import run
from tests.unsafe_starts import BASE, STARTS, Refusal, Start, attempt, fault_of, serve

ID = "S8"
TITLE = "Unsafe starts refused; canary secrets at DEBUG found nowhere"

_OLD_SQLITE = "3.51.2"
_WRONG_ADDRESSES = (
    "postgresqll://penstock:{}@127.0.0.1:1/x",
    "postgresql://penstock:{}@127.0.0.1:1/x",
    "postgresql://penstock:{}@[::1/x",
    "redis://:{}@127.0.0.1:1/0",
    "redis://:{}@127.0.0.1:none/0",
)


# --------------------------------------------------------------------------------------------------- unsafe starts


def unsafe_starts(folder: Path) -> list[tuple[str, str, str]]:
    """Try them all; returns (name, what was said, fault) for each."""

    def tried(numbered: tuple[int, Start]) -> tuple[str, str, str]:
        number, start = numbered
        refusal = attempt(folder / str(number), start)
        return start.name, _first_line(refusal.said), fault_of(start, refusal)

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(tried, enumerate(STARTS)))


def old_sqlite() -> tuple[str, str, str]:
    """Try a start on an SQLite with the WAL-reset bug."""
    name = "an SQLite with the WAL-reset bug"
    with mock.patch.object(apsw, "sqlite_lib_version", return_value=_OLD_SQLITE):
        try:
            safety.check(Settings(), workers=1, admin_key="")
        except Invalid as refusal:
            return (
                name,
                refusal.message.splitlines()[-1].strip(),
                "" if _OLD_SQLITE in refusal.message else "unsaid",
            )
    return name, "", f"{name}: it served"


async def second_process(folder: Path) -> tuple[str, str, str]:
    """Try a second process on the embedded stores of a running one."""
    start = Start("a second process on the same stores", ("Another process",))
    async with upstreams("") as urls:
        it = plant(folder, urls, canary())
        async with running(it):
            config = folder / "second.toml"
            config.write_text(BASE.format(server="", store="", data=it.data, rest=""))
            env = {"PENSTOCK_SECRET_PEPPER": it.secrets["pepper"]}
            refusal: Refusal = await asyncio.to_thread(serve, config, env)
    return start.name, _first_line(refusal.said), fault_of(start, refusal)


def _first_line(said: str) -> str:
    lines = said.strip().splitlines() or [""]
    return " ".join(line.strip() for line in lines[:2])[:160]


# -------------------------------------------------------------------------------------------------------- canaries


async def embedded(folder: Path, calls: int) -> Planted:
    """Trouble an embedded deployment, abort it, start it again, kill it."""
    folder.mkdir()
    provider_key = canary()
    async with upstreams(provider_key) as urls:
        it = plant(folder, urls, provider_key)
        async with running(it, signal.SIGABRT):
            await trouble(it, await new_caller(it), calls)
        async with running(it, signal.SIGKILL):
            await trouble(it, await new_caller(it), max(4, calls // 4))
        await command(it, "config", "show")
    return it


async def distributed(folder: Path, calls: int) -> Planted:
    """Trouble a deployment on Redis and PostgreSQL with passwords, take both away and give them back."""
    folder.mkdir()
    provider_key, passwords = canary(), {"redis_password": canary(), "postgres_password": canary()}
    with RedisServer() as cache, PostgresServer() as database:
        with redis.Redis(port=cache.port) as client:
            client.config_set("requirepass", passwords["redis_password"])
        dsn = database.dsn.replace("penstock@", f"penstock:{passwords['postgres_password']}@")
        stores = (
            f'records_url = "{dsn}"\nstate_url = "redis://:{passwords["redis_password"]}@127.0.0.1:{cache.port}/0"\n'
            f'[ledger]\nurl = "{dsn}"\n'
        )
        async with upstreams(provider_key) as urls:
            it = plant(folder, urls, provider_key, stores, **passwords)
            async with running(it):
                token = await new_caller(it)
                await trouble(it, token, calls)
                await asyncio.to_thread(cache.kill)
                database.pause()
                await trouble(it, token, 4)
                database.resume()
                await command(it, "config", "show", "--json")
                await asyncio.to_thread(database.kill)
                await trouble(it, token, 4)
                await command(it, "doctor")
    return it


def refused_addresses(folder: Path) -> list[str]:
    """Start on stores that cannot be, their passwords planted; returns what was wrong."""
    faults: list[str] = []
    for number, form in enumerate(_WRONG_ADDRESSES):
        password = canary()
        place = folder / str(number)
        place.mkdir(parents=True)
        config = place / "penstock.toml"
        key = "state_url" if form.startswith("redis") else "records_url"
        config.write_text(
            BASE.format(server="", store=f'{key} = "{form.format(password)}"', data=place / "d", rest="")
        )
        refusal = serve(config, {"PENSTOCK_SECRET_PEPPER": canary(64)})
        leaks = found({"password": password}, {"refusal": refusal.said.encode(), **files(place, [config])})
        faults += [f"{form}: {leak}" for leak in leaks]
        faults += [fault] if (fault := fault_of(Start(form, ()), refusal)) else []
    return faults


def leaks_of(it: Planted) -> list[str]:
    """Search everything a deployment said and wrote."""
    return found(it.secrets, {**it.said, **files(it.folder, it.on_purpose)})


def can_be_found() -> bool:
    """Tell whether the search finds a planted secret in each of its forms: the control."""
    secret = canary()
    texts = {form: b"..." + needle + b"..." for form, needle in forms(secret).items()}
    return all(found({"control": secret}, {form: text}) for form, text in texts.items())


# --------------------------------------------------------------------------------------------------------- verdict


def produce(quick: bool) -> Result:
    """Try every unsafe start, and plant canaries in both deployments."""
    calls = 20 if quick else 200
    with tempfile.TemporaryDirectory(prefix="penstock-s8-") as name:
        folder = Path(name)
        starts = [*unsafe_starts(folder / "starts"), old_sqlite(), run(second_process(folder / "second"))]
        first = run(embedded(folder / "embedded", calls), ceiling_s=120)
        second = run(distributed(folder / "distributed", calls), ceiling_s=180)
        deployments = {"embedded": first, "Redis and PostgreSQL": second}
        leaks = [f"{where}: {leak}" for where, it in deployments.items() for leak in leaks_of(it)]
        leaks += refused_addresses(folder / "addresses")
        searched = {where: _searched(it) for where, it in deployments.items()}
    faults = [fault for _, _, fault in starts if fault]
    if not can_be_found():
        faults.append("the search does not find what it should")
    return Result(
        {
            "unsafe_starts": len(starts),
            "refused": len(starts) - len([fault for _, _, fault in starts if fault]),
            "secrets_planted": sum(len(it.secrets) for it in deployments.values()) + len(_WRONG_ADDRESSES),
            "forms_of_each": len(forms("x" * 40)),
            "replies_searched": sum(it.replies for it in deployments.values()),
            "bytes_searched": searched,
            "leaks": len(leaks),
        },
        "missed" if faults or leaks else "met",
        "; ".join([*faults, *leaks][:10])
        or f"{len(starts)} unsafe starts refused; no secret found in any form",
        tables=(
            Table(title="Unsafe starts", columns=("start", "said", "fault"), rows=tuple(starts)),
            Table(
                title="What was searched",
                columns=("place", "bytes"),
                rows=tuple(
                    (place, len(text)) for it in deployments.values() for place, text in it.said.items()
                ),
            ),
        ),
    )


def _searched(it: Planted) -> int:
    with contextlib.suppress(OSError):
        return sum(map(len, it.said.values())) + sum(map(len, files(it.folder, it.on_purpose).values()))
    return 0
