"""What each feature may be answered by, and what stands in for its models. Pure: settings in, decisions out.

    only, forbid   which of a route's back ends may answer at all
    steps          what is tried in turn once those have failed       `gateway/fallbacks`

Promises: of several rules the one that names the feature counts, else that of every feature; among those the team's,
else the organisation's, else everybody's. A back end that may not answer is never chosen, by whatever way; when none is
left the request is refused before anything is held. Every mistake in the rules is found at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

import msgspec

from penstock.gateway.choosing import Choice
from penstock.gateway.targets import Target
from penstock.kernel.errors import PolicyRefused
from penstock.kernel.settings_features import FeatureSettings
from penstock.mechanisms.patterns import PatternSet

STALE: Final = "stale"
RULE: Final = "rule"
CANNED: Final = "canned"
LATER: Final = "later"
WORDS: Final = frozenset((STALE, RULE, CANNED, LATER))
"""The steps that are no model's name."""


class Means(NamedTuple):
    """What this deployment has for a feature to fall back to: kept answers, and webhooks by name with the organisations
    each takes answers of.
    """

    stale: bool = False
    webhooks: Mapping[str, frozenset[str]] = {}


class Whose(Protocol):
    """Who asks, or asked: a caller or the event of a request."""

    @property
    def org(self) -> str:
        """The organisation."""
        ...

    @property
    def team(self) -> str:
        """The team."""
        ...


class Feature(msgspec.Struct, frozen=True, kw_only=True):
    """The rules of one feature, ready to use. `team` is whose they are, "" for every one; `p95_ms` 0 is no budget."""

    name: str
    team: str = ""
    p95_ms: int = 0
    only: frozenset[str] = frozenset()
    forbid: frozenset[str] = frozenset()
    steps: tuple[str, ...] = ()
    patterns: PatternSet | None = None
    texts: tuple[str, ...] = ()
    canned: str = ""
    later: str = ""

    def admits(self, target: Target) -> bool:
        """Tell whether a back end may answer."""
        names = {target.model, target.label}
        return not names & self.forbid and (not self.only or bool(names & self.only))

    def narrow(self, choice: Choice, model: str) -> Choice:
        """Return a choice without the back ends that may not answer. Raises PolicyRefused when none is left."""
        if not (self.only or self.forbid):
            return choice
        able = tuple([each for each in choice.targets if self.admits(each)])
        if not able:
            raise PolicyRefused(
                f"No back end of {model!r} may answer the feature {self.name or 'every one'!r}.",
                code="no_model_allowed",
                field="model",
                value=model,
                limit=", ".join(sorted(self.only or self.forbid)),
                remedy="Ask for a model that may, or ask the operator.",
            )
        if len(able) == len(choice.targets):
            return choice
        left = ", ".join([each.label for each in choice.targets if each not in able])
        why = (*choice.why, f"{self.name or 'every feature'} forbids {left}")
        larger = tuple([each for each in choice.larger if self.admits(each)])
        return choice._replace(
            targets=tuple([each.because(why) for each in able]),
            why=why,
            larger=larger,
            cascade=choice.cascade if larger else None,
        )

    def rule(self, words: str) -> str:
        """Return the text of the first rule that fits what the user said last, "" when none does."""
        hits = [] if self.patterns is None else self.patterns.hits(words.encode(errors="replace"))
        return self.texts[hits[0]] if hits else ""


class Features:
    """The rules of every feature."""

    def __init__(self, features: Iterable[FeatureSettings]) -> None:
        """Use settings without a mistake (`mistakes_of`)."""
        self._rules = {(each.name, each.org, each.team): _ready(each) for each in features}
        self._named = frozenset([each.name for each in self._rules.values()])
        self.has_budgets = any(each.p95_ms for each in self._rules.values())
        """Whether the latency of any is to be watched."""

    def of(self, principal: Whose, feature: str) -> Feature | None:
        """Return the rules of a caller's feature, None when there are none."""
        for name in (feature, "") if feature in self._named else ("",):
            for org, team in ((principal.org, principal.team), (principal.org, ""), ("", "")):
                found = self._rules.get((name, org, team))
                if found is not None:
                    return found
        return None


def _ready(settings: FeatureSettings) -> Feature:
    return Feature(
        name=settings.name,
        team=settings.team,
        p95_ms=settings.p95_ms,
        only=frozenset(settings.only),
        forbid=frozenset(settings.forbid),
        steps=settings.fallback,
        patterns=PatternSet([rule.pattern for rule in settings.rules]) if settings.rules else None,
        texts=tuple([rule.text for rule in settings.rules]),
        canned=settings.canned,
        later=settings.later,
    )


class Known(NamedTuple):
    """What the names in rules can mean: targets by public model name. `whole` is whether every provider has said what
    it serves; until then a name nobody knows may still come to be one.
    """

    models: Mapping[str, Sequence[Target]]
    whole: bool


def mistakes_of(features: Sequence[FeatureSettings], known: Known, means: Means) -> Iterator[str]:
    """Yield whatever is wrong with the rules of features, each as where it is and what is expected."""
    for place, times in Counter((each.name, each.org, each.team) for each in features).items():
        if times > 1:
            yield f"features: {_called(*place)} is there {times} times"
    for each in features:
        where = f"features[{_called(each.name, each.org, each.team)}]"
        if each.team and not each.org:
            yield f"{where}.org: missing, though there is a team"
        yield from _of_models(where, each, known)
        yield from _of_steps(where, each, known)
        yield from _of_words(where, each, means)
        yield from _of_patterns(where, each)


def _called(name: str, org: str, team: str) -> str:
    tenant = "/".join(part for part in (org, team) if part)
    return f"{name or '*'}{' of ' if tenant else ''}{tenant}"


def _of_models(where: str, each: FeatureSettings, known: Known) -> Iterator[str]:
    if not known.whole:
        return
    served = {name for targets in known.models.values() for t in targets for name in (t.model, t.label)}
    for member, names in (("only", each.only), ("forbid", each.forbid)):
        for name in names:
            if name not in served:
                yield f"{where}.{member}: no back end is {name!r}, by its provider's name or as provider/model"


def _of_steps(where: str, each: FeatureSettings, known: Known) -> Iterator[str]:
    """Yield steps that come twice, that nobody serves, or that the feature itself forbids."""
    feature = _ready(msgspec.structs.replace(each, rules=()))
    for name, times in Counter(each.fallback).items():
        if times > 1:
            yield f"{where}.fallback: {name!r} is there {times} times"
        if name in WORDS:
            continue
        targets = known.models.get(name)
        if targets is None:
            if known.whole:
                yield f"{where}.fallback: {name!r} is neither a model served nor {', '.join(sorted(WORDS))}"
        elif not any(map(feature.admits, targets)):
            yield f"{where}.fallback: no back end of {name!r} may answer this feature"


def _of_words(where: str, each: FeatureSettings, means: Means) -> Iterator[str]:
    """Yield steps without what they need, and what no step uses."""
    for word, member, given in (
        (RULE, "rules", bool(each.rules)),
        (CANNED, "canned", bool(each.canned)),
        (LATER, "later", bool(each.later)),
    ):
        if word in each.fallback and not given:
            yield f"{where}.{member}: missing, though `fallback` has {word!r}"
        if given and word not in each.fallback:
            yield f"{where}.{member}: never used, `fallback` does not have {word!r}"
    if STALE in each.fallback and not means.stale:
        yield f"{where}.fallback: 'stale' needs `cache.url` and a `cache.stale_s` above 0"
    if each.later:
        takes = means.webhooks.get(each.later)
        if takes is None:
            yield f"{where}.later: no webhook is called {each.later!r}"
        elif not takes or (each.org and each.org not in takes):
            yield f"{where}.later: the webhook {each.later!r} must name the organisation in its `orgs`"


def _of_patterns(where: str, each: FeatureSettings) -> Iterator[str]:
    """Yield patterns that cannot be read or, when all can, that they are too large together."""
    found: list[str] = []
    for number, rule in enumerate(each.rules):
        try:
            PatternSet([rule.pattern])
        except ValueError as error:
            found.append(f"{where}.rules[{number}].pattern: {error}")
    if not found:
        try:
            PatternSet([rule.pattern for rule in each.rules])
        except ValueError as error:
            found.append(f"{where}.rules: {error}")
    yield from found
