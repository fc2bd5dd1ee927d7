from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.answers import Reasoning, Redacted, Text, ToolUse, Unknown, reply_to, tokens
from local.prompts import Prompt, Tool

WEATHER = Tool(
    "get_weather",
    {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer"},
            "unit": {"enum": ["celsius", "fahrenheit"]},
            "places": {"type": "array", "items": {"type": "string"}},
            "exact": {"type": "boolean"},
            "version": {"const": 7},
            "nothing": {"type": "null"},
        },
    },
)


def ask(text: str, **more: Any) -> Prompt:
    return Prompt(text=text, everything=text, **more)


def said(prompt: Prompt) -> str:
    return "".join(p for b in reply_to(prompt).blocks if isinstance(b, Text) for p in b.pieces)


@given(st.text())
def test_tokens_lose_nothing(text: str) -> None:
    """The pieces of a text, put together, are the text, and none is empty."""
    pieces = tokens(text)
    assert "".join(pieces) == text
    assert all(pieces)


@pytest.mark.parametrize(
    ("question", "begins"),
    [
        ("Why do streams feel faster than answers that come whole?", "A stream does not make"),
        ("How does a token travel?", "Follow one token."),
        ("What happens when a stream fails?", "The hard part of a stream is its end."),
        ("What does it cost?", "A function that streams is paid for"),
    ],
)
def test_an_essay_fits_the_question(question: str, begins: str) -> None:
    """A question about streaming gets the essay on it, unbroken by the lines of its file."""
    answer = said(ask(question))
    assert answer.startswith(begins)
    assert all(not line.startswith(" ") and len(line) != 110 for line in answer.split("\n\n"))


def test_any_other_question_is_echoed_honestly() -> None:
    """A question that no essay fits is told that no model has read it."""
    answer = said(ask("Wer war Ada Lovelace?"))
    assert "Wer war Ada Lovelace?" in answer
    assert "no model has read your question" in answer


def test_answers_hold_letters_of_one_to_four_bytes() -> None:
    """What is streamed by default has letters of every size that UTF-8 knows."""
    sizes = {len(letter.encode()) for letter in said(ask("why stream?"))}
    assert sizes == {1, 2, 3, 4}


def test_tokens_are_limited() -> None:
    """`max_tokens` cuts the answer there, and is the stop reason."""
    reply = reply_to(ask("why stream?", max_tokens=7))
    assert (reply.output_tokens, reply.stop_reason) == (7, "max_tokens")


def test_a_limit_may_fall_into_an_earlier_block() -> None:
    """Blocks after the limit are not sent."""
    reply = reply_to(ask("why stream?", max_tokens=3, reasoning=True))
    assert [type(block) for block in reply.blocks] == [Reasoning]


@pytest.mark.parametrize(("more", "called"), [(-1, []), (0, [0]), (1, [1])])
def test_a_limit_may_leave_no_room_for_an_input(more: int, called: list[int]) -> None:
    """The name of a tool may be the last that there is of an answer (fact 7)."""
    said = Tool("get_weather", {"type": "object", "properties": {"city": {"type": "string"}}})
    text, _ = reply_to(ask("use the tool", tools=(said,))).blocks
    reply = reply_to(ask("use the tool", tools=(said,), max_tokens=len(text.pieces) + more))
    assert [len(block.pieces) for block in reply.blocks[1:]] == called
    assert reply.stop_reason == "max_tokens"


def test_a_stop_sequence_ends_the_answer_before_it() -> None:
    """The first stop sequence is neither sent nor passed."""
    reply = reply_to(ask("why stream?", stop_sequences=("zebra", "moment", "sooner")))
    assert (reply.stop_reason, reply.stop_sequence) == ("stop_sequence", "sooner")
    assert (
        said(ask("why stream?", stop_sequences=("sooner",)))
        == "A stream does not make the answer come "
    )


@pytest.mark.parametrize(
    ("text", "choice", "called"),
    [
        ("What is the weather like in Paris for 3 days?", "auto", True),
        ("Use a tool, please.", "auto", True),
        ("Tell me a story.", "auto", False),
        ("Tell me a story.", "any", True),
        ("Tell me a story.", "get_weather", True),
    ],
)
def test_a_tool_is_called_when_asked_for(text: str, choice: str, *, called: bool) -> None:
    """A tool is called when the question speaks of it or the caller insists, and not otherwise."""
    reply = reply_to(ask(text, tools=(WEATHER,), tool_choice=choice))
    assert (reply.stop_reason == "tool_use") == called
    assert any(isinstance(block, ToolUse) for block in reply.blocks) == called


def test_a_tools_input_fits_its_schema() -> None:
    """The input of a call is JSON in pieces, made by the schema, with names and numbers of the question."""
    prompt = ask("What is the weather like in Paris for 3 days?", tools=(WEATHER,))
    call = reply_to(prompt).blocks[-1]
    assert isinstance(call, ToolUse)
    assert len(call.pieces) > 10
    assert json.loads("".join(call.pieces)) == {
        "city": "Paris",
        "days": 3,
        "unit": "celsius",
        "places": ["Paris"],
        "exact": True,
        "version": 7,
        "nothing": None,
    }


def test_a_tools_result_is_answered() -> None:
    """A message that brings a tool's result gets a text about it, no second call."""
    reply = reply_to(ask("", tools=(WEATHER,), tool_choice="auto", tool_result="18 °C"))
    assert reply.stop_reason == "end_turn"
    assert "18 °C" in said(ask("", tool_result="18 °C"))


def test_reasoning_comes_first_and_signed() -> None:
    """A request for reasoning gets a block of it with a signature before the text."""
    reasoning, text = reply_to(ask("why stream?", reasoning=True)).blocks
    assert isinstance(reasoning, Reasoning)
    assert len(reasoning.signature) == 128
    assert isinstance(text, Text)


def test_other_blocks_come_first() -> None:
    """Blocks of an unknown kind and redacted reasoning come before the reasoning and the answer, if asked for."""
    reply = reply_to(ask("why stream?", reasoning=True, redacted=True, unknown_block=True))
    assert [type(block) for block in reply.blocks] == [Unknown, Redacted, Reasoning, Text]


@pytest.mark.parametrize("max_tokens", [None, 3])
def test_the_stop_reason_may_be_given(max_tokens: int | None) -> None:
    """Whatever the true stop reason is, the given one is told."""
    prompt = ask("why stream?", stop_reason="future_reason", max_tokens=max_tokens)
    assert reply_to(prompt).stop_reason == "future_reason"


def test_tokens_of_a_cache_are_counted() -> None:
    """Tokens of the cache come on top of those of the prompt."""
    reply = reply_to(ask("why stream?", cache_read=1000, cache_write=100))
    assert reply.total_tokens == reply.input_tokens + reply.output_tokens + 1100


def test_tokens_are_counted_as_sent() -> None:
    """Output tokens are the pieces, input tokens those of all the request's text."""
    reply = reply_to(Prompt(text="why stream?", everything="Be brief.\nwhy stream?"))
    assert reply.output_tokens == sum(len(block.pieces) for block in reply.blocks)
    assert reply.input_tokens == len(tokens("Be brief.\nwhy stream?"))
