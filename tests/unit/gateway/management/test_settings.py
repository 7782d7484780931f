"""Settings: every one is told, changed or not, and no secret is, wherever somebody wrote it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.management.settings import masked, rows_of
from penstock.kernel.settings import (
    AlertSettings,
    AuthSettings,
    ContextSettings,
    EmbeddingModelSettings,
    FeatureSettings,
    GuardSettings,
    IssuerSettings,
    LedgerSettings,
    OidcSettings,
    OutputSettings,
    PriceSettings,
    PrivacySettings,
    ProviderSettings,
    ResidencySettings,
    RouteSettings,
    ServerSettings,
    Settings,
    StoreSettings,
    TargetSettings,
    WebhookSettings,
)
from penstock.kernel.settings_features import AnswerRuleSettings
from penstock.kernel.settings_routes import CanarySettings, CeilingSettings, ComplexitySettings
from tests.unit.gateway.management.office import Office, office

CANARY = "Kan4ry-x"
TARGETS = (TargetSettings(provider="sim", model="small"),)
FULL = Settings(
    server=ServerSettings(port=9000),
    providers=(ProviderSettings(name="sim", kind="openai", secret="sim_key"),),
    prices=(PriceSettings(provider="sim", model="*"),),
    routes=(
        RouteSettings(
            model="m",
            targets=TARGETS,
            canary=CanarySettings(targets=TARGETS),
            complexity=ComplexitySettings(small=TARGETS),
            ceilings=(CeilingSettings(tier="standard", output="1"),),
        ),
    ),
    residency=(ResidencySettings(org="acme", regions=("eu",)),),
    features=(FeatureSettings(name="chat", rules=(AnswerRuleSettings(pattern="x", text="y"),)),),
    privacy=(PrivacySettings(requests={"CARD": "mask"}, answers={"CARD": "mask"}),),
    guards=(GuardSettings(never=("x",)),),
    context=(ContextSettings(org="acme"),),
    output=(OutputSettings(stop=("END",)),),
    alerts=(AlertSettings(rule="day-above-mean"),),
    webhooks=(WebhookSettings(name="ops", url="https://h.test", secret="hook"),),
    embedding_models=(
        EmbeddingModelSettings(name="e5", version="1", dimensions=4, languages=("de",), shorter=(2,)),
    ),
    auth=AuthSettings(issuers=(IssuerSettings(issuer="https://i.test", audience="a"),)),
)
"""Settings with one table in each list, so that every kind of table is met."""


def in_json(value: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))


def leaves(kind: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Return where a text can be written: the path of every text, and of the first of every list of texts."""
    found: list[tuple[str | int, ...]] = []
    plain = in_json(kind)

    def walk(value: Any, at: tuple[str | int, ...]) -> None:
        if isinstance(value, dict):
            for name, each in value.items():
                walk(each, (*at, name))
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            walk(value[0], (*at, 0))
        elif isinstance(value, str | list):
            found.append(at)

    walk(plain, path)
    return found


def written(path: tuple[str | int, ...], text: str) -> str:
    """Return everything the route would tell of settings in which `text` was written at a path."""
    plain = in_json(FULL)
    table = plain
    for step in path[:-1]:
        table = table[step]
    table[path[-1]] = [text] if isinstance(table[path[-1]], list) else text
    # Made without the checks of values: a mistake is shown as well, should one ever get in force.
    return "".join(row.model_dump_json() for row in rows_of(_built(Settings, plain)))


def _built(kind: type[msgspec.Struct], plain: dict[str, Any]) -> Any:
    fields = {field.name: field for field in msgspec.inspect.type_info(kind).fields}
    return kind(**{name: _value(fields[name].type, value) for name, value in plain.items()})


def _value(of: Any, value: Any) -> Any:
    while isinstance(of, msgspec.inspect.Metadata):
        of = of.type
    if isinstance(of, msgspec.inspect.StructType):
        return _built(of.cls, value)
    if isinstance(of, msgspec.inspect.VarTupleType):
        return tuple(_value(of.item_type, each) for each in value)
    return value


URLS = (
    "postgresql://penstock:{}@db.test/penstock", "redis://:{}@cache.test:6379/0", "https://{}@proxy.test",
    "postgresql://db.test/p?user=u&password={}", "https://api.test/v1?api_key={}", "https://api.test/?{}",
    "https://api.test/#token={}", "HTTPS://u:{}@api.test/v1?x=1",
)  # fmt: skip


@pytest.mark.parametrize("path", leaves(FULL))
def test_no_setting_shows_a_password_of_a_url_or_a_token(path: tuple[str | int, ...]) -> None:
    for url in URLS:
        told = written(path, url.format(CANARY))
        assert CANARY not in told, url
        assert "***" in told
    for token in ("pen-0123456789ab-", "pens-", "sk-proj-", "eyJhbGciOi."):
        assert CANARY not in written(path, f"{token}{CANARY}")
    assert CANARY not in written(path, f"host=db password={CANARY} user=u")


@pytest.mark.parametrize(
    "path", [p for p in leaves(FULL) if str(p[-1]) in {"secret", "client_secret", "password"}]
)
def test_what_is_called_a_secret_is_three_stars_even_where_only_its_name_belongs(
    path: tuple[str | int, ...],
) -> None:
    assert CANARY not in written(path, CANARY)
    assert written(path, "").count('"***"') == written(path, CANARY).count('"***"') - 1


def test_there_are_settings_called_secrets() -> None:
    assert {str(path[-1]) for path in leaves(FULL)} >= {"secret", "client_secret"}


@given(st.text(st.characters(codec="utf-8"), min_size=6).filter(lambda text: not set(text) <= {"*"}))
def test_no_password_is_so_odd_that_it_shows(password: str) -> None:
    for url in (
        f"postgresql://u:{password}@db.test/x",
        f"redis://{password}@h",
        f"https://h/x?password=1{password}",
    ):
        marker = f"§{password}§"
        assert marker not in masked(url.replace(password, marker))


@pytest.mark.parametrize(
    "password", ["p@ssword", "p/ss@word", "p?ss@word", "p#ss@word", "p:ss@word", "p&ss@word"]
)
def test_a_password_that_looks_like_the_rest_of_a_url_does_not_show(password: str) -> None:
    assert masked(f"postgresql://u:{password}@db.test/x") == "postgresql://***@db.test/x"


@pytest.mark.parametrize(
    "plain",
    [
        "sqlite:", "memory:", "redis://cache.test:6379/0", "postgresql://db.test/p?sslmode=verify-full",
        "https://api.openai.com/v1", "http://[::1]:8000/v1", "/run/secrets", "gpt-4o-mini", "openai",
    ],
)  # fmt: skip
def test_what_holds_no_secret_is_shown_as_it_is(plain: str) -> None:
    assert masked(plain) == plain


def test_a_masked_url_still_says_where_it_goes() -> None:
    assert masked("postgresql://u:p@db.test/x?sslmode=require&password=p") == (
        "postgresql://***@db.test/x?sslmode=require&password=***"
    )


def test_every_setting_has_one_row_with_its_default_and_its_meaning() -> None:
    rows = {row.key: row for row in rows_of(FULL)}
    assert len(rows) == len(list(rows_of(FULL)))
    port = rows["server.port"]
    assert (port.section, port.value, port.default, port.changed) == ("server", 9000, 8700, True)
    assert (rows["server.host"].changed, rows["server.host"].value) == (False, "127.0.0.1")
    assert rows["routes[0].targets[0].weight"].value == 100
    assert rows["routes[0].targets[0].weight"].section == "routes"
    assert (rows["providers[0].name"].default, rows["providers[0].name"].changed) == (None, True)
    assert rows["discover"].section == ""
    assert rows["auth.issuers[0].issuer"].value == "https://i.test"
    assert all(row.description for row in rows.values())
    assert {row.key for row in rows_of(Settings())} >= {
        "providers",
        "routes",
        "ledger.url",
        "auth.oidc.issuer",
    }
    assert not any(row.changed for row in rows_of(Settings()))


@pytest.mark.parametrize(
    ("key", "unit"),
    [
        ("server.idle_s", "seconds"), ("server.body_bytes", "bytes"), ("audit.retain_days", "days"),
        ("admission.max_request_nanos", "nano-dollars"), ("resilience.retry_share_percent", "percent"),
        ("server.port", ""), ("discover", ""), ("traces.per_s", "per second"),
    ],
)  # fmt: skip
def test_a_unit_is_told_from_the_name(key: str, unit: str) -> None:
    assert next(row.unit for row in rows_of(Settings()) if row.key == key) == unit


def test_the_route_tells_the_file_and_no_secret(tmp_path: Path) -> None:
    settings = Settings(
        ledger=LedgerSettings(url=f"postgresql://u:{CANARY}@db.test/p"),
        store=StoreSettings(records_url=f"postgresql://db.test/p?password={CANARY}"),
        auth=AuthSettings(oidc=OidcSettings(client_secret=CANARY)),
    )

    async def case(it: Office) -> None:
        for role in ("admin", "owner"):
            told = await it.ask("GET", "/api/v1/settings", by=await it.as_(role))
            assert told.status == 200
            assert told.json["file"] == "/etc/penstock.toml"
            assert CANARY not in told.text
            assert {row["key"] for row in told.json["rows"] if row["changed"]} == {
                "ledger.url", "store.records_url", "auth.oidc.client_secret",
            }  # fmt: skip
        for role in ("developer", "team-admin", "reviewer", "auditor", "caller"):
            assert (await it.ask("GET", "/api/v1/settings", by=await it.as_(role))).status == 403

    office(tmp_path, case, settings=settings, settings_file="/etc/penstock.toml")
