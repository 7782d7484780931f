"""How much a model may think, where one wire names an effort and another a number of tokens: the one table between.

The figures are those Google publishes for the OpenAI-compatible door of its models (low, medium, high), continued at
both ends. Promise: `effort_of` and `budget_of` agree: an effort's own budget is that effort again.
"""

from __future__ import annotations

from typing import Final

from penstock.kernel.chat import Thinking

BUDGETS: Final = {
    "none": 0,
    "minimal": 512,
    "low": 1_024,
    "medium": 8_192,
    "high": 24_576,
    "xhigh": 32_768,
    "max": 65_536,
}
"""Effort → tokens. A budget between two of them is the effort above it."""


def effort_of(thinking: Thinking) -> str:
    """Return the effort asked for, or the smallest one whose budget covers the bound; "" when neither was said."""
    if thinking.effort or thinking.budget_tokens is None:
        return thinking.effort
    return next((effort for effort, tokens in BUDGETS.items() if tokens >= thinking.budget_tokens), "max")


def budget_of(thinking: Thinking) -> int | None:
    """Return the bound asked for, or the budget of the effort; None when neither was said or the effort is unknown."""
    if thinking.budget_tokens is not None:
        return thinking.budget_tokens
    return BUDGETS.get(thinking.effort)
