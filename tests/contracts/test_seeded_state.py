"""The suite finds bugs: eight are seeded into each state, one at a time, and every one is caught."""

from __future__ import annotations

import msgspec
import pytest

from penstock.adapters.state.embedded import EmbeddedState
from penstock.adapters.state.meters import Bucket, Slots, Window
from penstock.adapters.state.redis import RedisState
from penstock.contracts.state import CASES
from penstock.ports.state import Taken
from tests.contracts.engines import edited, embedded_state, first_broken, redis_state

# ------------------------------------------------------------------------------------------ in the process


def admits_one_over_the_bound(patch):
    """`>=` where `>` belongs."""
    honest = Bucket._follow

    def generous(bucket, ask):
        honest(bucket, ask)
        bucket.cap += bucket.period_us

    patch.setattr(Bucket, "_follow", generous)
    patch.setattr(Bucket, "left", lambda b: min(b.limit, max(0, (b.cap - b.level) // b.period_us - 1)))


def keeps_part_of_a_refused_request(patch):
    """Buckets before the refused ask stay taken."""
    patch.setattr(Bucket, "undo", lambda *_: None)


def forgets_the_tenant(patch):
    """The key is what follows the tenant."""

    class Careless(EmbeddedState):
        async def take(self, asks, holder):
            mixed = [msgspec.structs.replace(ask, key=f"x|{ask.key.partition('|')[2]}") for ask in asks]
            return await super().take(
                mixed if all(ask.key[:1] not in ("", "|") for ask in asks) else asks, holder
            )

    return Careless


def refills_by_the_wall_clock(patch):
    """Intervals are read off the clock that may be set back."""

    class Walled(EmbeddedState):
        def __init__(self, clock):
            super().__init__(clock)
            self._now_s = clock.wall_s

    return Walled


def gives_back_more_than_was_taken(patch):
    """What is given back beyond the limit is kept for later."""
    honest = Bucket.give_back

    def hoarding(bucket, amount, now_us, holder):
        bucket.take(0, now_us, holder)
        bucket.cap += max(0, amount * bucket.period_us - bucket.level)
        honest(bucket, amount, now_us, holder)

    patch.setattr(Bucket, "give_back", hoarding)


def lets_a_former_owner_release(patch):
    """Whoever holds a claim of the key may end the lease."""
    patch.setattr(EmbeddedState, "_held", lambda state, claim, now_us: state._leases.entries.get(claim.key))


def counts_in_fixed_windows(patch):
    """The window starts anew at each edge."""

    def fixed(window, now_us):
        edge = now_us - now_us % window.period_us
        while window.groups and window.groups[0][1] < edge:
            window.total -= window.groups.popleft()[2]
        return not window.groups

    patch.setattr(Window, "settle", fixed)


def never_lets_a_slot_lapse(patch):
    """A holder that vanished blocks for ever."""
    patch.setattr(Slots, "settle", lambda slots, now_us: not slots.holders)


EMBEDDED = [
    admits_one_over_the_bound,
    keeps_part_of_a_refused_request,
    forgets_the_tenant,
    refills_by_the_wall_clock,
    gives_back_more_than_was_taken,
    lets_a_former_owner_release,
    counts_in_fixed_windows,
    never_lets_a_slot_lapse,
]


@pytest.mark.parametrize("seed", EMBEDDED, ids=lambda seed: seed.__name__)
def test_the_suite_catches_embedded(seed, monkeypatch):
    adapter = seed(monkeypatch) or EmbeddedState
    assert first_broken(CASES, lambda: embedded_state(adapter)), seed.__doc__


# ------------------------------------------------------------------------------------------------- in Redis

SCRIPTS = {
    "refuses at the bound": [("if taken > self.limit * self.period", "if taken >= self.limit * self.period")],
    "keeps part of a refused request": [
        (
            "local retry = ask.meter:retry(ask.amount)",
            "local retry = ask.meter:retry(ask.amount) for _, meter in pairs(by_key) do meter:save() end",
        )
    ],
    "refills when the clock is set back": [
        ("if at > now then", "if false then"),
        ("(now - at) * self.limit", "math.abs(now - at) * self.limit"),
    ],
    "gives back twice as much": [
        ("self.level - amount * self.period)", "self.level - 2 * amount * self.period)")
    ],
    "lets a former owner release": [
        ("is_held and holder == owner and fence == tonumber(ARGV[5])", "is_held"),
    ],
    "forgets a group with its first event": [
        ("if youngest - behind + self.period > now", "if first - behind + self.period > now")
    ],
    "counts slots that lapsed": [
        ("'(' .. whole(now), '+inf')\n  local mine", "'-inf', '+inf')\n  local mine")
    ],
    "never raises the fence": [("math.max(fence + 1, now)", "1")],
}


@pytest.mark.parametrize("changes", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_the_suite_catches_in_the_script(changes, redis_url):
    class Mutant(RedisState):
        script = edited(RedisState.script, *changes)

    assert first_broken(CASES, lambda: redis_state(redis_url, Mutant))


def forgets_the_tenant_in_the_key(self, key, kind):
    """The key is what follows the tenant."""
    return f"{self._prefix}:{kind}:{key.partition('|')[2]}"


async def asks_one_by_one(self, asks, holder):
    """One round trip per ask: what was taken before a refusal stays taken."""
    answers = []
    for ask in asks:
        answers.append(await RedisState._measure(self, "take", [ask], holder))
        if answers[-1].refused == 0:
            break
    rest = await self.peek(asks)
    refused = len(answers) - 1 if answers[-1].refused == 0 else -1
    return Taken(refused, rest.remaining, rest.reset_s, answers[-1].retry_after_s)


@pytest.mark.parametrize(
    ("name", "method"), [("_key", forgets_the_tenant_in_the_key), ("take", asks_one_by_one)]
)
def test_the_suite_catches_in_the_adapter(name, method, redis_url):
    mutant = type("Mutant", (RedisState,), {name: method})
    assert first_broken(CASES, lambda: redis_state(redis_url, mutant)), method.__doc__
