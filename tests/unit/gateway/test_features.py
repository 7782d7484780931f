"""Rules of features: which back ends may answer, which rules count, and what is wrong with them. Pure, no sockets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from penstock.gateway.choosing import Choice
from penstock.gateway.complexity import Cascade
from penstock.gateway.features import Feature, Features, Known, Means, mistakes_of
from penstock.gateway.routing import Target
from penstock.kernel.context import Principal
from penstock.kernel.errors import PolicyRefused
from penstock.kernel.settings_features import AnswerRuleSettings, FeatureSettings
from penstock.mechanisms import patterns
from tests.unit.gateway.test_choosing import table

SMALL, LARGE = "sim/small", "alt/small"


def targets() -> tuple[Target, ...]:
    """Return the targets of the route `gpt`: sim/small and alt/small."""
    return table().find("gpt").targets


def who(org: str = "acme", team: str = "search") -> Principal:
    """Return a caller."""
    return Principal(key_id="k", org=org, team=team, project="p", user="u")


def feature(**members: Any) -> Feature:
    """Return a feature ready to use."""
    found = Features([FeatureSettings(name="f", **members)]).of(who(), "f")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("rules", "left"),
    [
        ({"forbid": (SMALL,)}, [LARGE]),
        ({"only": (SMALL,)}, [SMALL]),
        ({"only": ("small",)}, [SMALL, LARGE]),
        ({"only": ("small",), "forbid": (LARGE,)}, [SMALL]),
        ({}, [SMALL, LARGE]),
    ],
)
def test_a_choice_keeps_who_may_answer_in_order_and_the_header_says_who_may_not(
    rules: Any, left: list[str]
) -> None:
    narrowed = feature(**rules).narrow(Choice(targets(), ("sticky user",)), "gpt")
    assert [each.label for each in narrowed.targets] == left
    told = b"".join([each.headers for each in narrowed.targets])
    assert (b"f forbids" in told) == (len(left) < 2)
    assert (b"sticky user" in told) == (len(left) < 2)  # nothing is written anew where nothing was left out


def test_nobody_left_is_a_refusal_by_policy_that_names_the_rule() -> None:
    with pytest.raises(PolicyRefused) as refused:
        feature(forbid=("small",)).narrow(Choice(targets()), "gpt")
    assert (refused.value.reason, refused.value.limit, refused.value.status) == (
        "no_model_allowed",
        "small",
        403,
    )


def test_a_cascade_asks_no_forbidden_model_either() -> None:
    small, large = targets()
    both = Choice((small, large), (), "small", (large,), Cascade(0.5))
    kept = feature(only=("small",)).narrow(both, "gpt")
    assert kept.larger == (large,) and kept.cascade is not None
    cut = feature(forbid=(LARGE,)).narrow(both, "gpt")
    assert cut.larger == () and cut.cascade is None and [each.label for each in cut.targets] == [SMALL]


def test_the_first_rule_that_fits_answers() -> None:
    rules = tuple(
        AnswerRuleSettings(pattern=pattern, text=text)
        for pattern, text in (("never", "a"), ("(?i)open", "b"), ("when", "c"))
    )
    found = feature(fallback=("rule",), rules=rules)
    assert [found.rule(words) for words in ("when do you OPEN", "when?", "\ud800 who?", "")] == [
        "b",
        "c",
        "",
        "",
    ]


@pytest.mark.parametrize(
    ("caller", "name", "counts"),
    [
        (who(), "a", "a of the team"),
        (who(team="other"), "a", "a of acme"),
        (who("elsewhere"), "a", "a of all"),
        (who(), "b", "b of all"),
        (who(), "c", "all of acme"),
        (who("elsewhere"), "c", ""),
        (who(), "", "all of acme"),
    ],
)
def test_a_name_counts_before_none_and_the_exact_tenant_before_the_wide(
    caller: Principal, name: str, counts: str
) -> None:
    rows = (
        ("a", "acme", "search", "a of the team"),
        ("a", "acme", "", "a of acme"),
        ("a", "", "", "a of all"),
        ("b", "", "", "b of all"),
        ("", "acme", "", "all of acme"),
    )
    features = Features(
        [FeatureSettings(name=n, org=o, team=t, fallback=("canned",), canned=text) for n, o, t, text in rows]
    )
    found = features.of(caller, name)
    assert ("" if found is None else found.canned) == counts


def mistakes(*rules: FeatureSettings, whole: bool = True, means: Means | None = None) -> list[str]:
    """Return what is wrong with rules over the route `gpt`."""
    known: dict[str, Sequence[Target]] = {"gpt": targets()}
    return list(mistakes_of(rules, Known(known, whole), means or Means()))


def test_names_are_not_held_against_providers_that_have_not_said_what_they_serve() -> None:
    rules = FeatureSettings(name="f", only=("ghost", "small"), fallback=("ghost",))
    assert len(mistakes(rules)) == 2
    assert mistakes(rules, whole=False) == []


def test_what_a_deployment_has_may_be_fallen_back_to() -> None:
    means = Means(stale=True, webhooks={"desk": frozenset({"acme"}), "ops": frozenset()})
    good = FeatureSettings(name="f", org="acme", fallback=("stale", "later"), later="desk")
    assert mistakes(good, means=means) == []
    [alone] = mistakes(FeatureSettings(name="f", fallback=("later",), later="ops"), means=means)
    assert "must name the organisation" in alone
    [theirs] = mistakes(FeatureSettings(name="f", org="x", fallback=("later",), later="desk"), means=means)
    assert "must name the organisation" in theirs


def test_patterns_that_are_too_large_together_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "MEMORY_BYTES", 1 << 20)
    many = tuple(AnswerRuleSettings(pattern=rf"[^\pL]a{number}[^\pL]", text="x") for number in range(100))
    [found] = mistakes(FeatureSettings(name="f", fallback=("rule",), rules=many))
    assert found.startswith("features[f].rules: 100 patterns are too large together")
