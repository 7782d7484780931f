"""The suite finds bugs: nine are seeded into the embedded secrets, one at a time, and every one is caught."""

from __future__ import annotations

import re

import pytest

from penstock.adapters.secrets import embedded
from penstock.adapters.secrets.embedded import FileSecrets
from penstock.contracts.secrets import CASES
from penstock.kernel.errors import Invalid, NotFound
from penstock.ports.secrets import Secret
from tests.contracts.file_harness import first_broken
from tests.contracts.test_secrets import on_file_secrets


def takes_any_name(patch):
    """A name is a path below the folder."""
    patch.setattr(embedded, "_NAME", re.compile(r"[^\0]*"))


def forgets_who_may_read(patch):
    """The mode is not looked at."""
    patch.setattr(FileSecrets, "_check", lambda secrets, path, facts: None)


def looks_at_the_last_digit_only(patch):
    """The group's rights are not looked at."""
    modes = {mode for mode in range(0o10000) if not mode & 0o007}
    patch.setattr(embedded, "_SAFE_MODES", modes)


def remembers_the_first_answer(patch):
    """A secret that was read once is never read again."""
    seen: dict[str, Secret] = {}
    honest = FileSecrets._from_file

    def remembering(secrets, name):
        if name not in seen:
            seen[name] = honest(secrets, name)
        return seen[name]

    patch.setattr(FileSecrets, "_from_file", remembering)


def keeps_the_newline(patch):
    """The newline at the end of the file becomes part of the secret."""

    def whole(secrets, name):
        path = secrets._folder / name
        return Secret(path.read_text()) if path.exists() else None

    patch.setattr(FileSecrets, "_from_file", whole)


def strips_too_much(patch):
    """Spaces at the ends go with the newline."""

    class Stripped(Secret):
        def __init__(self, text):
            super().__init__(text.strip())

    patch.setattr(embedded, "Secret", Stripped)


def shows_itself_when_formatted(patch):
    """An f-string shows the text."""

    class Shown(Secret):
        def __format__(self, spec):
            return self.reveal()

    patch.setattr(embedded, "Secret", Shown)


def puts_the_value_into_the_error(patch):
    """A secret that is no text is quoted in the refusal."""

    def quoting(secrets, name):
        path = secrets._folder / name
        if not path.exists():
            return None
        data = path.read_bytes()
        if not data.strip() or len(data) > 65_536:
            raise Invalid("The secret is refused.")
        try:
            return Secret(data.decode().removesuffix("\n"))
        except UnicodeDecodeError as error:
            raise Invalid(f"not text: {error.object!r}") from error

    patch.setattr(FileSecrets, "_from_file", quoting)


def does_not_say_what_is_missing(patch):
    """NotFound without a name."""

    async def vague(secrets, name):
        try:
            return await honest(secrets, name)
        except NotFound:
            raise NotFound("There is no such secret.") from None

    honest = FileSecrets.read
    patch.setattr(FileSecrets, "read", vague)


SEEDED = [
    takes_any_name,
    forgets_who_may_read,
    looks_at_the_last_digit_only,
    remembers_the_first_answer,
    keeps_the_newline,
    strips_too_much,
    shows_itself_when_formatted,
    puts_the_value_into_the_error,
    does_not_say_what_is_missing,
]


@pytest.mark.parametrize("seed", SEEDED, ids=lambda seed: seed.__name__)
def test_the_suite_catches(seed, monkeypatch, tmp_path):
    seed(monkeypatch)
    assert first_broken(CASES.cases, tmp_path, on_file_secrets), seed.__doc__


def test_and_blames_nothing_else(tmp_path):
    assert not first_broken(CASES.cases, tmp_path, on_file_secrets)
