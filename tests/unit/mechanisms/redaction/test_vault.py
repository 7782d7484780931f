"""What is taken out comes back: the same, once, however the answer is cut, and never anything else."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.mechanisms.redaction.vault import Vault, masked

VALUES = st.text(alphabet=st.sampled_from('ab@"\\<>_1é\n'), min_size=1, max_size=6)


def chunks_of(text: str, cuts: list[int]) -> list[str]:
    """Cut `text` at the given places."""
    places = sorted({cut % (len(text) + 1) for cut in cuts})
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]


def test_one_value_has_one_stand_in_numbered_as_it_appears() -> None:
    vault = Vault()
    first = vault.stand_in("EMAIL", "a@b.co")
    assert (first, vault.stand_in("EMAIL", "c@d.eu"), vault.stand_in("IP", "10.1.2.3")) == (
        "<EMAIL_1>",
        "<EMAIL_2>",
        "<IP_1>",
    )
    assert vault.stand_in("EMAIL", "a@b.co") == first
    assert len(vault) == 3


@pytest.mark.parametrize("written", ["<EMAIL_1>", r"\u003cEMAIL_1\u003e", r"\u003CEMAIL_1\u003E"])
def test_a_stand_in_that_the_request_holds_already_is_never_given_out(written: str) -> None:
    vault = Vault([f"Write {written} to a@b.co"])
    assert vault.stand_in("EMAIL", "a@b.co") == "<EMAIL_2>"
    assert vault.restore("<EMAIL_1> is <EMAIL_2>") == "<EMAIL_1> is a@b.co"


def test_a_masked_value_does_not_come_back() -> None:
    vault = Vault()
    vault.stand_in("EMAIL", "a@b.co")
    assert vault.restore(masked("EMAIL")) == "<EMAIL>"


def test_a_longer_number_is_another_stand_in() -> None:
    vault = Vault()
    for number in range(12):
        vault.stand_in("IP", f"10.0.0.{number}")
    assert vault.restore("<IP_1> <IP_12> <IP_13>") == "10.0.0.0 10.0.0.11 <IP_13>"


@given(st.lists(VALUES, min_size=1, max_size=12, unique=True), st.data())
def test_any_chunking_restores_the_same_as_the_whole(values: list[str], data: st.DataObject) -> None:
    vault = Vault()
    stand_ins = [vault.stand_in(data.draw(st.sampled_from(["EMAIL", "IP"])), value) for value in values]
    pieces = data.draw(
        st.lists(
            st.sampled_from([*stand_ins, "<", "<EMAIL_", "<<IP_1", "x", " ", ">", "<IP_99>"]), max_size=12
        )
    )
    text = "".join(pieces)
    restorer = vault.restorer()
    said = ""
    longest = max(map(len, stand_ins))
    for chunk in chunks_of(text, data.draw(st.lists(st.integers(0, 200), max_size=20))):
        said += restorer.feed(chunk)
        assert restorer.held < longest
    assert said + restorer.end() == vault.restore(text)


@given(st.lists(VALUES, min_size=1, max_size=4, unique=True), st.data())
def test_restored_arguments_are_valid_json_with_the_very_values(
    values: list[str], data: st.DataObject
) -> None:
    vault = Vault()
    stand_ins = [vault.stand_in("SECRET", value) for value in values]
    escape = data.draw(st.sampled_from(["plain", "lower", "upper"]))
    text = json.dumps({"said": " and ".join(stand_ins)})
    if escape != "plain":
        lower, upper = (r"\u003c", r"\u003e") if escape == "lower" else (r"\u003C", r"\u003E")
        text = text.replace("<", lower).replace(">", upper)
    restorer = vault.restorer(in_json=True)
    said = "".join(map(restorer.feed, chunks_of(text, data.draw(st.lists(st.integers(0, 200), max_size=20)))))
    assert json.loads(said + restorer.end()) == {"said": " and ".join(values)}


def test_nothing_is_held_back_that_cannot_become_a_stand_in() -> None:
    vault = Vault()
    vault.stand_in("EMAIL", "a@b.co")
    restorer = vault.restorer()
    assert restorer.feed("a <b> <I") == "a <b> <I"
    assert restorer.feed("MG <EMA") == "MG "
    assert restorer.feed("IL_1> x") == "a@b.co x"
    assert restorer.feed("<EMAIL_1") == ""
    assert restorer.end() == "<EMAIL_1"
