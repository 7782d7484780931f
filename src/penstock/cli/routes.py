"""`penstock routes`: who would answer a request, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import App, Parameter

from penstock.cli.output import dollars, line, table
from penstock.cli.server import HERE, Server
from penstock.sdk.routing import RouteQuestion

routes = App(name="routes", help="See who would answer a request, and why; nobody is called.")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Asker:
    """Who asks."""

    org: Annotated[str, Parameter(help="Whose organisation asks; your key's own by default.")] = ""
    user: Annotated[str, Parameter(help="Who asks.")] = ""
    tier: Annotated[str, Parameter(help="Tier of the key.")] = "standard"


ME = Asker()


@routes.command
def explain(
    model: str,
    /,
    *,
    asker: Asker = ME,
    task: str = "",
    region: str = "",
    urgent: bool = False,
    tokens: int = 0,
    text: str = "",
    feature: str = "",
    server: Server = HERE,
) -> None:
    """Tell who would answer a request for MODEL now, in the order of trying, and why. Nobody is called.

    Parameters
    ----------
    task
        As the header x-penstock-task says.
    region
        As the header x-penstock-region says.
    urgent
        As with x-penstock-priority: urgent.
    tokens
        Input tokens.
    text
        What the user says.
    feature
        As the header x-penstock-feature says.
    """
    question = RouteQuestion(
        model=model,
        org=asker.org,
        user=asker.user,
        tier=asker.tier,
        task=task,
        region=region,
        urgent=urgent,
        input_tokens=tokens,
        text=text,
        feature=feature,
    )
    found = server.ask(lambda client: client.routing.explain(question))
    rows = [
        (str(place), each.route, each.region, "free" if each.free else each.price_version)
        for place, each in enumerate(found.targets, 1)
    ]
    more = [line(f"after a weak answer: {each.route}") for each in found.larger]
    more += [line(f"when all have failed: {step}") for step in found.fallback]
    server.show(
        found,
        line(f"{model}: {'; '.join(found.why)} (version {found.version})"),
        table(("", "back end", "region", "price"), rows, empty="Nobody."),
        *more,
    )


@routes.command
def tiers(*, server: Server = HERE) -> None:
    """See, by route, how many requests the small model answered, and what that saved."""
    found = server.ask(lambda client: client.routing.tiers())
    rows = [
        (
            each.model,
            str(each.small),
            str(each.large),
            str(each.escalated),
            str(each.small_failed),
            dollars(each.saved_nanos),
        )
        for each in found
    ]
    heads = ("model", "small", "large", "escalated", "small failed", "saved")
    server.show(found, table(heads, rows, empty="No route has two tiers, or none was asked yet."))
