"""What every secret store must keep: the promises of `ports/secrets.py` as cases.

A store of secrets is written by its operator, not through the port: `SecretsHarness.plant` stands in for the operator.
Where nobody can (a live deployment), the cases that need a secret raise NotTried.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from penstock.contracts.case import Contract, Harness, expect, expect_error, needs
from penstock.kernel.errors import Forbidden, Invalid, NotFound
from penstock.ports.secrets import Secrets

CASES: Contract[Secrets] = Contract("secrets")

CANARY = "canary-7f3a-do-not-show"
PLANT = "write a secret"


@dataclass(slots=True)
class SecretsHarness(Harness[Secrets]):
    """A harness that may write secrets: `plant(name, data, mode)` makes one, readable as the Unix `mode` says.

    `modes` tells whether the store has file modes at all; `beside(name, data)` puts a file next to the store's folder.
    """

    plant: Callable[[str, bytes, int], None] | None = None
    modes: bool = False
    beside: Callable[[str, bytes], None] | None = None


@CASES.case(1)
async def a_secret_is_read_as_it_is_now(h: Harness[Secrets]) -> None:
    """Whole, without the newline an editor adds, and the new one as soon as it was changed."""
    plant = needs(h.plant if isinstance(h, SecretsHarness) else None, PLANT)
    for data, text in (
        (CANARY.encode(), CANARY),
        (CANARY.encode() + b"\n", CANARY),
        (b"two\nlines\n", "two\nlines"),
        (b" spaces kept ", " spaces kept "),
        ("pässwörd".encode(), "pässwörd"),
        (b"x" * 65_536, "x" * 65_536),
    ):
        plant("api-key", data, 0o600)
        found = (await h.port.read("api-key")).reveal()
        expect(found == text, "read returns the current text", length=len(found), wanted=len(text))


@CASES.case(1)
async def what_is_missing_is_named(h: Harness[Secrets]) -> None:
    """NotFound says which name, and how to give it."""
    name = h.name("missing")
    error = await expect_error(NotFound, h.port.read(name), "an unknown secret is not found")
    expect(name in str(error), "the error names it", error=str(error))


@CASES.case(1)
async def no_error_shows_a_value(h: Harness[Secrets]) -> None:
    """A secret that cannot be used is refused without a byte of it: not text, too large, empty."""
    plant = needs(h.plant if isinstance(h, SecretsHarness) else None, PLANT)
    for data in (CANARY.encode() + b"\xff\xfe", CANARY.encode() * 4_000, b"", b"\n"):
        plant("bad", data, 0o600)
        error = await expect_error(Invalid, h.port.read("bad"), "an unusable secret is refused")
        seen = f"{error} {error!r} {error.__cause__!r} {error.__context__ if not error.__suppress_context__ else ''}"
        expect(CANARY not in seen and "xff" not in seen, "the error shows no byte of it", error=seen[:200])


@CASES.case(2)
async def a_file_that_others_can_use_is_refused(h: Harness[Secrets]) -> None:
    """Every mode but 0600 and 0400, with the mode and the remedy; made safe, it is read."""
    able = h.plant if isinstance(h, SecretsHarness) and h.modes else None
    plant = needs(able, "give a secret's file a mode")
    for mode in (0o644, 0o640, 0o604, 0o602, 0o620, 0o666, 0o700, 0o601, 0o777, 0o4600):
        plant("shared", CANARY.encode(), mode)
        error = await expect_error(Forbidden, h.port.read("shared"), f"mode {mode:04o} is refused")
        expect(f"{mode:04o}" in str(error), "the error tells the mode", error=str(error))
        expect("chmod" in str(error), "and the remedy", error=str(error))
        expect(CANARY not in str(error), "and not the value")
    for mode in (0o600, 0o400):
        plant("shared", CANARY.encode(), mode)
        expect((await h.port.read("shared")).reveal() == CANARY, "a safe mode is read", mode=f"{mode:04o}")


@CASES.case(3)
async def a_secret_does_not_show_itself(h: Harness[Secrets]) -> None:
    """However it is printed, formatted or put into something that is printed."""
    plant = needs(h.plant if isinstance(h, SecretsHarness) else None, PLANT)
    plant("hidden", CANARY.encode(), 0o600)
    secret = await h.port.read("hidden")
    shown = [
        str(secret),
        repr(secret),
        f"{secret}",
        f"{secret!r}",
        f"{secret:>40}",
        f"{[secret]}",
    ]
    shown += [format(secret), str({"k": secret}), repr((secret,)), str(vars(type(secret)))]
    expect(not [text for text in shown if CANARY in text], "a secret does not show itself", shown=shown)
    expect(all("***" in text for text in shown[:-1]), "it shows stars", shown=shown[:-1])
    expect(secret.reveal() == CANARY, "only reveal() returns it")
    expect(CANARY not in repr(h.port) + str(h.port), "nor does the store show it")


@CASES.case(4)
async def names_that_could_leave_are_refused(h: Harness[Secrets]) -> None:
    """By their form, before anything is looked for; plain words are plain words."""
    beside = h.beside if isinstance(h, SecretsHarness) else None
    if beside is not None:
        beside("outside", CANARY.encode())
    bad = (
        "",
        ".",
        "..",
        "../outside",
        "/etc/passwd",
        "a/b",
        "a\0b",
        ".hidden",
        "-x",
        "a b",
        "é",
        "a\n",
        "n" * 101,
    )
    for name in bad:
        await expect_error(Invalid, h.port.read(name), f"{name[:20]!r} is refused")
    for name in ("a", "A.b-c_1", "n" * 100):
        await expect_error(NotFound, h.port.read(name), f"{name[:20]!r} is a name")
    needs(beside, "put a file beside the secrets")
