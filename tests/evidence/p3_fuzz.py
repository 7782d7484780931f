"""P3: nonsense at the management API breaks nothing, and hostile text in any field stays text in the console.

The API: schemathesis, every phase and every check but those that cannot hold (tests/api_fuzz says which and why), as an
owner who is replaced whenever the fuzzer shuts them out. The console: markup, scripts, templates and tricks put through
the API and the gateway into every field they take, into addresses, forms, a provider's answers and errors, models'
names; then every page is opened in Chromium, and asked whether a script ran or an element appeared.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field

from playwright.sync_api import Browser
from playwright.sync_api import Error as PlaywrightError

from penstock.mechanisms.tenancy import KeyDoc
from tests.api_fuzz import OFF, UNTRUE, Report, fuzz
from tests.browser.doors import house_with_sso
from tests.browser.injection import (
    ORG,
    TEAM,
    Caller,
    Field,
    Looker,
    door,
    forms,
    live,
    plant,
    playground,
    told_back,
)
from tests.browser.theatre import House, chromium, enter, visitor
from tests.echo_upstream import echo
from tests.evidence.registry import Result, Scalar, Table
from tests.hostile_text import ATTRIBUTES, EVERYTHING, PAYLOADS

ID = "P3"
TITLE = "Fuzzed API: no 5xx; hostile text in every field of the console: no dialog, no script, no element"

SEED = 20261121
SECONDS, QUICK_SECONDS = 150, 20
ANSWERED_LEAST = 0.95
PAGES_A_FIELD, QUICK_PAGES_A_FIELD = 40, 6
SHOWN = 5
REFUSED_HERE = ("project of a key", "email of a person", "feature of a request")
"""Fields whose own rules may refuse every payload; each other must show at least one."""
EXPECTED = tuple(f"status of {status}" for status in (400, 401, 403, 404, 405, 409, 429))
"""The browser itself writes a refused page's status to the console: no error of ours."""


@dataclass
class Injected:
    """What became of hostile text in the console."""

    fields: list[Field] = field(default_factory=list[Field])
    pages: int = 0
    wrong: list[str] = field(default_factory=list[str])
    kinds: Counter[str] = field(default_factory=Counter[str])


# ---------------------------------------------------------------------------------------------------- the console


def inject(browser: Browser, most: int) -> Injected:
    """Fill every field with hostile text and look at every page."""
    models = ("gpt-4o-mini", *PAYLOADS)
    with ExitStack() as opened:
        provider = {"base_url": opened.enter_context(echo()), "models": models}
        it = opened.enter_context(house_with_sso(called=ATTRIBUTES[0], provider=provider))
        guest = opened.enter_context(visitor(browser, at=it.url))
        enter(guest.page, it)
        cookies = guest.page.context.cookies()
        session = next(each["value"] for each in cookies if each["name"].endswith("_session"))
        caller = Caller(it, session, _key(it))
        looker = Looker(guest.page, it, plant(caller, models))
        for step in (
            lambda: live(looker, caller),
            lambda: looker.look_at_all(most),
            lambda: told_back(looker, most),
            lambda: forms(looker),
            lambda: playground(looker, models[7]),
            lambda: door(looker),
        ):
            try:
                step()
            except PlaywrightError as error:
                looker.wrong.append(f"a page could not be used: {str(error).splitlines()[0]}")
        wrong = [each for each in guest.wrong if not any(told in each for told in EXPECTED)]
        return Injected(looker.fields, looker.pages, [*looker.wrong, *wrong], looker.kinds)


def _key(it: House) -> str:
    doc = KeyDoc(id="", mac="", org=ORG, team=TEAM, project="web", user="kim", name="asks", end_users=True)
    return it.run(it.stage.platform.tenancy.create_key(doc))[1]


# --------------------------------------------------------------------------------------------------------- verdict


def produce(quick: bool) -> Result:
    """Fuzz the API, then look at every page over hostile text."""
    with house_with_sso() as it:
        it.play(20)
        report = fuzz(it, seed=SEED, seconds=QUICK_SECONDS if quick else SECONDS)
    with chromium() as browser:
        seen = inject(browser, QUICK_PAGES_A_FIELD if quick else PAGES_A_FIELD)
    faults = [*api_faults(report, quick), *console_faults(seen)]
    figures: dict[str, Scalar | dict[str, Scalar]] = {
        "seed": SEED,
        "operations": len(report.operations),
        "operations_used_successfully_percent": round(100 * report.share_answered, 1),
        "replies": report.statuses.total(),
        "replies_of_500_and_above": len(report.broken),
        "checks_failed": report.failures.total(),
        "checks_not_asked": ", ".join(OFF),
        "checks_not_true_here": ", ".join(f"{check} of {name}" for name, check in UNTRUE.items()),
        "owners_used_up": report.owners,
        "phases": {name: report.phases[name] for name in sorted(report.phases)},
        "cases": dict(report.cases),
        "statuses": {str(status): count for status, count in sorted(report.statuses.items())},
        "hostile_texts": len(EVERYTHING),
        "fields": len(seen.fields),
        "texts_taken": sum(len(each.taken) for each in seen.fields),
        "texts_shown": sum(len(each.shown) for each in seen.fields),
        "pages_looked_at": seen.pages,
        "scripts_that_ran": seen.kinds["ran"],
        "elements_made_of_text": seen.kinds["nodes"],
        "handlers_made_of_text": seen.kinds["handlers"],
        "dialogs_errors_and_violations": len(seen.wrong) - seen.kinds.total(),
    }
    met = (
        f"{figures['replies']} replies of {len(report.operations)} operations, none of 500 and above, no check failed; "
        f"{figures['texts_taken']} hostile texts in {len(seen.fields)} fields, {seen.pages} pages: all stayed text"
    )
    return Result(
        figures,
        "missed" if faults else "met",
        f"{len(faults)} faults: {'; '.join(faults[:SHOWN])}" if faults else met,
        (fields_table(seen),),
    )


def api_faults(report: Report, quick: bool) -> list[str]:
    """Return what was wrong with the API."""
    faults = [*report.broken, *report.errors]
    faults += [f"{check} of {label} ({count} times): {report.told[check, label][:300]}"
               for (check, label), count in report.failures.items()]  # fmt: skip
    if report.share_answered < ANSWERED_LEAST and not quick:
        unused = sorted(report.operations - report.answered)
        faults.append(
            f"{report.share_answered:.1%} of operations were used successfully; not {', '.join(unused)}"
        )
    ran = {phase for phase, status in report.phases.items() if status != "skip"}
    # A short run may be over before the last phase.
    missing = set() if quick else {"examples", "coverage", "fuzzing", "stateful"} - ran
    return faults + [f"the phase {phase} did not run" for phase in sorted(missing)]


def console_faults(seen: Injected) -> list[str]:
    """Return what was wrong with the console."""
    empty = [
        f"no hostile text was seen in the field: {each.name}"
        for each in seen.fields
        if not each.shown and each.name not in REFUSED_HERE
    ]
    return [*seen.wrong, *empty]


def fields_table(seen: Injected) -> Table:
    """One row per field."""
    columns = ("field", "texts taken", "refused by its rules", "seen on a page, letter by letter")
    rows = tuple((each.name, len(each.taken), each.refused, len(each.shown)) for each in seen.fields)
    return Table(title="Hostile text by field", columns=columns, rows=rows)
