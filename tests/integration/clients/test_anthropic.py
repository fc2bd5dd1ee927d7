"""Judged by Anthropic's own client: its Messages API at the function URL, in front of its own models and of another's.

The client is told nothing but the address. The models of the first kind speak its API themselves, those of the other
through Converse; what the caller sees of either is to be the same.
"""

from __future__ import annotations

import json
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import anthropic
import pytest

from local.function import LocalFunction
from local.pace import IMMEDIATE
from tests.integration.clients.honest import (
    ALIAS,
    MODEL,
    PDF,
    PNG,
    QUESTION,
    TOOL_INPUT,
    TOOLS,
    TOOLS_QUESTION,
    asked,
    pieces,
    text,
    usage,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anthropic.types import Message

pytestmark = [pytest.mark.judge, pytest.mark.xdist_group("anthropic clients")]

NOVA = "amazon.nova-lite-v1:0"
ANY_MODEL = pytest.mark.parametrize("model", [MODEL, NOVA])
BOTH_WAYS = pytest.mark.parametrize("way", ["stream", "whole"])
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
TOOLS_ASKED: list[Any] = [{"name": name, "input_schema": SCHEMA} for name in TOOLS]
IMAGE = {
    "type": "image",
    "source": {
        "type": "base64",
        "media_type": "image/png",
        "data": b64encode(PNG).decode(),
    },
}


@pytest.fixture(scope="module")
def function() -> Iterator[LocalFunction]:
    aliases = f"{ALIAS}={MODEL},our-nova={NOVA}"
    environment = {"RIVULET_MAX_ATTEMPTS": "1", "RIVULET_MODEL_ALIASES": aliases}
    with LocalFunction(pace=IMMEDIATE, environment=environment) as function:
        yield function


@pytest.fixture(scope="module")
def client(function: LocalFunction) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(api_key="any", base_url=function.url, max_retries=0) as client:
        yield client


def _ask(
    client: anthropic.Anthropic, way: str, model: str, content: Any = QUESTION, **more: Any
) -> Message:
    """Return the message that the client reads, or puts together."""
    request: dict[str, Any] = {
        "model": model,
        "max_tokens": 4000,
        "messages": [{"role": "user", "content": content}],
        **more,
    }
    if way == "whole":
        message: Message = client.messages.create(**request)
        return message
    with client.messages.stream(**request) as stream:
        return stream.get_final_message()


def _text(message: Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


@ANY_MODEL
@BOTH_WAYS
def test_text_and_usage(client: anthropic.Anthropic, way: str, model: str) -> None:
    """The answer is what Bedrock said, with its end and its counts, whole or put together from the stream."""
    message = _ask(client, way, model)
    assert _text(message) == text()
    assert (message.type, message.role) == ("message", "assistant")
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
    assert message.usage.output_tokens == usage()["outputTokens"]
    assert message.usage.input_tokens == usage()["inputTokens"]
    assert message.id.startswith("msg_")


@ANY_MODEL
def test_the_requests_id(client: anthropic.Anthropic, model: str) -> None:
    """The request's id is where the client looks for it, and it is the one that is in every answer."""
    messages: Any = [{"role": "user", "content": QUESTION}]
    raw = client.messages.with_raw_response.create(model=model, max_tokens=9, messages=messages)
    assert raw.parse()._request_id == raw.headers["x-request-id"] is not None


@ANY_MODEL
def test_text_comes_in_its_pieces(client: anthropic.Anthropic, model: str) -> None:
    """Each piece of Bedrock's is one of the client's."""
    messages: Any = [{"role": "user", "content": QUESTION}]
    with client.messages.stream(model=model, max_tokens=4000, messages=messages) as stream:
        assert list(stream.text_stream) == list(pieces())
    raw = client.messages.create(model=model, max_tokens=4000, messages=messages, stream=True)
    types = [event.type for event in raw]
    assert types[:2] == ["message_start", "content_block_start"]
    assert types[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert types.count("content_block_delta") == len(pieces())


@ANY_MODEL
@BOTH_WAYS
def test_two_tools_at_once(client: anthropic.Anthropic, way: str, model: str) -> None:
    """Parallel calls keep their names, ids and inputs apart, and their results go back to the model."""
    message = _ask(client, way, model, TOOLS_QUESTION, tools=TOOLS_ASKED)
    calls = [block for block in message.content if block.type == "tool_use"]
    assert [(call.name, call.input) for call in calls] == [(name, TOOL_INPUT) for name in TOOLS]
    assert len({call.id for call in calls}) == 2
    assert message.stop_reason == "tool_use"
    results = [
        {"type": "tool_result", "tool_use_id": call.id, "content": f"18 °C, says {call.name}"}
        for call in calls
    ]
    messages = [
        {"role": "user", "content": TOOLS_QUESTION},
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": results},
    ]
    answer = _ask(client, way, model, tools=TOOLS_ASKED, messages=messages)
    assert f"18 °C, says {TOOLS[0]}" in _text(answer)
    assert answer.stop_reason == "end_turn"


@ANY_MODEL
@BOTH_WAYS
def test_a_thought_goes_back_with_its_signature(
    function: LocalFunction, client: anthropic.Anthropic, way: str, model: str
) -> None:
    """Thinking, redacted or not, comes whole, and in the next turn the model gets back just what it gave."""
    question = f"{QUESTION} ({way}, {model}) [fault: redacted] [fault: reasoning]"
    message = _ask(client, way, model, question)
    redacted, thought, said = message.content
    assert redacted.type == "redacted_thinking"
    assert thought.type == "thinking"
    assert (len(thought.signature), said.type) == (128, "text")
    follow_up = f"And then? ({way}, {model})"
    messages = [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": follow_up},
    ]
    _ask(client, way, model, messages=messages)
    arrived = asked(function, follow_up)["messages"][1]["content"]
    if model == NOVA:
        signed = {"text": thought.thinking, "signature": thought.signature}
        assert arrived[:2] == [
            {"reasoningContent": {"redactedContent": redacted.data}},
            {"reasoningContent": {"reasoningText": signed}},
        ]
    else:
        assert [block["type"] for block in arrived] == ["redacted_thinking", "thinking", "text"]
        assert arrived[0]["data"] == redacted.data
        assert arrived[1]["signature"] == thought.signature


@ANY_MODEL
@BOTH_WAYS
def test_thinking_is_asked_for(client: anthropic.Anthropic, way: str, model: str) -> None:
    """A budget to think with makes either kind of model think."""
    message = _ask(client, way, model, thinking={"type": "enabled", "budget_tokens": 1024})
    assert [block.type for block in message.content] == ["thinking", "text"]


@ANY_MODEL
@BOTH_WAYS
def test_an_image(
    function: LocalFunction, client: anthropic.Anthropic, way: str, model: str
) -> None:
    """An image reaches the model as it was sent, in the model's own terms."""
    question = f"What does it show? ({way}, {model})"
    message = _ask(client, way, model, [{"type": "text", "text": question}, IMAGE])
    assert message.stop_reason == "end_turn"
    _, arrived = asked(function, question)["messages"][0]["content"]
    data = b64encode(PNG).decode()
    converses = {"image": {"format": "png", "source": {"bytes": data}}}
    assert arrived == (converses if model == NOVA else IMAGE)


@ANY_MODEL
@BOTH_WAYS
def test_a_document(
    function: LocalFunction, client: anthropic.Anthropic, way: str, model: str
) -> None:
    """A document reaches the model as it was sent, in the model's own terms."""
    question = f"What does the report say? ({way}, {model})"
    data = b64encode(PDF).decode()
    source = {"type": "base64", "media_type": "application/pdf", "data": data}
    document = {"type": "document", "source": source, "title": "report"}
    message = _ask(client, way, model, [{"type": "text", "text": question}, document])
    assert message.stop_reason == "end_turn"
    _, arrived = asked(function, question)["messages"][0]["content"]
    converses = {"document": {"format": "pdf", "name": "report", "source": {"bytes": data}}}
    assert arrived == (converses if model == NOVA else document)


@ANY_MODEL
@BOTH_WAYS
def test_a_schema_for_the_answer(
    function: LocalFunction, client: anthropic.Anthropic, way: str, model: str
) -> None:
    """A schema reaches the model as it was sent, in the model's own terms."""
    question = f"Where is that, in JSON? ({way}, {model})"
    output = {"format": {"type": "json_schema", "schema": SCHEMA}}
    _ask(client, way, model, question, output_config=output)
    arrived = asked(function, question)
    if model == NOVA:
        structure = arrived["outputConfig"]["textFormat"]["structure"]
        assert json.loads(structure["jsonSchema"]["schema"]) == SCHEMA
    else:
        assert arrived["output_config"] == output


@pytest.mark.parametrize(("alias", "model"), [(ALIAS, MODEL), ("our-nova", NOVA)])
@BOTH_WAYS
def test_an_alias(
    function: LocalFunction, client: anthropic.Anthropic, way: str, alias: str, model: str
) -> None:
    """A deployment's own name for a model is as good as Bedrock's."""
    assert _text(_ask(client, way, alias)) == text()
    assert function.bedrock.calls[-1].model_id == model


def test_models_are_listed(client: anthropic.Anthropic) -> None:
    """Those that this deployment allows, its own names for them first, and each by its name."""
    listed = [model.id for model in client.models.list()]
    assert listed[:2] == [ALIAS, "our-nova"]
    assert {MODEL, NOVA} <= set(listed)
    assert client.models.retrieve(NOVA).id == NOVA
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("claude-of-tomorrow")


@ANY_MODEL
@BOTH_WAYS
def test_usage_of_a_cache(client: anthropic.Anthropic, way: str, model: str) -> None:
    """What was read from a cache and written to it is counted beside the rest."""
    message = _ask(client, way, model, f"{QUESTION} [fault: cached read=70 write=9]")
    counted = message.usage
    assert (counted.cache_read_input_tokens, counted.cache_creation_input_tokens) == (70, 9)
    assert counted.input_tokens == usage()["inputTokens"]


@ANY_MODEL
@BOTH_WAYS
@pytest.mark.parametrize(
    ("question", "more", "reason"),
    [
        (QUESTION, {"max_tokens": 3}, "max_tokens"),
        (QUESTION, {"stop_sequences": ["sooner"]}, "stop_sequence"),
        (f"{QUESTION} [fault: unknown_stop]", {}, "future_reason"),
    ],
)
def test_stop_reasons(
    client: anthropic.Anthropic,
    way: str,
    model: str,
    question: str,
    more: dict[str, Any],
    reason: str,
) -> None:
    """Why the model stopped is always told, even if nobody has heard of such a reason."""
    assert _ask(client, way, model, question, **more).stop_reason == reason


@ANY_MODEL
@pytest.mark.parametrize(
    ("fault", "type_", "code"),
    [
        ("exception after=9", "rate_limit_error", "throttling"),
        ("exception after=9 name=modelStreamErrorException", "api_error", "model_stream_error"),
        ("exception after=9 name=serviceUnavailableException", "overloaded_error", None),
        ("cut after=9", "api_error", "connection_lost"),
        ("end after=9", "api_error", "truncated"),
        ("corrupt after=9", "api_error", "corrupt"),
    ],
)
def test_a_failure_in_mid_stream_is_an_exception(
    client: anthropic.Anthropic, model: str, fault: str, type_: str, code: str | None
) -> None:
    """After the pieces that came, the client raises: half an answer never passes for a whole one."""
    messages: Any = [{"role": "user", "content": f"{QUESTION} [fault: {fault}]"}]
    came: list[str] = []
    with (
        pytest.raises(anthropic.APIStatusError) as caught,
        client.messages.stream(model=model, max_tokens=4000, messages=messages) as stream,
    ):
        came.extend(stream.text_stream)
    assert came
    assert came == list(pieces()[: len(came)])
    assert caught.value.type == type_
    assert code in {None, caught.value.error_code}


@ANY_MODEL
@BOTH_WAYS
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("refuse", anthropic.RateLimitError),
        ("refuse name=AccessDeniedException", anthropic.PermissionDeniedError),
        ("refuse name=ValidationException", anthropic.BadRequestError),
        ("refuse name=ServiceUnavailableException", anthropic.InternalServerError),
        ("refuse name=InternalServerException", anthropic.InternalServerError),
    ],
)
def test_a_refusal_is_an_exception(
    client: anthropic.Anthropic,
    way: str,
    model: str,
    fault: str,
    error: type[anthropic.APIStatusError],
) -> None:
    """Before the first byte an error has its status, so the client raises what it has for that."""
    with pytest.raises(error) as caught:
        _ask(client, way, model, f"{QUESTION} [fault: {fault}]")
    assert caught.value.request_id
    assert caught.value.error_code


@ANY_MODEL
def test_a_failure_of_a_whole_answer_is_an_exception(
    client: anthropic.Anthropic, model: str
) -> None:
    """An answer that is not streamed has a status of its own to the end, and no half is ever sent."""
    with pytest.raises(anthropic.InternalServerError) as caught:
        _ask(client, "whole", model, f"{QUESTION} [fault: cut byte=9]")
    assert caught.value.status_code == 502


def test_throttling_is_tried_again(function: LocalFunction) -> None:
    """The client tries again by itself where the relay says that it may help, and gets its answer."""
    with anthropic.Anthropic(api_key="any", base_url=function.url, max_retries=2) as client:
        question = f"{QUESTION} [fault: refuse times=1 retry_after=1]"
        assert _text(_ask(client, "stream", NOVA, question)) == text()


@BOTH_WAYS
def test_a_model_that_nobody_allows(client: anthropic.Anthropic, way: str) -> None:
    """It is not found, and the client says so."""
    with pytest.raises(anthropic.NotFoundError) as caught:
        _ask(client, way, "claude-of-tomorrow")
    assert caught.value.type == "not_found_error"


@pytest.mark.parametrize(
    ("model", "more", "field"),
    [
        (NOVA, {"max_tokens": 0}, "max_tokens"),
        (NOVA, {"extra_body": {"top_p": 2}}, "top_p"),
        (NOVA, {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        (MODEL, {"extra_body": {"betas": 5}}, "betas"),
    ],
)
def test_what_cannot_be_done_is_a_bad_request(
    client: anthropic.Anthropic, model: str, more: dict[str, Any], field: str
) -> None:
    """The message names the field as its sender knows it."""
    with pytest.raises(anthropic.BadRequestError) as caught:
        _ask(client, "whole", model, **more)
    assert caught.value.type == "invalid_request_error"
    assert f"{field}: expected" in str(caught.value.api_message)


def test_what_bedrock_has_against_a_request(client: anthropic.Anthropic) -> None:
    """Requests for Anthropic's own models are for Bedrock to judge, whose words name the field."""
    with pytest.raises(anthropic.BadRequestError) as caught:
        _ask(client, "whole", MODEL, " ")
    assert "messages.0.content.0" in str(caught.value.api_message)


def test_previews_reach_bedrock(function: LocalFunction, client: anthropic.Anthropic) -> None:
    """The names of previews, a header of the client's, are in the body where Bedrock looks for them."""
    question = "Is anything new?"
    messages: Any = [{"role": "user", "content": question}]
    client.beta.messages.create(
        model=MODEL, max_tokens=50, messages=messages, betas=["interleaved-thinking-2025-05-14"]
    )
    arrived = asked(function, question)
    assert arrived["anthropic_beta"] == ["interleaved-thinking-2025-05-14"]
    assert arrived["anthropic_version"] == "bedrock-2023-05-31"
    assert {"model", "stream", "betas"}.isdisjoint(arrived)


@ANY_MODEL
def test_count_tokens(client: anthropic.Anthropic, model: str) -> None:
    """Counting is free and exact: the number that the question's answer is counted with."""
    messages: Any = [{"role": "user", "content": QUESTION}]
    count = client.messages.count_tokens(model=model, messages=messages, tools=TOOLS_ASKED)
    assert count.input_tokens == usage()["inputTokens"]
    assert client.beta.messages.count_tokens(model=model, messages=messages).input_tokens


def test_silence_is_broken_for_the_client() -> None:
    """Heartbeats before the answer begins and within it are nothing to the client, and an error after them is one."""
    environment = {"RIVULET_COMMIT_AFTER": "0.1", "RIVULET_HEARTBEAT_INTERVAL": "0.1"}
    with (
        LocalFunction(pace=IMMEDIATE, environment=environment) as function,
        anthropic.Anthropic(api_key="any", base_url=function.url, max_retries=0) as client,
    ):
        for model in (MODEL, NOVA):
            slow = f"{QUESTION} [fault: delay seconds=0.5; stall after=4 seconds=0.4]"
            assert _text(_ask(client, "stream", model, slow)) == text()
            late = f"{QUESTION} [fault: delay seconds=0.5; refuse name=AccessDeniedException]"
            with pytest.raises(anthropic.APIStatusError) as caught:
                _ask(client, "stream", model, late)
            assert caught.value.type == "permission_error"


@BOTH_WAYS
def test_anthropics_client_for_bedrock(function: LocalFunction, way: str) -> None:
    """It calls Bedrock's own InvokeModel, and reads Bedrock's event stream whatever it says that it accepts."""
    with anthropic.AnthropicBedrock(
        base_url=function.url,
        aws_access_key="any",
        aws_secret_key="any",
        aws_region="us-east-1",
        max_retries=0,
    ) as client:
        message = _ask(client, way, MODEL)  # type: ignore[arg-type]  # it has the same messages
    assert _text(message) == text()
    assert message.usage.output_tokens == usage()["outputTokens"]
