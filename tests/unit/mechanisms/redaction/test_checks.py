"""A check has the last word: what is a card, an IBAN, a number, an address, a key, and what only looks like one."""

from __future__ import annotations

import pytest

from penstock.mechanisms.redaction import checks


@pytest.mark.parametrize(
    ("digits", "good"),
    [
        ("4111111111111111", True),
        ("4111111111111112", False),  # checksum
        ("378282246310005", True),
        ("30569309025904", True),
        ("6304000000000000", True),
        ("1111111111111117", False),  # no issuer begins with 1
        ("501800000009", True),  # twelve, the fewest
        ("41111111111", False),  # eleven
        ("6304000000000000000", True),  # nineteen, the most
        ("63040000000000000003", False),  # twenty
    ],
)
def test_a_card_has_an_issuer_a_length_and_a_checksum(digits: str, good: bool) -> None:
    assert checks.card(digits) is good


def test_digits_after_a_card_are_not_part_of_it() -> None:
    assert checks.card_length("4111 1111 1111 1111 1227") == len("4111 1111 1111 1111")
    assert checks.card_length("4111 1111 1111 1112 1227") == 0


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("GB82WEST12345698765432", 22),
        ("GB82 WEST 1234 5698 7654 32", 27),
        ("GB82 WEST 1234 5698 7654 32 ABCD", 27),  # what follows is another word
        ("GB82WEST12345698765433", 0),  # remainder
        ("GB82WEST1234569876543", 0),  # a digit short
        ("ZZ82WEST12345698765432", 0),  # no such country
        ("NO9386011117947", 15),  # the shortest
    ],
)
def test_an_iban_has_its_countrys_length_and_remainder_one(text: str, length: int) -> None:
    assert checks.iban_length(text) == length


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("123-45-6789", True),
        ("000-45-6789", False),
        ("666-45-6789", False),
        ("900-45-6789", False),
        ("123-00-6789", False),
        ("123-45-0000", False),
        ("899-99-9999", True),
    ],
)
def test_an_ssn_avoids_what_was_never_given_out(text: str, good: bool) -> None:
    assert checks.ssn(text) is good


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("10.20.30.40", True),
        ("256.1.1.10", False),
        ("10.020.30.40", False),
        ("127.0.0.1", False),
        ("0.0.0.0", False),  # noqa: S104 - nobody's address is what is tested
        ("3.1.3.7", False),  # a section
        ("2001:db8::1", True),
        ("::1", False),
        ("1::2", False),  # a slice
        ("12:30:45", False),
        ("00:1a:2b:3c:4d:5e", False),
        ("1:2:3:4:5:6:7:8", True),
    ],
)
def test_an_address_is_well_formed_and_somebodys(text: str, good: bool) -> None:
    assert checks.ip(text) is good


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("+44 20 7946 0958", True),
        ("+1 202-555-0143", True),
        ("+1 202-555-014", False),  # ten digits in a plan of eleven
        ("+907133923", True),
        ("+12345680", False),
        ("+999 12 34 56 78", True),
        ("+210 12 34 56 78", True),
        ("+89 12 34 56 78", False),  # no such code
        ("+35236450.6", False),  # a figure
        ("0044 20 7946 0958", True),
        ("+1-903-140-4508x769", True),
    ],
)
def test_an_international_number_has_a_calling_code_in_use(text: str, good: bool) -> None:
    assert checks.international(text) is good


@pytest.mark.parametrize("text", ["01-02-2024 10", "2024-01-02 123", "020 7946", "02079460958123"])
def test_dates_and_wrong_lengths_are_no_national_numbers(text: str) -> None:
    assert not checks.national(text)


@pytest.mark.parametrize(
    ("text", "good"),
    [("a@b.co", True), (".a@b.co", False), ("a..b@c.de", False), ("icon@2x.png", False), ("a@-b.de", False)],
)
def test_an_address_of_mail_is_not_a_file(text: str, good: bool) -> None:
    assert checks.email(text) is good


@pytest.mark.parametrize(
    ("value", "length"),
    [
        ("hunter22", 8),
        ("hunter22.", 8),
        ("p@ssword", 8),
        ("h2nte", 0),
        ("please", 0),
        ("{{SECRET_1}}", 0),
        ("${SECRET_1}", 0),
        ("get_token(user1)", 0),
        ("config.secret.key", 0),
        ("/run/secrets/db1", 0),
        ("YOUR_API_KEY", 0),
        ("::Assign1", 0),
        ("xxxxxxxx", 0),
    ],
)
def test_a_bare_secret_is_not_prose_code_or_a_stand_in(value: str, length: int) -> None:
    assert checks.bare_secret_length(value) == length


@pytest.mark.parametrize(
    ("token", "good"),
    [
        ("kR7bX2mQ9vLp4TzW8nYc3HsJ", True),
        ("getUserAccountBalanceByCustomerIdV2", False),
        ("0123456789abcdef0123456789abcdef", False),
        ("req_kR7bX2mQ9vLp4TzW8nYc3HsJ", False),
        ("AAAAAAAAaaaaaaaa1111111122222222", False),
    ],
)
def test_a_random_token_is_not_a_name_a_digest_or_an_id(token: str, good: bool) -> None:
    assert checks.random_token(token) is good
