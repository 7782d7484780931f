"""The lists of models: what a key may use, page after page, in the words of each vendor's SDK."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock.gateway.models import Models
from penstock.kernel.context import Principal
from penstock.kernel.errors import NotFound
from penstock.net.request import Request
from tests.support import run
from tests.unit.gateway.rig import HANG, Caller, House, Vendor
from tests.unit.gateway.test_admission import principal

EVERY = ["both", "small", "sim/small", "big", "dear/big"]
WORDS: dict[str, dict[bytes, bytes]] = {
    "openai": {},
    "anthropic": {b"anthropic-version": b"2023-06-01"},
    "gemini": {b"x-goog-api-key": b"pen-x"},
}


def asked(path: str, words: str = "openai", query: bytes = b"", who: Principal | None = None) -> Any:
    """Ask for `path` and return (status, body)."""
    house = House(Vendor("sim", HANG), Vendor("dear", HANG))
    fields = WORDS[words]
    request = Request("GET", path, query, list(fields.items()), fields)
    models, caller = Models(lambda: house.table), Caller()
    serve: Any = models.one if "/models/" in path else models.list
    run(serve(request, caller, who or principal()))
    assert caller.headers.count(b"x-request-id: req_") == 1
    return caller.status, msgspec.json.decode(caller.body)


def test_a_key_is_told_of_the_models_it_may_use_and_of_no_other() -> None:
    status, told = asked("/v1/models", who=principal(models=("small", "dear/big", "gone")))
    assert (status, [model["id"] for model in told["data"]]) == (200, ["small", "dear/big"])
    assert [model["id"] for model in asked("/v1/models")[1]["data"]] == EVERY


@pytest.mark.parametrize(
    ("path", "words", "many", "name"),
    [
        ("/v1/models", "openai", "data", "id"),
        ("/v1/models", "anthropic", "data", "id"),
        ("/v1/models", "gemini", "models", "baseModelId"),
        ("/v1beta/models", "openai", "models", "baseModelId"),
    ],
)
def test_each_sdk_is_answered_in_its_own_words(path: str, words: str, many: str, name: str) -> None:
    assert [model[name] for model in asked(path, words)[1][many]] == EVERY
    assert asked(f"{path}/big", words)[1][name] == "big"
    assert asked(f"{path}/dear/big", words)[1][name] == "dear/big"


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("name", ["gone", "big"])
def test_a_model_that_is_not_there_or_not_for_this_key_does_not_exist(words: str, name: str) -> None:
    status, told = asked(f"/v1/models/{name}", words, who=principal(models=("small", "gone")))
    assert status == 404 and name in told["error"]["message"]


@pytest.mark.parametrize("size", [1, 2, 4, 5, 6])
@pytest.mark.parametrize("words", ["anthropic", "gemini"])
def test_pages_follow_one_another_without_gap_or_repetition(words: str, size: int) -> None:
    seen: list[str] = []
    token = ""
    for _ in range(len(EVERY) + 1):
        if words == "anthropic":
            query = f"limit={size}" + (f"&after_id={token}" if token else "")
            page = asked("/v1/models", words, query.encode())[1]
            names, token = [each["id"] for each in page["data"]], page["last_id"] if page["has_more"] else ""
        else:
            query = f"pageSize={size}" + (f"&pageToken={token}" if token else "")
            page = asked("/v1beta/models", words, query.encode())[1]
            names, token = [each["baseModelId"] for each in page["models"]], page.get("nextPageToken", "")
        assert 1 <= len(names) <= size
        seen += names
        if not token:
            break
    assert seen == EVERY


def test_a_page_before_a_model_ends_right_before_it() -> None:
    page = asked("/v1/models", "anthropic", b"limit=2&before_id=big")[1]
    assert ([each["id"] for each in page["data"]], page["has_more"]) == (EVERY[1:3], True)


@pytest.mark.parametrize(
    "query",
    [
        b"limit=0",
        b"limit=1001",
        b"limit=000000001" + b"0" * 5_000,
        b"limit=x",
        b"after_id=gone",
        b"before_id=gone",
    ],
)
def test_a_page_that_cannot_be_is_refused_by_name(query: bytes) -> None:
    status, told = asked("/v1/models", "anthropic", query)
    assert (status, told["error"]["field"]) == (400, query.partition(b"=")[0].decode())


def test_a_key_with_models_of_its_own_is_told_of_no_other_when_it_names_one_that_is_not_there() -> None:
    """Given a key for `small` and a name that nobody serves any more, then the refusal names no model of others."""
    status, told = asked("/v1/models/gone", who=principal(models=("small", "gone")))
    assert (status, told["error"]["remedy"]) == (404, "Models served: small.")
    assert "big" not in told["error"]["message"]
    _, told = asked("/v1/models/gone", who=principal(models=("gone",)))
    assert told["error"]["remedy"] == "None of those served is this key's."


def test_a_chat_with_a_model_that_is_not_there_names_none_that_the_key_may_not_use() -> None:
    house = House(Vendor("sim", HANG), Vendor("dear", HANG))
    with pytest.raises(NotFound) as refused:
        run(house.serve(model="elsewhere", who=principal(models=("small",))))
    assert refused.value.remedy == "Models served: small."
