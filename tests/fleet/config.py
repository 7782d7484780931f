"""Where a drill's gateways keep their things, written as the TOML file and the keys that a user would have.

Promise: the configuration is read by the product's own reader; keys and limits are stored by the product's own
tenancy, before any gateway runs, so that an embedded store never has two owners.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from penstock.adapters.signals.embedded import EmbeddedSignals
from penstock.gateway.idempotency import COLLECTION as IDEMPOTENCY
from penstock.kernel.clock import SystemClock
from penstock.kernel.context import Cap, Rate
from penstock.kernel.settings import Settings
from penstock.mechanisms.scopes import scope_paths
from penstock.mechanisms.tenancy import COLLECTIONS, KeyDoc, ScopeDoc, Tenancy
from penstock.wiring import adapters
from penstock.wiring.settings import load
from tests.fleet.process import PEPPER

MODEL = "sim/model"


class Engines(msgspec.Struct, frozen=True, kw_only=True):
    """The addresses of the three stores; embedded unless said otherwise."""

    ledger: str = "sqlite:"
    records: str = "sqlite:"
    state: str = "memory:"


class Prices(msgspec.Struct, frozen=True, kw_only=True):
    """Dollars per million tokens of the simulated model, in whole cents so that no float meets money."""

    input_cents: int = 15
    output_cents: int = 60

    def cost_nanos(self, input_tokens: int, output_tokens: int) -> int:
        """Return what a call costs: femto-dollars summed, rounded up once, as `kernel.money` does."""
        femtos = (input_tokens * self.input_cents + output_tokens * self.output_cents) * 10_000_000
        return -(-femtos // 1_000_000)


CHEAP = Prices()

_TEXT = """\
discover = false

[server]
host = "127.0.0.1"
port = {port}
{server}
[ledger]
url = "{engines.ledger}"
{ledger}
[store]
data = "{folder}"
records_url = "{engines.records}"
state_url = "{engines.state}"

[admission]
default_output_tokens = 64

[[providers]]
name = "sim"
kind = "openai"
base_url = "{provider_url}"
models = ["{model}"]
{provider}
[[prices]]
provider = "sim"
model = "*"
input = "{input}"
output = "{output}"
"""


def write_config(
    folder: Path,
    provider_url: str,
    engines: Engines,
    *,
    prices: Prices = CHEAP,
    port: int = 0,
    extra: Mapping[str, Mapping[str, object]] | None = None,
) -> Path:
    """Write `folder`/penstock.toml and return it; `extra` adds lines to the sections server, ledger and provider."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lines = {
        section: "".join(
            f"{name} = {_toml(value)}\n" for name, value in (extra or {}).get(section, {}).items()
        )
        for section in ("server", "ledger", "provider")
    }
    path = folder / "penstock.toml"
    path.write_text(
        _TEXT.format(
            folder=folder / "data",
            engines=engines,
            provider_url=provider_url,
            model=MODEL,
            port=port,
            input=f"{prices.input_cents // 100}.{prices.input_cents % 100:02}",
            output=f"{prices.output_cents // 100}.{prices.output_cents % 100:02}",
            **lines,
        )
    )
    return path


def settings_of(config: Path) -> Settings:
    """Read a configuration as a gateway would, without the environment."""
    return load(config, {})


def _toml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """A caller to be made: its names, and budgets in nano-dollars and limits by level ("org" … "key")."""

    org: str = "acme"
    team: str = "search"
    project: str = "web"
    user: str = "ann"
    caps: dict[str, int] = {}
    window: str = "total"
    rate: Rate = Rate()
    end_users: bool = False
    user_default_nanos: int = 0
    role: str = "caller"

    def account(self, level: str, key_id: str = "") -> str:
        """Return the name of the ledger account of a level with a budget over all time."""
        path = dict(scope_paths(self.org, self.team, self.project, self.user, key_id))[level]
        return f"{path}@{self.window}"


class Made(msgspec.Struct, frozen=True):
    """A key that was made: its id and its token."""

    id: str
    token: str


async def provision(config: Path, tenants: Sequence[Tenant]) -> list[Made]:
    """Store limits and one key for each tenant; no gateway may run on embedded records meanwhile."""
    settings = settings_of(config)
    Path(settings.store.data).mkdir(parents=True, exist_ok=True, mode=0o700)
    clock = SystemClock()
    records = await adapters.records(settings, (*COLLECTIONS, IDEMPOTENCY), clock)
    signals = EmbeddedSignals()
    try:
        tenancy = Tenancy(records, signals, clock, PEPPER.encode())
        return [await _store(tenancy, tenant) for tenant in tenants]
    finally:
        await signals.close()
        await records.close()


async def _store(tenancy: Tenancy, tenant: Tenant) -> Made:
    for level, path in scope_paths(tenant.org, tenant.team, tenant.project, tenant.user, "")[:4]:
        caps = _caps(tenant.caps.get(level, 0), tenant.window)
        user_caps = _caps(tenant.user_default_nanos if level == "project" else 0, tenant.window)
        if caps or user_caps:
            await tenancy.put_scope(
                tenant.org, ScopeDoc(path=path, level=level, caps=caps, user_caps=user_caps)
            )
    doc, token = await tenancy.create_key(
        KeyDoc(
            id="",
            mac="",
            org=tenant.org,
            team=tenant.team,
            project=tenant.project,
            user=tenant.user,
            role=tenant.role,
            rate=tenant.rate,
            caps=_caps(tenant.caps.get("key", 0), tenant.window),
            end_users=tenant.end_users,
        )
    )
    return Made(doc.id, token)


def _caps(limit_nanos: int, window: str) -> tuple[Cap, ...]:
    return (Cap(window=window, limit_nanos=limit_nanos),) if limit_nanos else ()
