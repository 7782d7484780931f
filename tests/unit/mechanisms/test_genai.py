"""The names of traces are OpenTelemetry's, letter for letter: those of the package that its project generates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai
from opentelemetry.semconv.attributes import error_attributes, http_attributes, server_attributes
from opentelemetry.semconv.schemas import Schemas

import penstock
from penstock.kernel.settings import OtelSettings
from penstock.mechanisms.genai import CHAT, CURRENT, V1_26, V1_36, V1_41, VOCABULARIES, Names

COMMON = {
    "operation": gen_ai.GEN_AI_OPERATION_NAME,
    "request_model": gen_ai.GEN_AI_REQUEST_MODEL,
    "request_temperature": gen_ai.GEN_AI_REQUEST_TEMPERATURE,
    "request_max_tokens": gen_ai.GEN_AI_REQUEST_MAX_TOKENS,
    "response_model": gen_ai.GEN_AI_RESPONSE_MODEL,
    "finish_reasons": gen_ai.GEN_AI_RESPONSE_FINISH_REASONS,
    "error_type": error_attributes.ERROR_TYPE,
    "server_address": server_attributes.SERVER_ADDRESS,
    "server_port": server_attributes.SERVER_PORT,
    "http_status": http_attributes.HTTP_RESPONSE_STATUS_CODE,
}
USAGE = {
    "input_tokens": gen_ai.GEN_AI_USAGE_INPUT_TOKENS,
    "output_tokens": gen_ai.GEN_AI_USAGE_OUTPUT_TOKENS,
}
OFFICIAL: Mapping[str, Mapping[str, str]] = {
    "1.41": COMMON
    | USAGE
    | {
        "provider": gen_ai.GEN_AI_PROVIDER_NAME,
        "cached_tokens": gen_ai.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS,
        "reasoning_tokens": gen_ai.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS,
        "request_stream": gen_ai.GEN_AI_REQUEST_STREAM,
        "first_chunk_s": gen_ai.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK,
    },
    "1.36": COMMON | USAGE | {"provider": gen_ai.GEN_AI_SYSTEM},
    "1.26": COMMON
    | {
        "provider": gen_ai.GEN_AI_SYSTEM,
        "input_tokens": gen_ai.GEN_AI_USAGE_PROMPT_TOKENS,
        "output_tokens": gen_ai.GEN_AI_USAGE_COMPLETION_TOKENS,
    },
}
OTHER = {"version", "schema_url", "providers"}


def drift(names: Names) -> dict[str, str]:
    """Return the names that are neither the official ones of their version nor, where it has none, our own."""
    official = OFFICIAL[names.version]
    told = {name: text for name, text in msgspec.structs.asdict(names).items() if name not in OTHER}
    return {
        field: text
        for field, text in told.items()
        if (text != official[field] if field in official else not text.startswith("penstock."))
    }


@pytest.mark.parametrize("names", VOCABULARIES.values(), ids=VOCABULARIES.keys())
def test_every_name_is_the_official_one(names: Names) -> None:
    assert drift(names) == {}


def test_a_name_that_drifts_is_caught() -> None:
    assert drift(msgspec.structs.replace(V1_41, input_tokens="gen_ai.usage.inputs")) == {
        "input_tokens": "gen_ai.usage.inputs"
    }
    assert drift(msgspec.structs.replace(V1_36, request_stream="gen_ai.request.stream"))


@pytest.mark.parametrize("names", VOCABULARIES.values(), ids=VOCABULARIES.keys())
def test_no_two_facts_have_one_name(names: Names) -> None:
    told = [text for name, text in msgspec.structs.asdict(names).items() if name not in OTHER]
    assert len(told) == len(set(told))


@pytest.mark.parametrize("names", VOCABULARIES.values(), ids=VOCABULARIES.keys())
def test_each_version_names_its_schema(names: Names) -> None:
    assert names.schema_url in {each.value for each in Schemas}
    assert names.schema_url.rpartition("/")[2].startswith(f"{names.version}.")


def test_vendors_have_their_well_known_names() -> None:
    known = {each.value for each in gen_ai.GenAiProviderNameValues}
    assert set(V1_41.providers.values()) <= known
    assert {V1_36.vendor("x-ai"), V1_26.vendor("azure")} <= {each.value for each in gen_ai.GenAiSystemValues}
    assert V1_36.vendor("x-ai") != V1_41.vendor("x-ai")
    for own in ("openai", "anthropic", "cohere", "deepseek", "groq", "perplexity"):
        assert own in known, "a vendor whose name here is its well-known one"
        assert V1_41.vendor(own) == own
    assert V1_41.vendor("my-own") == "my-own"


def test_a_span_is_named_by_operation_and_model() -> None:
    assert CHAT in {each.value for each in gen_ai.GenAiOperationNameValues}
    assert [CURRENT.span("gpt-4o"), CURRENT.span("")] == ["chat gpt-4o", "chat"]


def test_the_setting_offers_every_version_and_no_other() -> None:
    offered = next(f for f in msgspec.inspect.type_info(OtelSettings).fields if f.name == "names")
    assert offered.default == CURRENT.version
    kind = offered.type
    while isinstance(kind, msgspec.inspect.Metadata):
        kind = kind.type
    assert set(kind.values) == set(VOCABULARIES)


def test_the_names_are_spelt_in_one_module_only() -> None:
    package = Path(penstock.__file__).parent
    spelt = [file.name for file in package.rglob("*.py") if '"gen_ai.' in file.read_text()]
    assert spelt == ["genai.py"]
