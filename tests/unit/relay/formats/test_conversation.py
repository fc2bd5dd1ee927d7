from __future__ import annotations

from typing import Any

import pytest

from relay.errors import RequestError
from relay.formats.conversation import Conversation, base64_block, reasoning

NOVA = "us.amazon.nova-2-lite-v1:0"


def _names(*names: str) -> list[str]:
    conversation = Conversation()
    blocks = [base64_block("text/plain", "QQ==", "x", f"{name}.txt") for name in names]
    conversation.add("user", blocks)
    (message,) = conversation.request()["messages"]
    return [block["document"]["name"] for block in message["content"]]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["a", "b"], ["a", "b"]),
        (["a", "a", "A", "b", "b"], ["a", "a (2)", "A (3)", "b", "b (2)"]),
        (["a (2)", "a", "a"], ["a (2)", "a", "a (3)"]),
        (["a", "a", "a (2)"], ["a", "a (2)", "a (2) (2)"]),
    ],
)
def test_no_two_documents_have_one_name(given: list[str], told: list[str]) -> None:
    """Bedrock refuses a conversation in which two have, in whatever case."""
    assert _names(*given) == told


def test_thousands_of_documents_are_told_apart_as_fast_as_they_are_read() -> None:
    """Nobody keeps the function busy with their names: looking each one up anew would take minutes here."""
    names = _names(*(["document"] * 20_000), *(f"document ({n})" for n in range(20_000)))
    assert len({name.lower() for name in names}) == 40_000


ADAPTIVE: Any = {"type": "adaptive"}


@pytest.mark.parametrize(
    ("model", "budget"),
    [
        ("anthropic.claude-3-7-sonnet-20250219-v1:0", True),
        ("us.anthropic.claude-sonnet-4-20250514-v1:0", True),
        ("us.anthropic.claude-opus-4-1-20250805-v1:0", True),
        ("global.anthropic.claude-haiku-4-5-20251001-v1:0", True),
        ("us.anthropic.claude-opus-4-6-v1", False),
        ("us.anthropic.claude-sonnet-4-6", False),
        ("us.anthropic.claude-opus-4-7", False),
        ("anthropic.claude-quite-new", False),
    ],
)
def test_claude_is_given_a_budget_or_an_effort(model: str, budget: bool) -> None:  # noqa: FBT001  # a parameter
    """Up to 4.5 the one, from then on the other; each is refused by the models that take the other."""
    for effort, told in (("minimal", "low"), ("medium", "medium"), ("max", "max")):
        fields = reasoning(model, effort, None, "effort")
        if budget:
            assert fields["thinking"]["type"] == "enabled"
            assert "output_config" not in fields
        else:
            assert fields == {"thinking": ADAPTIVE, "output_config": {"effort": told}}


def test_a_model_that_always_reasons_is_not_told_not_to() -> None:
    """What cannot be honoured is refused."""
    with pytest.raises(RequestError, match="always reasons"):
        reasoning("openai.gpt-oss-120b-1:0", "none", None, "effort")
    assert reasoning(NOVA, "none", None, "effort") == {}
