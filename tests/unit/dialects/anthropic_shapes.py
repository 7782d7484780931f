"""Hypothesis strategies for canonical chats that the Anthropic wire can say."""

from __future__ import annotations

import json

from hypothesis import strategies as st
from msgspec import UNSET

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
from tests.unit.dialects.shapes import NAMES, OBJECTS, WORDS, extras, raws

CACHES = st.sampled_from(["", "5m", "1h"])
TEXTS = st.builds(Text, WORDS, CACHES)
IMAGES = st.builds(
    Image, st.sampled_from(["https://x/y.png", "data:image/png;base64,AA=="]), st.just("auto"), CACHES
)
FILES = st.builds(
    lambda mime_url, name, cache: Media(*mime_url, name, cache),
    st.sampled_from(
        [
            ("application/pdf", "data:application/pdf;base64,AA=="),
            ("application/pdf", "https://x/y.pdf"),
            ("text/plain", "data:text/plain;base64,w6k="),
            ("", "file:file_1"),
        ]
    ),
    WORDS,
    CACHES,
)
OTHERS = st.sampled_from(
    [
        Other("anthropic", raws({"type": "search_result", "source": "s", "title": "t", "content": []})),
        Other("anthropic", raws({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}})),
        Other("anthropic", raws({"type": "text", "text": "x", "x_new": 1})),
        Other("anthropic", raws({"type": "image", "source": {"type": "file", "file_id": "f"}})),
        Other("anthropic", raws({"type": "document", "source": {"type": "url", "url": "u"}, "context": "c"})),
    ]
)
THOUGHTS = st.builds(Reasoning, WORDS, WORDS) | st.builds(
    lambda data: Reasoning("", redacted=data), WORDS.filter(bool)
)
PARTS = st.lists(TEXTS | IMAGES | FILES | OTHERS, min_size=1, max_size=3).map(tuple)
SAID = st.lists(TEXTS | THOUGHTS | OTHERS, max_size=4).map(tuple)
RESULT_EXTRAS = st.sampled_from(
    [{}, {"is_error": raws(True)}, {"cache_control": raws({"type": "ephemeral"}), "x_a": raws(1)}]
)


@st.composite
def calls(draw, parts: int) -> tuple[ToolCall, ...]:
    """Up to three calls, in the order of where they stand."""
    before = sorted(draw(st.lists(st.integers(0, parts), max_size=3)))
    return tuple(
        ToolCall(
            draw(NAMES),
            draw(NAMES),
            bytes(draw(OBJECTS)).decode(),
            {**draw(extras()), **({} if at == parts else {"position": raws(at)})},
        )
        for at in before
    )


@st.composite
def assistants(draw, more=True) -> Message:
    parts = draw(SAID)
    told = draw(extras()) if more else {}
    texts = [index for index, part in enumerate(parts) if isinstance(part, Text)]
    if texts and draw(st.booleans()):
        told = {**told, "citations": raws({str(draw(st.sampled_from(texts))): [{"type": "char_location"}]})}
    return Message(role="assistant", content=parts, tool_calls=draw(calls(len(parts))), extras=told)


USERS = st.builds(Message, role=st.just("user"), content=PARTS, extras=extras())
LATER_SYSTEM = st.builds(Message, role=st.just("system"), content=st.tuples(TEXTS), extras=extras())
RESULTS = st.builds(
    Message,
    role=st.just("tool"),
    content=PARTS | st.just(()),
    tool_call_id=NAMES,
    extras=RESULT_EXTRAS,
)
SYSTEM = st.lists(
    st.builds(Message, role=st.just("system"), content=st.lists(TEXTS, min_size=1, max_size=2).map(tuple)),
    max_size=1,
)
TOOLS = st.builds(
    Tool,
    name=NAMES,
    description=WORDS,
    parameters=OBJECTS,
    strict=st.sampled_from([UNSET, True, False]),
    cache=CACHES,
    extras=extras(),
) | st.builds(
    Tool,
    name=st.just("web_search_20250305"),
    cache=CACHES,
    extras=st.just({"type": raws("web_search_20250305"), "name": raws("web_search")}),
)
CHOICES = st.sampled_from(
    [
        (UNSET, None),
        (raws("none"), None),
        *[
            (choice, parallel)
            for choice in (
                raws("auto"),
                raws("required"),
                raws({"type": "function", "function": {"name": "f"}}),
            )
            for parallel in (None, True, False)
        ],
    ]
)
EFFORTS = st.sampled_from(["", "low", "medium", "high", "xhigh", "max"])
SHOWN = st.sampled_from([None, True, False])
THINKING = st.one_of(
    st.just((None, {})),
    st.builds(lambda effort, shown: (Thinking(effort=effort, shown=shown), {}), EFFORTS, SHOWN),
    st.builds(
        lambda effort, budget, shown: (Thinking(effort=effort, budget_tokens=budget, shown=shown), {}),
        EFFORTS,
        st.integers(1, 2**31 - 1),
        SHOWN,
    ),
    st.just((Thinking(effort="none"), {})),
    st.just((Thinking(effort="low"), {"thinking": raws(None)})),
    st.just((None, {"thinking": raws({"type": "between_tools"}), "output_config": raws({"effort": "low"})})),
)
FORMATS = st.just(UNSET) | OBJECTS.map(
    lambda schema: raws(
        {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": json.loads(bytes(schema)), "strict": True},
        }
    )
)


@st.composite
def requests(draw) -> ChatRequest:
    stream = draw(st.booleans())
    thinking, marks = draw(THINKING)
    choice, parallel = draw(CHOICES)
    tools = draw(st.lists(TOOLS, min_size=0 if choice is UNSET else 1, max_size=2))
    turns = draw(st.lists(USERS | assistants() | RESULTS | LATER_SYSTEM, min_size=1, max_size=5))
    if turns[0].role == "system":  # without unknown members that is the system prompt itself
        turns = [Message(role="user", content=(Text("x"),)), *turns]
    return ChatRequest(
        dialect="anthropic",
        model=draw(NAMES),
        messages=tuple(draw(SYSTEM) + turns),
        stream=stream,
        include_usage=stream,
        max_output_tokens=draw(st.integers(1, 2**31 - 1)),
        temperature=draw(st.none() | st.floats(0, 1)),
        top_p=draw(st.none() | st.floats(0, 1)),
        top_k=draw(st.none() | st.integers(0, 500)),
        stop=tuple(draw(st.lists(WORDS, max_size=4))),
        tools=tuple(tools),
        tool_choice=choice,
        parallel_tool_calls=parallel,
        response_format=draw(FORMATS),
        thinking=thinking,
        user=draw(WORDS),
        extras={**draw(extras()), **marks},
    )


@st.composite
def usages(draw) -> Usage:
    fresh, cached, short, long, said, thought = (draw(st.integers(0, 10**8)) for _ in range(6))
    return Usage(
        input_tokens=fresh + cached + short + long,
        cached_input_tokens=cached,
        cache_write_tokens=short + long,
        cache_write_1h_tokens=long,
        output_tokens=said + thought,
        reasoning_tokens=thought,
    )


ENDS = st.sampled_from(
    [
        ("stop", {}),
        ("stop", {"stop_sequence": raws("END")}),
        ("stop", {"stop_reason": raws("pause_turn")}),
        ("length", {}),
        ("length", {"stop_reason": raws("model_context_window_exceeded")}),
        ("tool_calls", {}),
        ("content_filter", {"stop_details": raws({"type": "refusal"})}),
        ("", {}),
    ]
)


@st.composite
def replies(draw) -> ChatReply:
    finish, ending = draw(ENDS)
    told = {"usage.service_tier": raws("standard")} if draw(st.booleans()) else {}
    return ChatReply(
        id=draw(WORDS),
        model=draw(WORDS),
        created_s=0,
        choices=(draw(assistants(more=False)),),
        finishes=(finish,),
        usage=draw(usages()),
        extras={**draw(extras()), **ending, **told},
    )


PIECES = st.one_of(
    WORDS.filter(bool).map(lambda words: [ChatEvent(text=words)]),
    WORDS.filter(bool).map(lambda words: [ChatEvent(reasoning=words)]),
    st.just([ChatEvent(reasoning="t"), ChatEvent(signature="s")]),
    st.just([ChatEvent(redacted="data")]),
    st.just([ChatEvent(text="x", extras={"x_a": raws(1), "event.x_b": raws(2)})]),
    st.just(
        [
            ChatEvent(text="x"),
            ChatEvent(extras={"content_block": raws({"type": "text", "text": ""})}),
            ChatEvent(text="y"),
        ]
    ),
    st.just(
        [
            ChatEvent(extras={"content_block": raws({"type": "server_tool_use", "id": "s", "input": {}})}),
            ChatEvent(
                extras={"content_block_delta": raws({"type": "input_json_delta", "partial_json": "{"})}
            ),
        ]
    ),
    st.just([ChatEvent(extras={"event": raws({"type": "news", "x": 1})})]),
)


@st.composite
def streams(draw) -> list[ChatEvent]:
    """The events of one answer, in the order and the pieces in which this wire tells them."""
    events = [ChatEvent(role="assistant", extras=draw(extras()))]
    said = draw(st.lists(PIECES, max_size=6))
    for at in sorted(draw(st.lists(st.integers(0, len(said)), max_size=3)), reverse=True):
        said.insert(at, [])
    number = 0
    for piece in said:
        if piece:
            events += piece
            continue
        opening = ToolCallDelta(number, draw(NAMES), draw(NAMES), extras=draw(extras()))
        events.append(ChatEvent(tool_calls=(opening,)))
        events += [ChatEvent(tool_calls=(ToolCallDelta(number, arguments=part),)) for part in ('{"a":', "1}")]
        number += 1
    finish, ending = draw(ENDS.filter(lambda end: end[0]))
    told = {"usage.service_tier": raws("standard")} if draw(st.booleans()) else {}
    return [
        *events,
        ChatEvent(finish=finish, extras={**draw(extras()), **ending, **told}),
        ChatEvent(usage=draw(usages().filter(lambda usage: not usage.cache_write_1h_tokens))),
    ]
