"""Judged by OpenAI's own client: the Responses API, with the function URL for an endpoint."""

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

pytestmark = [pytest.mark.judge, pytest.mark.xdist_group("openai responses")]

NOVA = "amazon.nova-lite-v1:0"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL_SPECS: Any = [{"type": "function", "name": name, "parameters": CITY} for name in TOOLS]


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


def _told_usage(question: str = QUESTION, read: int = 0, write: int = 0) -> dict[str, Any]:
    counted = usage(question)
    return {
        "input_tokens": counted["inputTokens"] + read + write,
        "input_tokens_details": {"cached_tokens": read, "cache_write_tokens": write},
        "output_tokens": counted["outputTokens"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": counted["totalTokens"] + read + write,
    }


def test_text_in_a_stream(client: openai.OpenAI) -> None:
    """Every piece is an event of its own, and the last event is the whole response, with what was used."""
    events = list(client.responses.create(model=MODEL, input=QUESTION, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert tuple(deltas) == pieces()
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.output_text == text()
    assert last.response.model == MODEL
    assert last.response.created_at > 1_700_000_000
    assert last.response.usage is not None
    assert last.response.usage.to_dict() == _told_usage()


def test_text_in_one(client: openai.OpenAI) -> None:
    """Without ``stream`` one response, with the request's id where the client looks for it."""
    answer = client.responses.create(model=MODEL, input=QUESTION, max_output_tokens=4000)
    assert (answer.status, answer.output_text) == ("completed", text())
    assert answer.usage is not None
    assert answer.usage.to_dict() == _told_usage()
    assert answer.id == f"resp_{answer._request_id}"
    assert answer.max_output_tokens == 4000


def test_the_clients_own_accumulator(client: openai.OpenAI) -> None:
    """``stream()`` ends with the same response, what a cache had a part in among its usage."""
    question = f"{QUESTION} [fault: cached read=70 write=9]"
    with client.responses.stream(model=MODEL, input=question, instructions="Be brief.") as stream:
        final = stream.get_final_response()
    assert final.output_text == text()
    assert final.usage is not None
    counted = final.usage.to_dict()
    assert counted["input_tokens_details"] == {"cached_tokens": 70, "cache_write_tokens": 9}
    assert counted["total_tokens"] == final.usage.input_tokens + final.usage.output_tokens


@pytest.mark.parametrize("streams", [True, False])
def test_an_answer_that_is_cut_short_says_so(
    client: openai.OpenAI,
    streams: bool,  # noqa: FBT001  # both ways
) -> None:
    """``incomplete``, and why."""
    answer: Any = client.responses.create(
        model=MODEL, input=QUESTION, max_output_tokens=5, stream=streams
    )
    response = list(answer)[-1].response if streams else answer
    assert response.status == "incomplete"
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.output[-1].status == "incomplete"


@pytest.mark.parametrize("model", [MODEL, NOVA])
def test_tools_in_parallel_and_their_results(
    function: LocalFunction, client: openai.OpenAI, model: str
) -> None:
    """Two calls in one answer, each whole; their results go back with the rest of the output, and the model answers."""
    conversation: Any = [{"role": "user", "content": TOOLS_QUESTION}]
    with client.responses.stream(model=model, input=conversation, tools=TOOL_SPECS) as stream:
        done = [event for event in stream if event.type == "response.function_call_arguments.done"]
        output: list[Any] = list(stream.get_final_response().output)
    calls = [item for item in output if item.type == "function_call"]
    assert [call.name for call in calls] == list(TOOLS)
    assert [json.loads(call.arguments) for call in calls] == [TOOL_INPUT, TOOL_INPUT]
    assert [event.item_id for event in done] == [call.id for call in calls]
    assert len({call.call_id for call in calls}) == 2

    results: Any = [
        {"type": "function_call_output", "call_id": call.call_id, "output": "18 °C"}
        for call in calls
    ]
    answer = client.responses.create(
        model=model, input=[*conversation, *output, *results], tools=TOOL_SPECS
    )
    assert "18 °C" in answer.output_text
    _, said, told = asked(function, "18 °C")["messages"]
    uses = [block["toolUse"] for block in said["content"] if "toolUse" in block]
    assert [(use["name"], use["input"]) for use in uses] == [(name, TOOL_INPUT) for name in TOOLS]
    assert [block["toolResult"]["toolUseId"] for block in told["content"]] == [
        call.call_id for call in calls
    ]


def test_a_tool_that_must_be_called(client: openai.OpenAI) -> None:
    """A named tool is called whatever is asked, and the client makes an object of the arguments."""
    tool: Any = {**TOOL_SPECS[1], "strict": True}
    answer = client.responses.parse(
        model=MODEL,
        input=QUESTION,
        tools=[tool],
        tool_choice={"type": "function", "name": TOOLS[1]},
    )
    (call,) = answer.output
    assert call.type == "function_call"
    assert call.name == TOOLS[1]
    assert isinstance(call.parsed_arguments, dict)
    assert answer.output_text == ""


@pytest.mark.parametrize("streams", [True, False])
def test_reasoning_goes_there_and_back(
    function: LocalFunction,
    client: openai.OpenAI,
    streams: bool,  # noqa: FBT001  # both ways
) -> None:
    """Claude thinks, signs it, and calls a tool; with the result the client sends all of that back as it came."""
    way = "a stream" if streams else "one"
    question = f"Use the tool get_weather for Paris, in {way}. [fault: redacted]"
    conversation: Any = [{"role": "user", "content": question}]
    asking: Any = {
        "model": MODEL,
        "tools": TOOL_SPECS,
        "reasoning": {"effort": "low", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
        "max_output_tokens": 4000,
        "store": False,
    }
    answer: Any
    if streams:
        with client.responses.stream(input=conversation, **asking) as stream:
            events = list(stream)
            answer = stream.get_final_response()
        told = [e.delta for e in events if e.type == "response.reasoning_summary_text.delta"]
        assert "".join(told) == answer.output[1].summary[0].text
    else:
        answer = client.responses.create(input=conversation, **asking)
    redacted, thought, *_, call = answer.output
    assert (redacted.type, redacted.summary) == ("reasoning", [])
    assert thought.type == "reasoning"
    assert "get_weather for Paris" in thought.summary[0].text
    thinking = {"type": "enabled", "budget_tokens": 2048}
    body = asked(function, f"for Paris, in {way}")
    assert body["additionalModelRequestFields"] == {"thinking": thinking}

    said = f"Rain, they say in {way}."
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": said}
    client.responses.create(input=[*conversation, *answer.output, result], **asking)
    _, before, _ = asked(function, said)["messages"]
    hidden, shown, *_, use = before["content"]
    assert len(hidden["reasoningContent"]["redactedContent"]) == 128
    reasoning = shown["reasoningContent"]["reasoningText"]
    assert reasoning["text"] == thought.summary[0].text
    assert len(reasoning["signature"]) == 128
    assert "toolUse" in use


def test_an_image_is_seen(function: LocalFunction, client: openai.OpenAI) -> None:
    """A data URL's bytes reach Bedrock as they were."""
    data = b64encode(PNG).decode()
    image = {"type": "input_image", "image_url": f"data:image/png;base64,{data}", "detail": "auto"}
    question = {"type": "input_text", "text": "What is in this picture?"}
    message: Any = {"role": "user", "content": [question, image]}
    assert client.responses.create(model=MODEL, input=[message]).output_text
    (told,) = asked(function, "What is in this picture?")["messages"]
    assert told["content"][1] == {"image": {"format": "png", "source": {"bytes": data}}}


def test_a_document_is_read(function: LocalFunction, client: openai.OpenAI) -> None:
    """A file's bytes reach Bedrock as they were, under the file's name."""
    data = b64encode(PDF).decode()
    file = {"filename": "report.pdf", "file_data": f"data:application/pdf;base64,{data}"}
    question = {"type": "input_text", "text": "What does the report say?"}
    message: Any = {"role": "user", "content": [question, {"type": "input_file", **file}]}
    assert client.responses.create(model=MODEL, input=[message]).output_text
    (told,) = asked(function, "What does the report say?")["messages"]
    document = {"format": "pdf", "name": "report", "source": {"bytes": data}}
    assert told["content"][1] == {"document": document}


def test_an_alias(client: openai.OpenAI) -> None:
    """A deployment's own name for a model is as good as Bedrock's."""
    answer = client.responses.create(model=ALIAS, input=QUESTION)
    assert (answer.output_text, answer.model) == (text(), MODEL)


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.responses.input_tokens.count(model=MODEL, input=QUESTION),
        lambda client: client.responses.retrieve("resp_1"),
        lambda client: client.responses.compact(model=MODEL, input=QUESTION),
    ],
    ids=["count", "retrieve", "compact"],
)
def test_the_rest_of_the_api_is_not_there(client: openai.OpenAI, call: Any) -> None:
    """No answers are kept, and no tokens counted beforehand: 404."""
    with pytest.raises(openai.NotFoundError) as caught:
        call(client)
    assert caught.value.code == "not_found"


class Place(BaseModel):
    """Where."""

    city: str


def test_a_schema_for_the_answer_reaches_bedrock(
    function: LocalFunction, client: openai.OpenAI
) -> None:
    """A JSON Schema is Converse's own ``outputConfig``."""
    schema = Place.model_json_schema()
    form: Any = {"type": "json_schema", "name": "place", "schema": schema, "strict": True}
    client.responses.create(model=MODEL, input="Where are we, as JSON?", text={"format": form})
    output = asked(function, "Where are we, as JSON?")["outputConfig"]["textFormat"]
    definition = output["structure"]["jsonSchema"]
    assert definition["name"] == "place"
    assert json.loads(definition["schema"]) == schema


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
    seen: list[Any] = []
    question = f"{QUESTION} [fault: {fault}]"
    stream = client.responses.create(model=MODEL, input=question, stream=True)
    with pytest.raises(openai.APIError) as caught:
        seen.extend(stream)
    assert "".join(e.delta for e in seen if e.type == "response.output_text.delta")
    assert seen[-1].type == "response.output_item.done"
    assert seen[-1].item.status == "incomplete"
    assert caught.value.code == code
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["retryable"] is retryable
    assert caught.value.body["request_id"]


def test_a_call_that_the_stream_fails_within_is_not_done(client: openai.OpenAI) -> None:
    """Who carries out what is done does not carry out a half of a call."""
    seen: list[Any] = []
    question = "[fault: tool; cut after=12]"
    stream = client.responses.create(model=MODEL, input=question, tools=TOOL_SPECS, stream=True)
    with pytest.raises(openai.APIError, match="connection to Bedrock broke"):
        seen.extend(stream)
    calls = [event for event in seen if "function_call" in str(getattr(event, "item", event.type))]
    assert calls
    assert not any(event.type.endswith(".done") for event in calls)


@pytest.mark.parametrize("streams", [True, False])
def test_throttling_is_a_rate_limit_error(client: openai.OpenAI, streams: bool) -> None:  # noqa: FBT001  # both ways
    """Before the first byte there is a real 429, with when to try again."""
    with pytest.raises(openai.RateLimitError) as caught:
        client.responses.create(model=MODEL, input=f"{QUESTION} [fault: refuse]", stream=streams)
    error = caught.value
    assert (error.code, error.type) == ("throttling", "rate_limit_error")
    assert error.response.headers["retry-after"]
    assert error.response.headers["x-should-retry"] == "true"
    assert isinstance(error.body, dict)
    assert error.body["request_id"] == error.request_id


def test_a_refusal_behind_heartbeats_is_raised(client: openai.OpenAI) -> None:
    """Where Bedrock keeps everyone waiting the 200 is out already; then the refusal is the stream's only event."""
    question = f"{QUESTION} [fault: delay seconds=0.6; refuse]"
    with (
        client.responses.create(model=MODEL, input=question, stream=True) as stream,
        pytest.raises(openai.APIError) as caught,
    ):
        list(stream)
    assert not isinstance(caught.value, openai.APIStatusError)
    assert caught.value.code == "throttling"


def test_heartbeats_are_passed_over(client: openai.OpenAI) -> None:
    """Before the first piece and within a tool's input, where models are silent for long."""
    question = "[fault: delay seconds=0.6; tool; gap seconds=0.3 pieces=2]"
    with client.responses.stream(model=MODEL, input=question, tools=TOOL_SPECS) as stream:
        final = stream.get_final_response()
    (call,) = [item for item in final.output if item.type == "function_call"]
    assert json.loads(call.arguments).keys() == {"city"}


def test_a_failure_of_a_whole_answer_has_a_status(client: openai.OpenAI) -> None:
    """What fails in the middle was not sent yet: an exception by its status, never half an answer."""
    with pytest.raises(openai.InternalServerError) as caught:
        client.responses.create(model=MODEL, input=f"{QUESTION} [fault: cut after=5]")
    assert (caught.value.status_code, caught.value.code) == (502, "connection_lost")


def test_a_model_that_nobody_allows_is_not_found(client: openai.OpenAI) -> None:
    """404, in OpenAI's own code for it."""
    with pytest.raises(openai.NotFoundError) as caught:
        client.responses.create(model="gpt-of-tomorrow", input=QUESTION)
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"store": True}, "store"),
        ({"temperature": 1.5}, "temperature"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]"),
        ({"extra_body": {"top_k": 5}}, "top_k"),
    ],
)
def test_what_bedrock_cannot_honour_is_a_bad_request(
    client: openai.OpenAI, members: dict[str, Any], param: str
) -> None:
    """With the field's own name in ``param``; it does not reach Bedrock."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(**{"model": MODEL, "input": "x", **members})
    assert (caught.value.param, caught.value.type) == (param, "invalid_request_error")
    assert caught.value.code == "invalid_request"
