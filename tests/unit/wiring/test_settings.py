"""Settings: every mistake at once, nothing unknown ignored, the environment over the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.adapters.state.limits import LIMIT_MAX, SLOTS_MAX
from penstock.kernel.errors import Invalid
from penstock.kernel.settings import Settings
from penstock.kernel.settings_gateway import QuotaSettings
from penstock.wiring.settings import load


def written(folder: Path, text: str) -> Path:
    file = folder / "penstock.toml"
    file.write_text(text)
    return file


def refused(path: Path | None, env: dict[str, str] | None = None) -> str:
    with pytest.raises(Invalid) as refusal:
        load(path, env or {})
    assert refusal.value.reason == "invalid_configuration"
    return refusal.value.message


def test_nothing_at_all_is_the_defaults():
    assert load(None, {}) == Settings()


def test_all_mistakes_are_told_at_once_each_with_its_path(tmp_path):
    told = refused(
        written(
            tmp_path,
            """
            colour = "red"
            [server]
            port = "eighty"
            hots = "::1"
            drain_s = 0
            [ledger]
            durability = "hope"
            [[providers]]
            kind = "openai"
            [[routes]]
            model = "fast"
            targets = []
            """,
        ),
        {"PENSTOCK_SERVER_PROT": "1", "PENSTOCK_AUDIT_LOG_LEVEL": "LOUD"},
    )
    expected = (
        "colour",
        "server.port",
        "server.hots",
        "server.drain_s",
        "ledger.durability",
        "providers[0].name",
    )
    for path in (*expected, "routes[0].targets", "PENSTOCK_SERVER_PROT", "audit.log_level"):
        assert f"\n  - {path}: " in told, path
    assert told.count("\n  - ") == len(expected) + 3


@pytest.mark.parametrize(("port", "sound"), [(-1, False), (0, True), (65_535, True), (65_536, False)])
def test_a_bound_is_kept_on_both_sides(port, sound):
    env = {"PENSTOCK_SERVER_PORT": str(port)}
    if sound:
        assert load(None, env).server.port == port
    else:
        assert "server.port" in refused(None, env)


def test_the_environment_is_over_the_file_field_by_field(tmp_path):
    file = written(tmp_path, '[server]\nport = 9000\nhost = "::1"\n')
    settings = load(file, {"PENSTOCK_SERVER_PORT": "9001", "PENSTOCK_DISCOVER": "false", "HOME": "/x"})
    assert (settings.server.port, settings.server.host, settings.discover) == (9001, "::1", False)


@pytest.mark.parametrize(
    ("variable", "text", "found"),
    [
        ("PENSTOCK_LEDGER_URL", "postgresql://u:p@h/d", "postgresql://u:p@h/d"),
        ("PENSTOCK_LEDGER_URL", "", ""),
        ("PENSTOCK_LEDGER_URL", '"quoted"', "quoted"),
    ],
)
def test_a_text_of_the_environment_needs_no_quotes(variable, text, found):
    assert load(None, {variable: text}).ledger.url == found


def test_a_list_of_the_environment_is_written_as_toml():
    env = {"PENSTOCK_SERVER_ALLOWED_HOSTS": '["a.example", "b.example"]'}
    assert load(None, env).server.allowed_hosts == ("a.example", "b.example")


def test_secrets_and_addresses_of_the_environment_are_not_settings():
    env = dict.fromkeys(
        ("PENSTOCK_SECRET_X", "PENSTOCK_ADMIN_KEY", "PENSTOCK_URL", "PENSTOCK_KEY", "PENSTOCK_CONFIG"), "x"
    )
    assert load(None, env) == Settings()


def test_lists_of_tables_are_read_in_order(tmp_path):
    file = written(
        tmp_path,
        """
        [[providers]]
        name = "a"
        kind = "openai"
        base_url = "http://127.0.0.1:1/v1"
        [[providers]]
        name = "b"
        kind = "local"
        [[routes]]
        model = "fast"
        targets = [{provider = "a", model = "m", weight = 3}, {provider = "b", model = "n"}]
        """,
    )
    settings = load(file, {})
    assert [p.name for p in settings.providers] == ["a", "b"]
    assert [(t.provider, t.weight) for t in settings.routes[0].targets] == [("a", 3), ("b", 100)]


@pytest.mark.parametrize(
    "text",
    ["server = 5", "providers = 5", "providers = [1]", "[providers]\nname = 1", "[[server]]\nport = 1"],
)
def test_a_table_in_the_wrong_shape_is_a_mistake_and_not_a_crash(tmp_path, text):
    file = written(tmp_path, text)
    assert refused(file)
    assert refused(file, {"PENSTOCK_SERVER_PORT": "9000"})


@pytest.mark.parametrize("content", [b"[server", b"\xff\xfe", b"a = 1\na = 2"])
def test_a_file_that_is_not_toml_says_so(tmp_path, content):
    file = tmp_path / "p.toml"
    file.write_bytes(content)
    with pytest.raises(Invalid, match="not TOML"):
        load(file, {})


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(Invalid, match="no such configuration file"):
        load(tmp_path / "gone.toml", {})


@pytest.mark.parametrize(("second", "sound"), [("a", False), ("A", True), ("b", True)])
def test_two_providers_of_one_name_are_a_mistake(tmp_path, second, sound):
    file = written(tmp_path, "".join(f'[[providers]]\nname = "{n}"\nkind = "local"\n' for n in ("a", second)))
    if sound:
        assert len(load(file, {}).providers) == 2
    else:
        assert "providers: name 'a' is there more than once" in refused(file)


ISSUERS = """
[auth]
session_idle_s = 60
[auth.oidc]
issuer = "https://login.test"
client_id = "penstock"
[[auth.issuers]]
issuer = "https://issuer.test"
audience = "penstock"
jwks_file = "keys.json"
algorithms = ["ES256"]
org_claim = "org"
orgs = ["acme", "beta"]
[[auth.issuers]]
issuer = "https://second.test"
audience = "penstock"
jwks_url = "https://second.test/keys"
"""


def test_issuers_and_sign_in_are_read_from_the_file(tmp_path):
    auth = load(written(tmp_path, ISSUERS), {}).auth
    assert (auth.session_idle_s, auth.oidc.client_id) == (60, "penstock")
    assert [each.issuer for each in auth.issuers] == ["https://issuer.test", "https://second.test"]
    assert (auth.issuers[0].algorithms, auth.issuers[0].orgs) == (("ES256",), ("acme", "beta"))
    assert auth.issuers[1].jwks_url == "https://second.test/keys"


def test_issuers_and_sign_in_are_read_from_the_environment_over_the_file(tmp_path):
    env = {
        "PENSTOCK_AUTH_OIDC_CLIENT_ID": "another",
        "PENSTOCK_AUTH_OIDC_SCOPES": '["openid", "email", "profile"]',
        "PENSTOCK_AUTH_SESSION_IDLE_S": "90",
        "PENSTOCK_AUTH_ISSUERS": '[{issuer = "https://third.test", audience = "x", jwks_file = "k.json"}]',
    }
    auth = load(written(tmp_path, ISSUERS), env).auth
    assert (auth.oidc.client_id, auth.oidc.issuer) == ("another", "https://login.test")
    assert auth.oidc.scopes == ("openid", "email", "profile")
    assert auth.session_idle_s == 90
    assert [each.issuer for each in auth.issuers] == ["https://third.test"]
    assert (
        load(None, {"PENSTOCK_AUTH_OIDC_ISSUER": "https://login.test"}).auth.oidc.issuer
        == "https://login.test"
    )


@pytest.mark.parametrize(
    "name",
    ["AUTH_OIDC_COLOUR", "AUTH_OIDC_", "AUTH_OIDC_ISSUER_X", "AUTH_ISSUERS_ORG", "AUTH_X_Y", "DISCOVER_X"],
)
def test_an_environment_of_a_group_within_that_is_no_setting_is_a_mistake(name):
    told = refused(None, {f"PENSTOCK_{name}": "x"})
    assert told.count("\n  - ") == 1
    assert f"PENSTOCK_{name}: no such setting" in told


def test_a_group_within_that_is_no_table_is_the_files_mistake(tmp_path):
    told = refused(written(tmp_path, "[auth]\noidc = 7\n"), {"PENSTOCK_AUTH_OIDC_NAME": "x"})
    assert told.count("\n  - ") == 1
    assert "auth.oidc: " in told


def test_mistakes_within_issuers_are_told_all_at_once_each_with_its_path(tmp_path):
    told = refused(
        written(
            tmp_path,
            """
            [auth]
            session_idle_s = 0
            [auth.oidc]
            clientid = "x"
            algorithms = ["HS256"]
            [[auth.issuers]]
            issuer = ""
            algorithms = ["none"]
            leeway_s = 301
            """,
        )
    )
    expected = ("auth.session_idle_s", "auth.oidc.clientid", "auth.oidc.algorithms", "auth.issuers[0].issuer")
    for path in (
        *expected,
        "auth.issuers[0].algorithms",
        "auth.issuers[0].leeway_s",
        "auth.issuers[0].audience",
    ):
        assert f"\n  - {path}" in told, path
    assert told.count("\n  - ") == 7


def test_a_tier_that_its_vendor_does_not_have_is_a_mistake_that_lists_those_it_has(tmp_path):
    told = refused(
        written(
            tmp_path,
            """
            [[providers]]
            name = "openai"
            kind = "openai"
            tier = "tier-9"
            [[providers]]
            name = "claude"
            kind = "anthropic"
            tier = "tier-2"
            """,
        )
    )
    assert "providers.openai.tier: vendor 'openai' has no tier 'tier-9' (known: tier-1, tier-2," in told
    assert (
        "providers.claude.tier: vendor 'anthropic' has no tier 'tier-2' (known: start, build, scale)" in told
    )


def test_a_provider_names_its_tier_and_figures_of_its_own(tmp_path):
    (provider,) = load(
        written(
            tmp_path,
            """
            [[providers]]
            name = "claude"
            kind = "anthropic"
            tier = "start"
            quota = { requests_per_minute = 90, tokens_per_minute = 20000 }
            """,
        ),
        {},
    ).providers
    assert (provider.tier, provider.quota) == (
        "start",
        QuotaSettings(requests_per_minute=90, tokens_per_minute=20_000),
    )


@pytest.mark.parametrize(
    ("limit", "most"),
    [("requests_per_minute", LIMIT_MAX), ("tokens_per_minute", LIMIT_MAX), ("concurrency", SLOTS_MAX)],
)
def test_a_models_limit_that_the_state_store_would_refuse_is_a_mistake(tmp_path, limit, most):
    """It would refuse every request for the model, one by one, as its caller's mistake."""

    def routed(figure: int):
        text = """
            [[routes]]
            model = "house"
            targets = [{{provider = "sim", model = "m"}}]
            rate = {{{limit} = {figure}}}
            """
        return written(tmp_path, text.format(limit=limit, figure=figure))

    assert getattr(load(routed(most), {}).routes[0].rate, limit) == most
    assert f"rate.{limit}" in refused(routed(most + 1))
