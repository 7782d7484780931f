"""Filters: what an address says is what the platform is asked for, and a link leads to exactly what it counts."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.console.filters import FIELDS, PERIODS, Sought, group_fields, sought
from penstock.kernel.errors import Invalid

words = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=40).filter(
    lambda text: text.strip() == text
)


@given(st.dictionaries(st.sampled_from(sorted(FIELDS)), words), st.sampled_from(["", *PERIODS]))
def test_a_filter_survives_being_written_into_an_address(named, last):
    link = Sought(named, last).requests()
    assert sought(dict(parse_qsl(urlsplit(link).query))) == Sought(named, last)


def test_a_period_up_to_now_begins_so_long_before():
    assert Sought(last="1h").where(10_000.0) == {"since_s": 6_400.0}


def test_a_period_of_its_own_goes_before_the_page_s_usual_one():
    assert sought({"since_s": "5", "until_s": "9"}, last="30d") == Sought({}, "", 5.0, 9.0)
    assert sought({}, last="30d").last == "30d"


def test_what_is_no_field_is_not_asked_for():
    assert sought({"admin": "1", "team": " search ", "user": "  "}).where(0.0) == {"team": "search"}


@pytest.mark.parametrize(
    "query", [{"last": "1y"}, {"since_s": "nan"}, {"since_s": "-1"}, {"until_s": "soon"}, {"until_s": "1e12"}]
)
def test_a_period_that_is_none_is_refused_by_name(query):
    with pytest.raises(Invalid) as refused:
        sought(query)
    assert refused.value.field in query


def test_an_hour_and_a_day_narrow_the_period_and_all_else_a_field():
    assert group_fields("day", "86400") == {"last": "", "since_s": "86400", "until_s": "172800"}
    assert group_fields("hour", "7200") == {"last": "", "since_s": "7200", "until_s": "10800"}
    assert group_fields("team", "search") == {"team": "search"}


def test_a_change_of_a_link_replaces_and_an_empty_one_drops():
    both = Sought({"team": "a"}, "1h")
    assert both.query(team="b", last="") == "team=b"
    assert both.is_open is False
    assert Sought().is_open
