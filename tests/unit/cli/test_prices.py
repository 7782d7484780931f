"""`penstock prices`: whose each price is."""

from __future__ import annotations

import json
from typing import Any

GENERAL: dict[str, Any] = {
    "provider": "corp", "model": "m", "org": "", "version": "v-all", "input": 1_000_000_000, "cached_input": 0,
    "output": 2_000_000_000, "context_window": 0, "max_output_tokens": 0, "free": False,
}  # fmt: skip
OWN = GENERAL | {"org": "acme", "version": "v-own", "output": 1_500_000_000}


def test_the_list_says_whom_each_price_is_for(far, penstock):
    far.answers["GET /prices"] = (GENERAL, OWN)
    code, told, _ = penstock("prices", "list")
    rows = {row.split()[2]: row for row in told.splitlines() if row.split()[:1] == ["corp"]}
    assert code == 0
    assert set(rows) == {"everybody", "acme"}
    assert "v-all" in rows["everybody"]
    assert "1.5" in rows["acme"]
    assert "v-own" in rows["acme"]


def test_one_price_is_everybodys_unless_an_organisation_is_named(far, penstock):
    far.answers["GET /prices"] = (GENERAL, OWN)
    for words, version in (((), "v-all"), (("--org", "acme"), "v-own")):
        code, told, _ = penstock("prices", "show", "corp/m", *words, "--json")
        assert (code, json.loads(told)["version"]) == (0, version)
    code, _, complaint = penstock("prices", "show", "corp/m", "--org", "globex")
    assert code != 0
    assert "no such price" in complaint
