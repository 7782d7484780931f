"""Hypothesis strategies for canonical chats that the OpenAI wire can say."""

from __future__ import annotations

import json

from hypothesis import strategies as st
from msgspec import UNSET, Raw

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

WORDS = st.text(max_size=12)
NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), min_size=1, max_size=8)
TOKENS = st.integers(0, 2**31 - 1)


def raws(value):
    return Raw(json.dumps(value, separators=(",", ":")).encode())


JSON = (
    st.booleans() | st.integers(-9, 9) | st.text(max_size=4) | st.lists(st.integers(0, 9), max_size=2)
).map(raws)
OBJECTS = st.dictionaries(NAMES, st.integers(0, 9), max_size=2).map(raws)


def extras(*taken, prefix=""):
    """Unknown members: names no codec takes."""
    names = NAMES.map(lambda name: f"{prefix}x_{name}").filter(lambda name: name not in taken)
    return st.dictionaries(names, JSON, max_size=2)


CACHES = st.sampled_from(["", "", "5m", "1h"])
TEXTS = st.builds(Text, WORDS, CACHES)
IMAGES = st.builds(
    Image,
    st.sampled_from(["https://x/y.png", "data:image/png;base64,AA=="]),
    st.sampled_from(["auto", "low", "high"]),
    CACHES,
)
MEDIA = st.sampled_from(
    [
        Media("audio/wav", "data:audio/wav;base64,AA=="),
        Media("audio/mpeg", "data:audio/mpeg;base64,AA==", cache="1h"),
        Media("application/pdf", "data:application/pdf;base64,AA==", "a.pdf"),
        Media("", "file:file-1"),
    ]
)
OTHERS = st.sampled_from(
    [
        Other("openai", raws({"type": "video_url", "video_url": {"url": "https://x/y.mp4"}})),
        Other("openai", raws({"type": "file", "file": {"file_data": "AA=="}})),
        Other("openai", raws({"type": "text", "text": "x", "cache_control": {"type": "eternal"}})),
    ]
)
PARTS = st.lists(TEXTS | IMAGES | MEDIA | OTHERS, min_size=1, max_size=3).map(tuple)
CALLS = st.lists(
    st.builds(
        ToolCall,
        WORDS,
        NAMES,
        WORDS,
        st.one_of(extras(), extras(prefix="function."), st.just({"type": raws("custom")})),
    ),
    max_size=2,
).map(tuple)
REASONINGS = st.builds(Reasoning, WORDS.filter(bool), st.sampled_from(["", "sig"])) | st.just(
    Reasoning("", redacted="hidden")
)

USERS = st.builds(
    Message, role=st.sampled_from(["system", "developer", "user"]), content=PARTS, name=WORDS, extras=extras()
)
TOOL_TURNS = st.builds(Message, role=st.just("tool"), content=PARTS, tool_call_id=NAMES, extras=extras())
ASSISTANTS = st.builds(
    lambda thought, parts, **more: Message(role="assistant", content=(*thought, *parts), **more),
    st.lists(REASONINGS, max_size=2),
    PARTS | st.just(()),
    tool_calls=CALLS,
    refusal=WORDS,
    name=WORDS,
    extras=extras(),
)

TOOLS = st.builds(
    Tool,
    name=NAMES,
    description=WORDS,
    parameters=st.just(UNSET) | OBJECTS,
    strict=st.sampled_from([UNSET, None, True, False]),
    cache=CACHES,
    extras=st.one_of(extras(), extras(prefix="function.")),
) | st.just(Tool(name="custom", extras={"type": raws("custom"), "custom": raws({"name": "c"})}))


@st.composite
def requests(draw) -> ChatRequest:
    stream = draw(st.booleans())
    more = draw(extras())
    if stream and draw(st.booleans()):
        more = {**more, "stream_options": raws({"include_obfuscation": False})}
    return ChatRequest(
        model=draw(NAMES),
        messages=tuple(draw(st.lists(USERS | ASSISTANTS | TOOL_TURNS, min_size=1, max_size=4))),
        stream=stream,
        include_usage=stream and draw(st.booleans()),
        max_output_tokens=draw(st.none() | st.integers(1, 2**31 - 1)),
        temperature=draw(st.none() | st.floats(0, 2)),
        top_p=draw(st.none() | st.floats(0, 1)),
        top_k=draw(st.none() | st.integers(1, 2**31 - 1)),
        presence_penalty=draw(st.none() | st.floats(-2, 2)),
        frequency_penalty=draw(st.none() | st.floats(-2, 2)),
        logprobs=draw(st.none() | st.booleans()),
        top_logprobs=draw(st.none() | st.integers(0, 128)),
        parallel_tool_calls=draw(st.none() | st.booleans()),
        thinking=draw(st.none() | st.builds(Thinking, effort=NAMES)),
        n=draw(st.integers(1, 128)),
        stop=tuple(draw(st.lists(WORDS, max_size=4))),
        seed=draw(st.none() | st.integers(-(2**63), 2**63 - 1)),
        tools=tuple(draw(st.lists(TOOLS, max_size=2))),
        tool_choice=draw(st.just(UNSET) | JSON),
        response_format=draw(st.just(UNSET) | OBJECTS),
        user=draw(WORDS),
        extras=more,
    )


USAGES = st.builds(
    Usage,
    input_tokens=TOKENS,
    output_tokens=TOKENS,
    cached_input_tokens=TOKENS,
    cache_write_tokens=TOKENS,
    reasoning_tokens=TOKENS,
)
FINISHES = st.sampled_from(["stop", "length", "tool_calls", "content_filter", "error", ""])


@st.composite
def replies(draw) -> ChatReply:
    messages = draw(st.lists(ASSISTANTS, max_size=3))
    told = [
        Message(
            role=message.role, content=message.content, tool_calls=message.tool_calls, refusal=message.refusal,
            name=message.name, extras={**message.extras, **draw(extras(prefix="choice.")), "choice.logprobs": raws({})},
        )
        for message in messages
    ]  # fmt: skip
    return ChatReply(
        id=draw(WORDS),
        model=draw(WORDS),
        created_s=draw(st.integers(0, 2**40)),
        choices=tuple(told),
        finishes=tuple(draw(FINISHES) for _ in told),
        usage=draw(st.none() | USAGES),
        extras=draw(extras()),
    )


DELTA_EXTRAS = st.one_of(extras(), extras(prefix="function."), st.just({"type": raws("custom")}))
DELTAS = st.lists(
    st.builds(ToolCallDelta, st.integers(0, 5), WORDS, WORDS, WORDS, DELTA_EXTRAS), max_size=2
).map(tuple)
EVENTS = st.builds(
    ChatEvent,
    index=st.integers(0, 5),
    role=st.sampled_from(["", "assistant"]),
    text=WORDS,
    reasoning=WORDS,
    signature=st.sampled_from(["", "sig"]),
    redacted=st.sampled_from(["", "hidden"]),
    refusal=WORDS,
    tool_calls=DELTAS,
    finish=FINISHES,
    extras=st.one_of(extras(), extras(prefix="choice."), extras(prefix="chunk.")),
) | st.builds(ChatEvent, usage=USAGES)
