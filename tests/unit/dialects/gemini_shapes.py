"""Hypothesis strategies for canonical chats that the Gemini wire can say, and what Gemini itself sends and reads."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st
from msgspec import UNSET, structs

from penstock.dialects.gemini_facts import FINISHES
from penstock.dialects.gemini_replies import finish_of
from penstock.dialects.gemini_words import made_id
from penstock.kernel.chat import (
    ChatEvent,
    ChatReply,
    ChatRequest,
    Image,
    Media,
    Message,
    Other,
    Reasoning,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolCallDelta,
)
from penstock.kernel.money import Usage
from tests.unit.dialects.shapes import JSON, NAMES, OBJECTS, TOKENS, WORDS, extras, raws

CAMELS = st.dictionaries(st.sampled_from(["videoX", "labels", "audioY"]), JSON, max_size=2)
"""Unknown members under names that are Google's already."""
CODE = raws({"executableCode": {"language": "PYTHON", "code": "1"}})


def prefixed(prefix: str):
    return CAMELS.map(lambda found: {f"{prefix}{name}": value for name, value in found.items()})


# ------------------------------------------------------------------------------------------------- requests

SIGNATURES = st.sampled_from(["", "U2ln", "QQ=="])
IMAGES = st.sampled_from(["https://x/y.png", "https://x/y.JPG?z=1", "data:image/webp;base64,AA=="]).map(Image)
MEDIA = st.sampled_from(
    [
        Media("application/pdf", "data:application/pdf;base64,AA==", "a.pdf"),
        Media("audio/wav", "https://x/sound"),
        Media("image/png", "https://x/no-suffix"),
        Media("video/mp4", "file:https://g.googleapis.com/v1beta/files/abc"),
        Media("text/csv", "file:gs://bucket/a.csv", "a"),
    ]
)
OTHERS = st.sampled_from(
    [
        Other("gemini", CODE),
        Other("gemini", raws({"text": "x", "partMetadata": {"a": 1}})),
        Other("gemini", raws({"fileData": {"fileUri": "https://youtu.be/x"}})),
    ]
)
THOUGHTS = st.builds(Reasoning, WORDS, SIGNATURES) | st.just(Reasoning("", redacted="ZZ=="))
PARTS = st.lists(st.builds(Text, WORDS) | IMAGES | MEDIA | OTHERS | THOUGHTS, min_size=1, max_size=4).map(
    tuple
)
CALL_EXTRAS = st.one_of(
    CAMELS,
    prefixed("function."),
    st.just({"extra_content": raws({"google": {"thought_signature": "U2ln"}})}),
)
RETURNED = st.text(
    st.characters(exclude_characters="{", exclude_categories=["Cs"]), max_size=12
) | OBJECTS.map(lambda raw: bytes(raw).decode())
FILES = st.lists(IMAGES | MEDIA | st.just(Other("gemini", CODE)), max_size=2)


@st.composite
def conversations(draw) -> tuple[Message, ...]:
    """Turns in any order; every call is answered at once, in order."""
    messages: list[Message] = []
    if draw(st.booleans()):
        messages.append(Message(role="system", content=draw(PARTS), extras=draw(CAMELS)))
    count = 0
    for _ in range(draw(st.integers(1, 3))):
        messages.append(Message(role="user", content=draw(PARTS), extras=draw(CAMELS)))
        calls: list[ToolCall] = []
        for name in draw(st.lists(st.sampled_from(["a", "b"]), max_size=3)):
            id = f"id{count}" if draw(st.booleans()) else made_id(count, name)
            calls.append(
                ToolCall(id, name, draw(OBJECTS.map(lambda raw: bytes(raw).decode())), draw(CALL_EXTRAS))
            )
            count += 1
        content = draw(PARTS | st.just(()))
        messages.append(
            Message(role="assistant", content=content, tool_calls=tuple(calls), extras=draw(CAMELS))
        )
        for call in calls:
            failed = draw(st.booleans())
            more = draw(st.one_of(CAMELS, prefixed("function.")))
            messages.append(
                Message(
                    role="tool", tool_call_id=call.id, content=(Text(draw(RETURNED)), *draw(FILES)),
                    extras={"is_error": raws(value=True), **more} if failed else more,
                )
            )  # fmt: skip
    return tuple(messages)


SCHEMAS = st.recursive(
    st.sampled_from(
        [
            {"type": "string", "description": "d", "enum": ["a"]},
            {"type": ["integer", "null"], "minimum": 1},
            {"type": "number", "maxItems": 3},
            {"$ref": "#/$defs/x"},
            {"enum": [1, None]},
            {},
        ]
    ),
    lambda inner: st.one_of(
        st.builds(lambda each: {"type": "array", "items": each}, inner),
        st.builds(
            lambda each: {"type": "object", "properties": {"some_name": each}, "required": ["some_name"]},
            inner,
        ),
        st.builds(lambda each: {"anyOf": [each, {"type": "boolean"}]}, inner),
        st.builds(
            lambda each: {"type": "object", "properties": {"p": each}, "additionalProperties": False}, inner
        ),
    ),
    max_leaves=3,
)
FUNCTIONS = st.builds(
    Tool, name=NAMES, description=WORDS, parameters=st.just(UNSET) | SCHEMAS.map(raws), extras=CAMELS
)
GOOGLE_TOOLS = st.sampled_from(["googleSearch", "codeExecution"]).map(
    lambda name: Tool(name=name, extras={"type": raws(name), name: raws({})})
)


def chosen(*names: str) -> list[dict[str, Any]]:
    return [{"type": "function", "function": {"name": name}} for name in names]


CHOICES = st.sampled_from(
    [
        UNSET, raws("auto"), raws("none"), raws("required"), raws(chosen("f")[0]),
        raws({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": chosen("f", "g")}}),
    ]
)  # fmt: skip
STRICT_CHOICES = st.sampled_from(
    [raws("auto"), raws({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": chosen("f")}})]
)
FORMATS = st.one_of(
    st.sampled_from([UNSET, raws({"type": "text"}), raws({"type": "json_object"})]),
    SCHEMAS.map(
        lambda schema: raws(
            {"type": "json_schema", "json_schema": {"name": "response", "schema": schema, "strict": True}}
        )
    ),
)
SHOWN = st.sampled_from([None, True, False])
THINKING = st.none() | st.one_of(
    st.builds(
        Thinking,
        effort=st.sampled_from(["", "minimal", "low", "medium", "high", "xhigh", "none"]),
        shown=SHOWN,
    ),
    st.builds(Thinking, budget_tokens=st.integers(1, 32_768), shown=SHOWN),
    st.just(Thinking(effort="low", budget_tokens=5)),
)
REQUEST_EXTRAS = st.fixed_dictionaries(
    {},
    optional={
        "safetySettings": st.just(raws([{"category": "c", "threshold": "t"}])),
        "cachedContent": st.just(raws("cachedContents/x")),
        "labels": st.just(raws({"a_b": "c"})),
        "generationConfig.mediaResolution": st.just(raws("MEDIA_RESOLUTION_LOW")),
        "generationConfig.thinkingConfig.thinkingX": JSON,
        "toolConfig.retrievalConfig": OBJECTS,
    },
)


@st.composite
def requests(draw) -> ChatRequest:
    tools = draw(st.lists(FUNCTIONS, max_size=2)) + draw(st.lists(GOOGLE_TOOLS, max_size=1))
    choice = draw(CHOICES)
    if len(tools) > 1 and draw(st.booleans()):
        choice = draw(STRICT_CHOICES)
        tools = [tool if "type" in tool.extras else structs.replace(tool, strict=True) for tool in tools]
        if not any(tool.strict is True for tool in tools):
            choice = UNSET
    more = draw(REQUEST_EXTRAS)
    thinking = draw(THINKING)
    if thinking is None:
        more.pop("generationConfig.thinkingConfig.thinkingX", None)
    stream = draw(st.booleans())
    return ChatRequest(
        model=draw(NAMES),
        dialect="gemini",
        stream=stream,
        include_usage=stream,
        messages=draw(conversations()),
        max_output_tokens=draw(st.none() | st.integers(1, 2**31 - 1)),
        temperature=draw(st.none() | st.floats(0, 2)),
        top_p=draw(st.none() | st.floats(0, 1)),
        top_k=draw(st.none() | st.integers(1, 100)),
        presence_penalty=draw(st.none() | st.floats(-2, 2)),
        frequency_penalty=draw(st.none() | st.floats(-2, 2)),
        logprobs=draw(SHOWN),
        top_logprobs=draw(st.none() | st.integers(0, 20)),
        n=draw(st.integers(1, 128)),
        stop=tuple(draw(st.lists(WORDS, max_size=4))),
        seed=draw(st.none() | st.integers(-(2**63), 2**63 - 1)),
        tools=tuple(tools),
        tool_choice=choice,
        response_format=draw(FORMATS),
        thinking=thinking,
        extras=more,
    )


# -------------------------------------------------------------------------------------------------- replies

LOGPROBS = raws(
    {
        "content": [
            {
                "token": "e", "logprob": -0.5, "bytes": [101], "token_id": 7,
                "top_logprobs": [{"token": "a", "logprob": 0.0, "bytes": [97]}],
            }
        ],
        "refusal": None,
    }
)  # fmt: skip
REASONS = st.sampled_from(["", "NEWS", *FINISHES])


@st.composite
def usages(draw) -> Usage:
    reasoning, cached, written = draw(TOKENS), draw(TOKENS), draw(TOKENS)
    return Usage(
        input_tokens=draw(TOKENS),
        output_tokens=reasoning + draw(TOKENS),
        cached_input_tokens=cached,
        cache_write_tokens=written,
        reasoning_tokens=reasoning,
    )


@st.composite
def replies(draw) -> ChatReply:
    salt = draw(WORDS)
    messages: list[Message] = []
    finishes: list[str] = []
    for _ in range(draw(st.integers(1, 3))):
        calls = [
            ToolCall(
                f"id{at}" if draw(st.booleans()) else made_id(at, name, salt),
                name,
                '{"a":1}',
                draw(CALL_EXTRAS),
            )
            for at, name in enumerate(draw(st.lists(st.sampled_from(["a", "b"]), max_size=2)))
        ]
        finish, kept = finish_of(draw(REASONS), calls=bool(calls))
        more = {**draw(CAMELS), **draw(prefixed("choice.")), **kept}
        if draw(st.booleans()):
            more["choice.logprobs"] = LOGPROBS
        content = draw(PARTS | st.just(()))
        messages.append(Message(role="assistant", content=content, tool_calls=tuple(calls), extras=more))
        finishes.append(finish)
    usage = draw(st.none() | usages())
    more = draw(extras().map(lambda found: {name.replace("_", ""): value for name, value in found.items()}))
    if usage is not None and draw(st.booleans()):
        usage = structs.replace(usage, input_tokens=usage.input_tokens + 5)
        more["usageMetadata"] = raws({"toolUsePromptTokenCount": 5, "trafficType": "ON_DEMAND"})
    return ChatReply(
        id=salt,
        model=draw(WORDS),
        created_s=draw(st.integers(0, 2**36)),
        choices=tuple(messages),
        finishes=tuple(finishes),
        usage=usage,
        extras=more,
    )


@st.composite
def streams(draw) -> list[ChatEvent]:
    """The events of one answer of one choice, each of one part as Gemini sends them."""
    events: list[ChatEvent] = []
    calls = 0
    for _ in range(draw(st.integers(1, 5))):
        more = {**draw(prefixed("choice.")), **draw(prefixed("chunk."))}
        kind = draw(st.sampled_from(["text", "thought", "signature", "redacted", "call", "part"]))
        words, signature = draw(WORDS.filter(bool)), draw(SIGNATURES)
        match kind:
            case "text":
                event = ChatEvent(text=words, signature=signature, extras=more)
            case "thought":
                event = ChatEvent(reasoning=words, signature=signature, extras=more)
            case "signature":
                event = ChatEvent(signature="U2ln", extras=more)
            case "redacted":
                event = ChatEvent(redacted="ZZ==", extras=more)
            case "part":
                event = ChatEvent(extras={"part": CODE, **more})
            case _:
                event = ChatEvent(
                    tool_calls=(ToolCallDelta(calls, f"id{calls}", "f", '{"a":1}', draw(CALL_EXTRAS)),)
                )
                calls += 1
        events.append(event)
    finish, kept = finish_of(draw(REASONS.filter(bool)), calls=calls > 0)
    events[0] = structs.replace(events[0], role="assistant")
    last = events.pop() if draw(st.booleans()) and len(events) > 1 else ChatEvent()
    events.append(structs.replace(last, finish=finish, extras={**last.extras, **kept}))
    if draw(st.booleans()):
        told = {"chunk.usageMetadata": raws({"trafficType": "ON_DEMAND"})} if draw(st.booleans()) else {}
        events.append(ChatEvent(usage=draw(usages()), extras=told))
    return events


# --------------------------------------------------------------------------------------------- what Google sends


def same(left: bytes, right: bytes) -> bool:
    return meaning(json.loads(left)) == meaning(json.loads(right))


def meaning(value: Any) -> Any:
    """Return JSON without what Google's parser treats alike: defaults written out, the role of an instruction."""
    if isinstance(value, list):
        return [meaning(each) for each in value]
    if not isinstance(value, dict):
        return value
    told = {name: meaning(each) for name, each in value.items()}
    for name, default in (("index", 0), ("candidatesTokenCount", 0), ("candidateCount", 1)):
        if told.get(name) == default:
            del told[name]
    if isinstance(told.get("systemInstruction"), dict):
        told["systemInstruction"].pop("role", None)
    if told.get("content") in ({"role": "model"}, {}):
        del told["content"]
    return told
