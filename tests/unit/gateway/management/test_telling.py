"""Who is told of alerts, over the management API: nobody sees another organisation's name, message or address."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from penstock.gateway.management.telling import LISTED_MOST, UNREACHED
from penstock.mechanisms.webhooks import Message
from tests.unit.gateway.management.office import ORG, Office, office
from tests.unit.gateway.management.test_oversight import TEST, overseen
from tests.unit.mechanisms.test_webhooks import write_many

RULES, DELIVERIES = "/api/v1/alerts/rules", "/api/v1/alerts/deliveries"


def test_every_rule_is_shown_as_it_is_in_force(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        async with overseen(it, tmp_path) as part:
            changed = next(rule for rule in part.alerts.rules if rule.id == "user-over")
            part.alerts._rules = {"user-over": changed.__class__(id="user-over", kind="user_over", limit=5)}
            rows = (await it.ask("GET", RULES, by=await it.as_("auditor"))).json
            by_rule = {row["rule"]: row for row in rows}
            assert len(rows) == 11
            assert (by_rule["user-over"]["limit"], by_rule["user-over"]["changed"]) == (5, True)
            assert (by_rule["budget-80"]["limit"], by_rule["budget-80"]["off"]) == (80, True)
            assert (await it.ask("GET", RULES, by=await it.as_("developer"))).status == 403

    office(tmp_path, case)


def test_messages_are_seen_by_whom_they_are_about_with_what_became_of_them(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        async with overseen(it, tmp_path) as part:
            await it.ask("POST", TEST, by=await it.as_("admin"))
            await it.ask("POST", f"{TEST}?org=other", by=await it.as_("owner"))
            waiting = (await part.webhooks.waiting())[0]
            about = Message(
                type="alert.firing", org="other", at_s=9e9, text="theirs", data=waiting.message.data
            )
            part.webhooks.taken.append(waiting.__class__(target="all", message=about, due_s=9e9, attempts=2))

            async def seen(path: str, role: str) -> dict[str, Any]:
                told = await it.ask("GET", path, by=await it.as_(role))
                assert told.status == 200, told.text
                return told.json

            mine = await seen(DELIVERIES, "admin")
            assert {(each["org"], each["target"]) for each in mine["deliveries"]} == {
                (ORG, "all"),
                (ORG, "ours"),
            }
            assert {each["state"] for each in mine["deliveries"]} == {"waiting"}
            assert [(each["name"], each["orgs"], each["host"]) for each in mine["targets"]] == [
                ("all", [], ""),
                ("ours", [ORG], ""),
            ]
            whole = await seen(DELIVERIES, "owner")
            assert whole["deliveries"][0]["text"] == "theirs"  # the newest
            assert (whole["deliveries"][0]["state"], whole["deliveries"][0]["attempts"]) == ("taken", 2)
            assert len(whole["deliveries"]) == 4
            assert [each["host"] for each in whole["targets"]] == ["a.test", "b.test"]
            theirs = await seen(f"{DELIVERIES}?org=other", "owner")
            assert [each["name"] for each in theirs["targets"]] == ["all"]
            admin = await it.as_("admin")
            assert (await it.ask("GET", f"{DELIVERIES}?org=other", by=admin)).status == 403

    office(tmp_path, case)


def test_a_thousand_messages_of_another_organisation_hide_none_of_ones_own(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        async with overseen(it, tmp_path) as part:
            await write_many(part.webhooks, part.webhooks._records, "other", LISTED_MOST + 1)
            await write_many(part.webhooks, part.webhooks._records, ORG, 2)
            mine = (await it.ask("GET", DELIVERIES, by=await it.as_("admin"))).json["deliveries"]
            assert [(each["org"], each["text"]) for each in mine if each["target"] == "ours"] == [
                (ORG, "1"),
                (ORG, "0"),
            ]

    office(tmp_path, case)


def test_why_a_message_failed_names_its_targets_host_to_owners_only(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        async with overseen(it, tmp_path) as part:
            await it.ask("POST", TEST, by=await it.as_("admin"))
            (one, *_) = await part.webhooks.waiting()
            for failure in ("Cannot connect to https://a.test:443: no route.", "the answer was 500"):
                part.webhooks.taken.append(
                    one.__class__(target="all", message=one.message, due_s=1.0, failure=failure)
                )

            async def why(role: str) -> list[str]:
                told = await it.ask("GET", DELIVERIES, by=await it.as_(role))
                return [each["failure"] for each in told.json["deliveries"] if each["state"] == "taken"]

            assert await why("admin") == [UNREACHED, "the answer was 500"]
            assert (await why("owner"))[0].startswith("Cannot connect to https://a.test")

    office(tmp_path, case)
