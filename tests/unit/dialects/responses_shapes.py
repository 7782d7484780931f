"""Hypothesis strategies for canonical chats that the Responses wire can say."""

from __future__ import annotations

from hypothesis import strategies as st
from msgspec import UNSET

from penstock.kernel.chat import (
    ChatReply,
    ChatRequest,
    Image,
    Media,
    Message,
    Other,
    Reasoning,
    Thinking,
    Tool,
    ToolCall,
)
from tests.unit.dialects.shapes import CACHES, NAMES, OBJECTS, TEXTS, USAGES, WORDS, extras, raws

IMAGES = st.builds(
    Image,
    st.sampled_from(["https://x/y.png", "data:image/png;base64,AA=="]),
    st.sampled_from(["auto", "low", "high"]),
    CACHES,
)
FILES = st.sampled_from(
    [
        Media("audio/wav", "data:audio/wav;base64,AA=="),
        Media("application/pdf", "data:application/pdf;base64,AA==", "a.pdf"),
        Media("", "https://x/a.pdf", cache="5m"),
        Media("", "file:file-1", "b.pdf"),
        Media("image/*", "file:file-2", cache="1h"),
        Other("responses", raws({"type": "input_image", "file_id": "f", "detail": "low"})),
    ]
)
PARTS = st.lists(TEXTS | IMAGES | FILES, min_size=1, max_size=3).map(tuple)
THOUGHTS = st.sampled_from(
    [Reasoning("why"), Reasoning("", "sig"), Reasoning("why", "sig"), Reasoning("", redacted="h")]
)
CALLS = st.lists(st.builds(ToolCall, NAMES, NAMES, WORDS, extras()), max_size=2).map(tuple)
ASKERS = st.builds(
    Message, role=st.sampled_from(["system", "developer", "user"]), content=PARTS, extras=extras()
)
RESULTS = st.builds(Message, role=st.just("tool"), tool_call_id=NAMES, content=PARTS, extras=extras())
ASSISTANTS = st.builds(
    lambda thoughts, texts, **more: Message(role="assistant", content=(*thoughts, *texts), **more),
    st.lists(THOUGHTS, max_size=2),
    st.lists(TEXTS, min_size=1, max_size=2),
    tool_calls=CALLS,
    refusal=WORDS,
    extras=extras(),
)
TOOLS = st.builds(
    Tool,
    name=NAMES,
    description=WORDS,
    parameters=st.just(UNSET) | OBJECTS,
    strict=st.sampled_from([UNSET, True, False]),
    extras=extras(),
) | st.just(Tool(name="web_search", extras={"type": raws("web_search"), "search_context_size": raws("low")}))
CHOICES = st.sampled_from(
    [
        UNSET,
        raws("required"),
        raws({"type": "function", "function": {"name": "f"}}),
        raws({"type": "web_search"}),
        raws({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "web_search"}]}}),
        raws(
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]},
            }
        ),
    ]
)
FORMATS = st.sampled_from(
    [
        UNSET,
        raws({"type": "text"}),
        raws(
            {
                "type": "json_schema",
                "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True},
            }
        ),
    ]
)
THINKING = st.none() | st.builds(Thinking, effort=st.sampled_from(["low", "high", "xhigh"]))


@st.composite
def requests(draw) -> ChatRequest:
    messages = [draw(ASKERS | RESULTS)]
    for _ in range(draw(st.integers(0, 2))):
        messages += [draw(ASSISTANTS), draw(ASKERS | RESULTS)]
    stream = draw(st.booleans())
    more = draw(extras())
    if draw(st.booleans()):
        more = {**more, "text.verbosity": raws("low"), "include": raws(["reasoning.encrypted_content"])}
    return ChatRequest(
        model=draw(NAMES),
        messages=tuple(messages),
        dialect="responses",
        stream=stream,
        include_usage=stream,
        max_output_tokens=draw(st.none() | st.integers(1, 2**31 - 1)),
        temperature=draw(st.none() | st.floats(0, 2)),
        top_p=draw(st.none() | st.floats(0, 1)),
        logprobs=draw(st.sampled_from([None, True])),
        top_logprobs=draw(st.none() | st.integers(0, 20)),
        tools=tuple(draw(st.lists(TOOLS, max_size=2))),
        tool_choice=draw(CHOICES),
        parallel_tool_calls=draw(st.none() | st.booleans()),
        response_format=draw(FORMATS),
        thinking=draw(THINKING),
        user=draw(WORDS),
        extras=more,
    )


ODDS = raws(
    {"content": [{"token": "a", "logprob": -1.5, "bytes": [97], "top_logprobs": []}], "refusal": None}
)
CITED = {"url": "https://x", "title": "t", "start_index": 0, "end_index": 1}
NOTES = raws([{"type": "url_citation", "url_citation": CITED}])


@st.composite
def replies(draw) -> ChatReply:
    said = draw(ASSISTANTS)
    state = {
        "items": raws(
            {"message": {"id": "msg_1"}, "reasoning": {"0": {"id": "rs_1", "status": "incomplete"}}}
        )
    }
    noted = {
        "annotations": NOTES,
        "choice.logprobs": ODDS,
        **(state if isinstance(said.content[0], Reasoning) else {}),
    }
    message = Message(
        role="assistant",
        content=said.content,
        tool_calls=said.tool_calls,
        refusal=said.refusal,
        extras={**said.extras, **draw(st.sampled_from([{}, noted]))},
    )
    finish = "tool_calls" if message.tool_calls else "stop"
    return ChatReply(
        id=draw(WORDS),
        model=draw(WORDS),
        created_s=draw(st.integers(0, 2**40)),
        choices=(message,),
        finishes=(draw(st.sampled_from(["length", "content_filter", finish])),),
        usage=draw(st.none() | USAGES),
        extras=draw(extras()),
    )
