"""What a request says of itself, as routing is told it."""

from __future__ import annotations

import msgspec
import pytest

from penstock.gateway.faces import OPENAI
from penstock.gateway.route_ask import route_ask
from penstock.kernel.context import RequestContext
from tests.unit.gateway.rig import CHATS, chat
from tests.unit.gateway.test_admission import principal


@pytest.mark.parametrize(
    ("says", "tier", "urgent"),
    [
        (None, "premium", False),
        ("high", "premium", False),
        ("urgent", "premium", True),
        ("Critical", "standard", True),
        ("urgent", "background", False),
        ("urgent", "batch", False),
    ],
)
def test_a_request_is_as_urgent_as_it_says_and_its_keys_tier_allows(
    says: str | None, tier: str, urgent: bool
) -> None:
    who = msgspec.structs.replace(principal(), tier=tier)
    context = RequestContext("req_1", who, deadline_s=60.0, received_ns=0)
    context.header = ({} if says is None else {b"x-penstock-priority": says.encode()}).get
    assert route_ask(context, OPENAI.open(chat(), CHATS), 1, text=str).urgent is urgent
