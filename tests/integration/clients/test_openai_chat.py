"""Judged by OpenAI's own client: Chat Completions, with the function URL for an endpoint."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import openai
import pytest
from pydantic import BaseModel

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

pytestmark = [pytest.mark.judge, pytest.mark.xdist_group("openai chat")]

NOVA = "amazon.nova-lite-v1:0"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL_SPECS: Any = [
    {"type": "function", "function": {"name": name, "parameters": CITY}} for name in TOOLS
]


@pytest.fixture(scope="module")
def function() -> Iterator[LocalFunction]:
    environment = {
        "RIVULET_MODEL_IDS": f"{MODEL},{NOVA}",
        "RIVULET_MODEL_ALIASES": f"{ALIAS}={MODEL}",
        "RIVULET_MAX_ATTEMPTS": "1",
        "RIVULET_COMMIT_AFTER": "0.3",
        "RIVULET_HEARTBEAT_INTERVAL": "0.1",
    }
    with LocalFunction(pace=IMMEDIATE, environment=environment) as function:
        yield function


@pytest.fixture
def client(function: LocalFunction) -> Iterator[openai.OpenAI]:
    """OpenAI's client, of which only the endpoint differs."""
    with openai.OpenAI(base_url=f"{function.url}/v1", api_key="x", max_retries=0) as client:
        yield client


def _user(content: Any) -> Any:
    return [{"role": "user", "content": content}]


def _told_usage(question: str = QUESTION) -> tuple[int, int, int]:
    counted = usage(question)
    return counted["inputTokens"], counted["outputTokens"], counted["totalTokens"]


def _usage(said: Any) -> tuple[int, int, int]:
    return said.prompt_tokens, said.completion_tokens, said.total_tokens


def test_text_in_a_stream(client: openai.OpenAI) -> None:
    """Every piece is a chunk of its own; then why it ended, and what was used."""
    options: Any = {"include_usage": True}
    chunks = list(
        client.chat.completions.create(
            model=MODEL, messages=_user(QUESTION), stream=True, stream_options=options
        )
    )
    opening, *said, finish, last = chunks
    assert opening.choices[0].delta.role == "assistant"
    assert tuple(chunk.choices[0].delta.content for chunk in said) == pieces()
    assert finish.choices[0].finish_reason == "stop"
    assert (last.choices, _usage(last.usage)) == ([], _told_usage())
    assert {chunk.model for chunk in chunks} == {MODEL}
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.created > 1_700_000_000 for chunk in chunks)


def test_text_in_one(client: openai.OpenAI) -> None:
    """Without ``stream`` one object, with the request's id where the client looks for it."""
    answer = client.chat.completions.create(model=MODEL, messages=_user(QUESTION), max_tokens=4000)
    (choice,) = answer.choices
    assert (choice.message.content, choice.finish_reason) == (text(), "stop")
    assert _usage(answer.usage) == _told_usage()
    assert answer.id == f"chatcmpl-{answer._request_id}"


def test_an_answer_that_is_cut_short_says_so(client: openai.OpenAI) -> None:
    """``length``, as the client's own helpers look for."""
    answer = client.chat.completions.create(model=MODEL, messages=_user(QUESTION), max_tokens=5)
    assert answer.choices[0].finish_reason == "length"


@pytest.mark.parametrize("model", [MODEL, NOVA])
def test_tools_in_parallel_and_their_results(
    function: LocalFunction, client: openai.OpenAI, model: str
) -> None:
    """Two calls in one answer, added up by the client; their results go back, and the model answers."""
    conversation = _user(TOOLS_QUESTION)
    with client.chat.completions.stream(
        model=model, messages=conversation, tools=TOOL_SPECS
    ) as stream:
        done = [event for event in stream if event.type == "tool_calls.function.arguments.done"]
        choice: Any = stream.get_final_completion().choices[0]
    assert choice.finish_reason == "tool_calls"
    calls = choice.message.tool_calls
    assert [call.function.name for call in calls] == list(TOOLS)
    assert [json.loads(call.function.arguments) for call in calls] == [TOOL_INPUT, TOOL_INPUT]
    assert [(event.index, event.name) for event in done] == list(enumerate(TOOLS))

    results: Any = [{"role": "tool", "tool_call_id": call.id, "content": "18 °C"} for call in calls]
    answer = client.chat.completions.create(
        model=model, messages=[*conversation, choice.message, *results], tools=TOOL_SPECS
    )
    assert "18 °C" in str(answer.choices[0].message.content)
    _, said, told = asked(function, "18 °C")["messages"]
    assert [block["toolUse"]["name"] for block in said["content"] if "toolUse" in block] == list(
        TOOLS
    )
    assert [block["toolResult"]["toolUseId"] for block in told["content"]] == [
        call.id for call in calls
    ]


def test_a_tool_that_must_be_called(client: openai.OpenAI) -> None:
    """A named tool is called whatever is asked, and ``content`` is ``null`` in an answer that is only the call."""
    choice: Any = {"type": "function", "function": {"name": TOOLS[1]}}
    answer = client.chat.completions.create(
        model=MODEL, messages=_user(QUESTION), tools=TOOL_SPECS, tool_choice=choice
    )
    message: Any = answer.choices[0].message
    assert [call.function.name for call in message.tool_calls] == [TOOLS[1]]
    assert message.content is None
    assert answer.choices[0].finish_reason == "tool_calls"


def test_reasoning_goes_there_and_back(function: LocalFunction, client: openai.OpenAI) -> None:
    """Claude thinks, signs it, and calls a tool; with the result the client sends all of that back as it came."""
    conversation = _user("Use the tool get_weather for Paris.")
    asking: Any = {
        "model": MODEL,
        "tools": TOOL_SPECS,
        "reasoning_effort": "low",
        "max_completion_tokens": 4000,
    }
    with client.chat.completions.stream(messages=conversation, **asking) as stream:
        message: Any = stream.get_final_completion().choices[0].message
    (block,) = message.thinking_blocks
    assert block["thinking"] == message.reasoning_content != ""
    assert block["signature"]
    thinking = {"type": "enabled", "budget_tokens": 2048}
    body = asked(function, "get_weather for Paris")
    assert body["additionalModelRequestFields"] == {"thinking": thinking}

    result: Any = {
        "role": "tool",
        "tool_call_id": message.tool_calls[0].id,
        "content": "Rain, they say.",
    }
    client.chat.completions.create(messages=[*conversation, message, result], **asking)
    _, said, _ = asked(function, "Rain, they say.")["messages"]
    assert said["content"][0] == {
        "reasoningContent": {
            "reasoningText": {"text": block["thinking"], "signature": block["signature"]}
        }
    }
    assert "toolUse" in said["content"][-1]


def test_an_image_is_seen(function: LocalFunction, client: openai.OpenAI) -> None:
    """A data URL's bytes reach Bedrock as they were."""
    data = b64encode(PNG).decode()
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    question = {"type": "text", "text": "What is in this picture?"}
    answer = client.chat.completions.create(model=MODEL, messages=_user([question, image]))
    assert answer.choices[0].message.content
    (message,) = asked(function, "What is in this picture?")["messages"]
    assert message["content"][1] == {"image": {"format": "png", "source": {"bytes": data}}}


def test_a_document_is_read(function: LocalFunction, client: openai.OpenAI) -> None:
    """A file's bytes reach Bedrock as they were, under the file's name."""
    data = b64encode(PDF).decode()
    file = {"filename": "report.pdf", "file_data": f"data:application/pdf;base64,{data}"}
    question = {"type": "text", "text": "What does the report say?"}
    client.chat.completions.create(
        model=MODEL, messages=_user([question, {"type": "file", "file": file}])
    )
    (message,) = asked(function, "What does the report say?")["messages"]
    document = {"format": "pdf", "name": "report", "source": {"bytes": data}}
    assert message["content"][1] == {"document": document}


@pytest.mark.parametrize("streams", [True, False])
def test_usage_of_a_cache(client: openai.OpenAI, streams: bool) -> None:  # noqa: FBT001  # both ways
    """What was read from a cache and written to it is part of the prompt, and told apart."""
    more: Any = {"stream_options": {"include_usage": True}} if streams else {}
    question = _user(f"{QUESTION} [fault: cached read=70 write=9]")
    answer: Any = client.chat.completions.create(
        model=MODEL, messages=question, stream=streams, **more
    )
    told = (list(answer)[-1] if streams else answer).usage
    asked_for, answered, _ = _told_usage()
    assert _usage(told) == (asked_for + 79, answered, asked_for + 79 + answered)
    details = told.prompt_tokens_details
    assert (details.cached_tokens, details.cache_write_tokens) == (70, 9)


@pytest.mark.parametrize(
    ("fault", "limits", "reason"),
    [
        ("", {"max_tokens": 3}, "length"),
        ("", {"stop": "sooner"}, "stop"),
        (" [fault: unknown_stop]", {}, "future_reason"),
    ],
)
def test_stop_reasons(
    client: openai.OpenAI, fault: str, limits: dict[str, Any], reason: str
) -> None:
    """Why the model stopped is always told, even if nobody has heard of such a reason."""
    answer = client.chat.completions.create(
        model=MODEL, messages=_user(f"{QUESTION}{fault}"), **limits
    )
    assert answer.choices[0].finish_reason == reason


def test_models_are_listed(client: openai.OpenAI) -> None:
    """Those that this deployment allows, its own names for them first, and each by its name."""
    assert [model.id for model in client.models.list()] == [ALIAS, MODEL, NOVA]
    assert client.models.retrieve(NOVA).id == NOVA
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-of-tomorrow")


def test_an_alias(client: openai.OpenAI) -> None:
    """A deployment's own name for a model is as good as Bedrock's."""
    answer = client.chat.completions.create(model=ALIAS, messages=_user(QUESTION))
    assert (answer.choices[0].message.content, answer.model) == (text(), MODEL)


class Place(BaseModel):
    """Where."""

    city: str


def test_a_schema_for_the_answer_reaches_bedrock(
    function: LocalFunction, client: openai.OpenAI
) -> None:
    """What the client makes of a class is Converse's own ``outputConfig``."""
    schema: Any = {"name": "place", "schema": Place.model_json_schema()}
    client.chat.completions.create(
        model=MODEL,
        messages=_user("Where are we, as JSON?"),
        response_format={"type": "json_schema", "json_schema": schema},
    )
    output = asked(function, "Where are we, as JSON?")["outputConfig"]["textFormat"]
    definition = output["structure"]["jsonSchema"]
    assert definition["name"] == "place"
    assert json.loads(definition["schema"]) == Place.model_json_schema()


@pytest.mark.parametrize(
    ("fault", "code", "retryable"),
    [
        ("exception after=5", "throttling", True),
        ("cut after=5", "connection_lost", True),
        ("end after=5", "truncated", True),
        ("exception after=5 name=validationException", "validation", False),
    ],
)
def test_a_failure_in_mid_stream_is_raised(
    client: openai.OpenAI,
    fault: str,
    code: str,
    retryable: bool,  # noqa: FBT001  # what it says
) -> None:
    """After the pieces that came, the client raises; none of it is mistaken for an end."""
    said = []
    with pytest.raises(openai.APIError) as caught:  # noqa: PT012  # the iteration raises
        for chunk in client.chat.completions.create(
            model=MODEL, messages=_user(f"{QUESTION} [fault: {fault}]"), stream=True
        ):
            said.append(chunk.choices[0])  # noqa: PERF401  # those before an error count, too
    assert "".join(choice.delta.content or "" for choice in said)
    assert {choice.finish_reason for choice in said} == {None}
    assert caught.value.code == code
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["retryable"] is retryable
    assert caught.value.body["request_id"]


@pytest.mark.parametrize("streams", [True, False])
def test_throttling_is_a_rate_limit_error(client: openai.OpenAI, streams: bool) -> None:  # noqa: FBT001  # both ways
    """Before the first byte there is a real 429, with when to try again."""
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(
            model=MODEL, messages=_user(f"{QUESTION} [fault: refuse]"), stream=streams
        )
    error = caught.value
    assert (error.code, error.type) == ("throttling", "rate_limit_error")
    assert error.response.headers["retry-after"]
    assert error.response.headers["x-should-retry"] == "true"
    assert isinstance(error.body, dict)
    assert error.body["request_id"] == error.request_id


def test_a_refusal_behind_heartbeats_is_raised(client: openai.OpenAI) -> None:
    """Where Bedrock keeps everyone waiting the 200 is out already; then the refusal is the stream's only event."""
    fault = "delay seconds=0.6; refuse"
    with (
        client.chat.completions.create(
            model=MODEL, messages=_user(f"{QUESTION} [fault: {fault}]"), stream=True
        ) as stream,
        pytest.raises(openai.APIError) as caught,
    ):
        list(stream)
    assert not isinstance(caught.value, openai.APIStatusError)
    assert caught.value.code == "throttling"


def test_heartbeats_are_passed_over(client: openai.OpenAI) -> None:
    """Before the first piece and within a tool's input, where models are silent for long."""
    fault = "delay seconds=0.6; tool; gap seconds=0.3 pieces=2"
    with client.chat.completions.stream(
        model=MODEL, messages=_user(f"[fault: {fault}]"), tools=TOOL_SPECS
    ) as stream:
        stream.until_done()
        message: Any = stream.get_final_completion().choices[0].message
    (call,) = message.tool_calls
    assert json.loads(call.function.arguments).keys() == {"city"}


def test_a_failure_of_a_whole_answer_has_a_status(client: openai.OpenAI) -> None:
    """What fails in the middle was not sent yet: an exception by its status, never half an answer."""
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(
            model=MODEL, messages=_user(f"{QUESTION} [fault: cut after=5]")
        )
    assert (caught.value.status_code, caught.value.code) == (502, "connection_lost")


def test_the_client_tries_again_by_itself(function: LocalFunction) -> None:
    """A refusal that is worth it is retried, and the caller sees only the answer."""
    with openai.OpenAI(base_url=f"{function.url}/v1", api_key="x", max_retries=1) as client:
        fault = "refuse name=ModelErrorException times=1 message=try_again"  # 424: only we say so
        answer = client.chat.completions.create(
            model=MODEL, messages=_user(f"{QUESTION} [fault: {fault}]")
        )
    assert answer.choices[0].message.content == text()


def test_a_model_that_nobody_allows_is_not_found(client: openai.OpenAI) -> None:
    """404, in OpenAI's own code for it."""
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-of-tomorrow", messages=_user(QUESTION))
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"n": 2}, "n"),
        ({"temperature": 1.5}, "temperature"),
        ({"messages": [{"role": "user", "content": "x", "name": "Ann"}]}, "messages[0].name"),
        ({"extra_body": {"top_k": 5}}, "top_k"),
        ({"max_tokens": 0}, "max_tokens"),
    ],
)
def test_what_bedrock_cannot_honour_is_a_bad_request(
    client: openai.OpenAI, members: dict[str, Any], param: str
) -> None:
    """With the field's own name in ``param``; it does not reach Bedrock."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**{"model": MODEL, "messages": _user("x"), **members})
    assert (caught.value.param, caught.value.type) == (param, "invalid_request_error")
    assert caught.value.code == "invalid_request"


def test_bedrocks_own_refusal_is_a_bad_request(client: openai.OpenAI) -> None:
    """In its own words, which speak of the request."""
    fault = "refuse name=ValidationException message=nonsense"
    with pytest.raises(openai.BadRequestError, match="nonsense"):
        client.chat.completions.create(
            model=MODEL, messages=_user(f"{QUESTION} [fault: {fault}]"), stream=True
        )
