"""What the stand-in for Bedrock answers to whom it answers honestly, for clients that are to see exactly that."""

from __future__ import annotations

from base64 import b64decode
from typing import TYPE_CHECKING, Any

from local.answers import reply_to, tokens
from local.prompts import Prompt

if TYPE_CHECKING:
    from local.function import LocalFunction

MODEL = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
ALIAS = "our-model"  # a deployment's name for it, where it is configured
QUESTION = "Why stream?"
TOOLS = ("get_weather", "get_time")
TOOLS_QUESTION = "Use both tools for Paris."
# Up to here the answer to that says that it will; then it begins to call the first of them.
BEFORE_INPUT = len(tokens("I'll ask `get_weather` and `get_time` for that."))
TOOL_INPUT = {"city": "Paris"}
# One pixel.
PNG = b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
# Nothing, on no page.
PDF = b"%PDF-1.4\ntrailer<</Root<</Pages<<>>>>>>"
FAILURE = "The stand-in was told to fail."


def pieces(question: str = QUESTION) -> tuple[str, ...]:
    """Return the pieces of text that answer a question."""
    (block,) = reply_to(Prompt(text=question, everything=question)).blocks
    return block.pieces


def text(question: str = QUESTION) -> str:
    """Return the text that answers a question."""
    return "".join(pieces(question))


def usage(question: str = QUESTION) -> dict[str, int]:
    """Return what Bedrock counts for a question and its answer: here, a token a piece."""
    asked, answered = len(tokens(question)), len(pieces(question))
    return {
        "inputTokens": asked,
        "outputTokens": answered,
        "totalTokens": asked + answered,
    }


def invoke_body(question: str = QUESTION) -> dict[str, Any]:
    """Return the question in the schema of Anthropic's models."""
    return {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 2000,
        "messages": [{"role": "user", "content": question}],
    }


def asked(function: LocalFunction, question: str) -> Any:
    """Return the body of the latest call in which a question reached the stand-in."""
    return next(
        call.body for call in reversed(function.bedrock.calls) if question in str(call.body)
    )
