"""Templates: every value is escaped, every missing one is an error, and libraries that were not built break nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from jinja2 import UndefinedError

from penstock.console.assets import Assets
from penstock.console.navigation import ENTRIES, home, shown
from penstock.console.render import TEMPLATES, Renderer, chart_data
from penstock.kernel.clock import ManualClock

HOSTILE = "<img src=x onerror=alert(1)>\"'`&</script><svg/onload=alert(1)>{{7*7}}"


def renderer(folder: Path, assets: Assets | None = None) -> Renderer:
    return Renderer(assets or Assets(), ManualClock(), folder)


def test_every_value_is_escaped(tmp_path):
    (tmp_path / "t.html").write_text(
        '<a title="{{ it }}" data-chart="{{ {"label": it} | chart }}">{{ it }}</a>'
    )
    html = renderer(tmp_path).html("t.html", {"it": HOSTILE})
    assert html.count("<") == 2
    assert html.count('"') == 4
    assert "49" not in html


def test_a_name_that_was_not_given_is_an_error(tmp_path):
    (tmp_path / "t.html").write_text("{{ nobody }}")
    with pytest.raises(UndefinedError):
        renderer(tmp_path).html("t.html", {})


def test_no_template_turns_escaping_off():
    for path in TEMPLATES.rglob("*.html"):
        text = path.read_text()
        assert "|safe" not in text.replace(" ", ""), path
        assert "autoescape" not in text, path


def test_a_figure_that_json_cannot_say_is_an_error_not_a_broken_chart():
    with pytest.raises(ValueError, match="JSON"):
        chart_data({"values": [float("nan")]})


def test_libraries_that_were_not_built_are_named_and_the_page_says_the_remedy(tmp_path):
    assets = Assets(tmp_path)
    assert assets.missing == ("vendor/htmx.js", "vendor/sse.js", "vendor/chart.js")
    page = {
        "theme": "auto",
        "csrf": "",
        "notice": "",
        "path": "/console/sign-in",
        "me": None,
        "nav": (),
        "request_id": "r",
    }
    form = {"oidc": {"enabled": False}, "wanted": "/console/", "email": "", "problem": None, "oidc_path": ""}
    html = renderer(TEMPLATES, assets).html("pages/signin.html", {**page, **form})
    assert "make console" in html
    assert "vendor/htmx.js" not in html


def test_an_entry_is_shown_to_whoever_may_open_it_and_the_first_of_them_is_home():
    labels = [entry.label for _, entries in shown({"read usage"}) for entry in entries]
    assert labels == ["Costs"]
    assert home({"read usage"}) == "/costs"
    assert home(()) == "/account"


def test_no_two_entries_share_a_key_or_take_the_account_s():
    keys = [entry.key for entry in ENTRIES]
    assert len(set(keys)) == len(keys)
    assert "a" not in keys
