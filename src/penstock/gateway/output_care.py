"""What answers may be, by an operator's rules and a caller's wish: how long, where they end, what of them is shown, and
in which pieces a stream of them comes.

Promises: all rules that match hold together, and no wish of a caller loosens one; a rule that cannot be kept refuses
the request; where no rule matches and nothing is wished, an answer passes as it would without this.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from penstock.gateway.cadence import slower
from penstock.gateway.output_filters import StopAt, Thoughtless
from penstock.gateway.routing import Target
from penstock.gateway.story import Story
from penstock.gateway.wording import Wording
from penstock.kernel.context import RequestContext
from penstock.kernel.errors import Invalid
from penstock.kernel.settings_output import CADENCES, Cadence, OutputSettings

HEADER: Final = b"x-penstock-cadence"
WANTS_THOUGHTS_BACK: Final = "anthropic"
"""The dialect whose vendor refuses the results of tools without the thoughts that called them."""


class OutputCare:
    """An `Inspection` that has answers kept within rules. One per process; its filters see answers as callers would."""

    def __init__(self, rules: Sequence[OutputSettings]) -> None:
        """Go by all of `rules` that match."""
        self._rules = tuple(rules)

    def inspect(
        self, context: RequestContext, wording: Wording, targets: tuple[Target, ...], _story: Story
    ) -> None:
        """Set what the answer must keep to. Raises Invalid for a bad header, or a rule that cannot be kept."""
        cadence: Cadence = "token"
        if wording.envelope.stream and (wish := context.header(HEADER)) is not None:
            cadence = _wished(wish)
        for rule in self._rules:
            if _matches(rule, context, wording.envelope.model):
                cadence = slower(cadence, rule.cadence)
                self._keep_to(rule, wording, targets)
        if cadence != "token" and wording.envelope.stream:
            wording.cadence = cadence

    def _keep_to(self, rule: OutputSettings, wording: Wording, targets: tuple[Target, ...]) -> None:
        if rule.max_output_tokens:
            wording.output_cap = min(wording.output_cap or rule.max_output_tokens, rule.max_output_tokens)
        if rule.reasoning == "strip":
            _check_thoughts(wording, targets)
            wording.filters += (Thoughtless(),)
        if rule.stop:
            wording.filters += (StopAt(rule.stop),)


def _matches(rule: OutputSettings, context: RequestContext, model: str) -> bool:
    who = context.principal
    return (
        rule.org in ("", who.org)
        and rule.team in ("", who.team)
        and rule.feature in ("", context.feature)
        and rule.model in ("", model)
    )


def _wished(header: bytes) -> Cadence:
    wish = header.decode("latin-1").strip().lower()
    if wish not in CADENCES:
        raise Invalid(
            "There is no such cadence.", code="invalid_header", field=HEADER.decode(), value=wish[:64],
            remedy=f"Use one of: {', '.join(CADENCES)}.",
        )  # fmt: skip
    return wish


def _check_thoughts(wording: Wording, targets: tuple[Target, ...]) -> None:
    """Refuse what would be answered with thoughts that its caller must send back and may not see."""
    if not wording.envelope.has_tools or wording.request.thinking is None:
        return
    if any(target.provider.dialect == WANTS_THOUGHTS_BACK for target in targets):
        raise Invalid(
            "What this model thinks is not shown here, and its vendor wants it back with the results of tools.",
            code="reasoning_withheld", field="thinking", remedy="Leave out the thinking, or the tools.",
        )  # fmt: skip
