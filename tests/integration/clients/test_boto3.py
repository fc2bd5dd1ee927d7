"""Judged by boto3: nothing but the endpoint is changed, and each of Bedrock's own operations is as it was.

What Bedrock's stand-in says is for behaviour; where bytes are to be equal, ``Upstream`` says exact ones.
"""

# ruff: noqa: TID251  # boto3 is the judge

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import boto3
import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError, EventStreamError

from local.function import LocalFunction
from local.pace import IMMEDIATE
from tests.frames import (
    LAST_CHUNK,
    MESSAGE_START,
    MESSAGE_STOP,
    USAGE,
    chunk,
    delta,
    end_block,
    event,
    start_block,
)
from tests.integration.clients.honest import (
    ALIAS,
    FAILURE,
    MODEL,
    PDF,
    PNG,
    QUESTION,
    TOOL_INPUT,
    TOOLS,
    TOOLS_QUESTION,
    asked,
    invoke_body,
    pieces,
    text,
    usage,
)
from tests.upstream import CHUNKED_HEAD, END, Upstream, http_chunk

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

pytestmark = [pytest.mark.judge, pytest.mark.xdist_group("boto3 client")]

PROFILE = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL_CONFIG = {
    "tools": [{"toolSpec": {"name": name, "inputSchema": {"json": SCHEMA}}} for name in TOOLS]
}
ENVIRONMENT = {"RIVULET_MAX_ATTEMPTS": "1"}
PATHS = {
    "converse_stream": "converse-stream",
    "converse": "converse",
    "invoke_model_with_response_stream": "invoke-with-response-stream",
    "invoke_model": "invoke",
    "count_tokens": "count-tokens",
}
EVERY = pytest.mark.parametrize("operation", PATHS)
CONVERSE = pytest.mark.parametrize("operation", ["converse_stream", "converse"])
INVOKE = pytest.mark.parametrize("operation", ["invoke_model_with_response_stream", "invoke_model"])
STREAMS = pytest.mark.parametrize(
    "operation", ["converse_stream", "invoke_model_with_response_stream"]
)


@pytest.fixture(scope="module")
def function() -> Iterator[LocalFunction]:
    environment = {**ENVIRONMENT, "RIVULET_MODEL_ALIASES": f"{ALIAS}={MODEL}"}
    with LocalFunction(pace=IMMEDIATE, environment=environment) as function:
        yield function


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def relay(upstream: Upstream) -> Iterator[LocalFunction]:
    """Start a function whose Bedrock says just what a test lets it."""
    environment = {**ENVIRONMENT, "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": upstream.url}
    with LocalFunction(model_ids=(MODEL, PROFILE), environment=environment) as function:
        yield function


def client_of(function: LocalFunction) -> Any:
    return boto3.client(
        "bedrock-runtime",
        endpoint_url=function.url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}),
    )


@pytest.fixture(scope="module")
def client(function: LocalFunction) -> Iterator[Any]:
    with closing(client_of(function)) as client:
        yield client


@pytest.fixture(scope="module")
def relay_client(relay: LocalFunction) -> Iterator[Any]:
    with closing(client_of(relay)) as client:
        yield client


def ask(client: Any, operation: str, question: str, model: str = MODEL, **more: Any) -> Any:
    """Call an operation with a question in its own terms; return its answer."""
    messages = [{"role": "user", "content": [{"text": question}]}]
    arguments: dict[str, Any] = {"messages": messages, **more}
    if operation.startswith("invoke_model"):
        arguments = {"body": json.dumps({**invoke_body(question), **more})}
    elif operation == "count_tokens":
        arguments = {"input": {"converse": arguments}}
    return getattr(client, operation)(modelId=model, **arguments)


def converse_events(answer: Any) -> list[Any]:
    with closing(answer["stream"]) as stream:
        return list(stream)


def chunks(answer: Any) -> list[Any]:
    with closing(answer["body"]) as stream:
        return [json.loads(event["chunk"]["bytes"]) for event in stream]


def message_of(operation: str, answer: Any) -> dict[str, Any]:
    """Return the content blocks of Converse, which a stream's events are put together to, and the rest."""
    if operation == "converse":
        rest = {name: answer[name] for name in ("stopReason", "usage", "metrics")}
        return {**answer["output"]["message"], **rest}
    message: dict[str, Any] = {"content": []}
    blocks: dict[int, Any] = {}
    for said in converse_events(answer):
        ((name, body),) = said.items()
        block = blocks.setdefault(body["contentBlockIndex"], {}) if "Block" in name else {}
        match name:
            case "contentBlockStart":
                block["toolUse"] = {**body["start"]["toolUse"], "input": ""}
            case "contentBlockDelta":
                _add(block, body["delta"])
            case "contentBlockStop" if "toolUse" in block:
                block["toolUse"]["input"] = json.loads(block["toolUse"]["input"])
            case "messageStart" | "messageStop" | "metadata":
                message.update(body)
            case _:
                pass
    message["content"] = [block for _, block in sorted(blocks.items())]
    return message


def _add(block: dict[str, Any], piece: dict[str, Any]) -> None:
    match piece:
        case {"text": said}:
            block["text"] = block.get("text", "") + said
        case {"toolUse": {"input": said}}:
            block["toolUse"]["input"] += said
        case {"reasoningContent": {"redactedContent": said}}:
            block["reasoningContent"] = {"redactedContent": said}
        case {"reasoningContent": said}:
            reasoning = block.setdefault("reasoningContent", {}).setdefault("reasoningText", {})
            for name, value in said.items():
                reasoning[name] = reasoning.get(name, "") + value
        case _:
            raise AssertionError(piece)


@CONVERSE
def test_text(client: Any, operation: str) -> None:
    """Converse's text, stop reason, usage and latency are Bedrock's."""
    message = message_of(operation, ask(client, operation, QUESTION))
    assert message["role"] == "assistant"
    assert message["content"] == [{"text": text()}]
    assert message["stopReason"] == "end_turn"
    assert message["usage"] == usage()
    assert isinstance(message["metrics"]["latencyMs"], int)


def test_text_comes_in_its_pieces(client: Any) -> None:
    """ConverseStream's events are Bedrock's, each piece of text on its own."""
    start, *deltas, end, stop, metadata = converse_events(ask(client, "converse_stream", QUESTION))
    assert start == {"messageStart": {"role": "assistant"}}
    assert [d["contentBlockDelta"]["delta"]["text"] for d in deltas] == list(pieces())
    assert end == {"contentBlockStop": {"contentBlockIndex": 0}}
    assert stop == {"messageStop": {"stopReason": "end_turn"}}
    assert metadata["metadata"]["usage"] == usage()


def test_chunks(client: Any) -> None:
    """InvokeModelWithResponseStream's documents are the model's own, the last one with Bedrock's count."""
    answer = ask(client, "invoke_model_with_response_stream", QUESTION)
    assert answer["contentType"] == "application/json"
    documents = chunks(answer)
    deltas = [d["delta"]["text"] for d in documents if d["type"] == "content_block_delta"]
    assert deltas == list(pieces())
    metrics = documents[-1]["amazon-bedrock-invocationMetrics"]
    assert metrics["inputTokenCount"] == usage()["inputTokens"]
    assert metrics["outputTokenCount"] == usage()["outputTokens"]


def test_body(client: Any) -> None:
    """InvokeModel's answer is the model's own, and its headers say how many tokens Bedrock counts."""
    answer = ask(client, "invoke_model", QUESTION)
    assert answer["contentType"] == "application/json"
    message = json.loads(answer["body"].read())
    assert message["content"] == [{"type": "text", "text": text()}]
    assert message["usage"]["output_tokens"] == usage()["outputTokens"]
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    assert headers["x-amzn-bedrock-input-token-count"] == str(usage()["inputTokens"])
    assert headers["x-amzn-bedrock-output-token-count"] == str(usage()["outputTokens"])


@CONVERSE
def test_two_tools_at_once(client: Any, operation: str) -> None:
    """Two calls of tools in one answer keep their names, ids and inputs apart."""
    answer = ask(client, operation, TOOLS_QUESTION, toolConfig=TOOL_CONFIG)
    message = message_of(operation, answer)
    calls = [block["toolUse"] for block in message["content"] if "toolUse" in block]
    assert [call["name"] for call in calls] == list(TOOLS)
    assert [call["input"] for call in calls] == [TOOL_INPUT, TOOL_INPUT]
    assert len({call["toolUseId"] for call in calls}) == 2
    assert message["stopReason"] == "tool_use"


@INVOKE
def test_two_tools_at_once_in_the_models_own_terms(client: Any, operation: str) -> None:
    """So do they in a model's own schema."""
    tools = [{"name": name, "input_schema": SCHEMA} for name in TOOLS]
    answer = ask(client, operation, TOOLS_QUESTION, tools=tools)
    if operation == "invoke_model":
        content = json.loads(answer["body"].read())["content"]
        called = [(b["name"], b["input"]) for b in content if b["type"] == "tool_use"]
    else:
        blocks: dict[int, tuple[str, str]] = {}
        for document in chunks(answer):
            match document:
                case {"content_block": {"type": "tool_use", "name": name}, "index": index}:
                    blocks[index] = (name, "")
                case {"delta": {"partial_json": piece}, "index": index}:
                    name, said = blocks[index]
                    blocks[index] = (name, said + piece)
                case _:
                    pass
        called = [(name, json.loads(said)) for name, said in blocks.values()]
    assert called == [(name, TOOL_INPUT) for name in TOOLS]


@CONVERSE
def test_reasoning(client: Any, operation: str) -> None:
    """Reasoning comes with its signature whole; reasoning that nobody may read, as the bytes that it is."""
    answer = ask(client, operation, f"{QUESTION} [fault: redacted] [fault: reasoning]")
    message = message_of(operation, answer)
    redacted, reasoning, said = message["content"]
    assert len(redacted["reasoningContent"]["redactedContent"]) == 96
    assert QUESTION in reasoning["reasoningContent"]["reasoningText"]["text"]
    signature = reasoning["reasoningContent"]["reasoningText"]["signature"]
    assert len(b64decode(signature, validate=True)) == 96
    assert said == {"text": text()}


@CONVERSE
def test_image(function: LocalFunction, client: Any, operation: str) -> None:
    """An image reaches Bedrock as it was sent."""
    question = f"What does {operation} show?"
    image = {"image": {"format": "png", "source": {"bytes": PNG}}}
    content = [{"text": question}, image]
    answer = ask(client, operation, "", messages=[{"role": "user", "content": content}])
    assert message_of(operation, answer)["stopReason"] == "end_turn"
    _, arrived = asked(function, question)["messages"][0]["content"]
    assert arrived == {"image": {"format": "png", "source": {"bytes": b64encode(PNG).decode()}}}


@CONVERSE
def test_results_and_signatures_go_back(
    function: LocalFunction, client: Any, operation: str
) -> None:
    """An answer that is handed in again, the results of its tools behind it, is what Bedrock has said."""
    asking: dict[str, Any] = {
        "toolConfig": TOOL_CONFIG,
        "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 1024}},
    }
    answer = ask(client, operation, TOOLS_QUESTION, **asking)
    content = message_of(operation, answer)["content"]
    result = f"18 °C, says {operation}"
    results = [
        {"toolResult": {"toolUseId": block["toolUse"]["toolUseId"], "content": [{"text": result}]}}
        for block in content
        if "toolUse" in block
    ]
    messages = [
        {"role": "user", "content": [{"text": TOOLS_QUESTION}]},
        {"role": "assistant", "content": content},
        {"role": "user", "content": results},
    ]
    again = message_of(operation, ask(client, operation, "", **asking, messages=messages))
    assert result in again["content"][-1]["text"]
    assert asked(function, result)["messages"] == messages


@CONVERSE
def test_document(function: LocalFunction, client: Any, operation: str) -> None:
    """A document reaches Bedrock as it was sent."""
    question = f"What does the report say to {operation}?"
    document = {"format": "pdf", "name": "report", "source": {"bytes": PDF}}
    content = [{"text": question}, {"document": document}]
    answer = ask(client, operation, "", messages=[{"role": "user", "content": content}])
    assert message_of(operation, answer)["stopReason"] == "end_turn"
    _, arrived = asked(function, question)["messages"][0]["content"]
    in_json = {"bytes": b64encode(PDF).decode()}
    assert arrived == {"document": {**document, "source": in_json}}


@CONVERSE
def test_schema(function: LocalFunction, client: Any, operation: str) -> None:
    """A schema for the answer reaches Bedrock as it was sent."""
    question = f"Where is that, in JSON, {operation}?"
    structure = {"jsonSchema": {"schema": json.dumps(SCHEMA), "name": "place"}}
    output = {"textFormat": {"type": "json_schema", "structure": structure}}
    message_of(operation, ask(client, operation, question, outputConfig=output))
    assert asked(function, question)["outputConfig"] == output


@CONVERSE
@pytest.mark.parametrize(
    ("fault", "limits", "reason"),
    [
        ("", {"maxTokens": 3}, "max_tokens"),
        ("", {"stopSequences": ["sooner"]}, "stop_sequence"),
        (" [fault: unknown_stop]", {}, "future_reason"),
    ],
)
def test_stop_reasons(
    client: Any, operation: str, fault: str, limits: dict[str, Any], reason: str
) -> None:
    """Why the model stopped is told, even if nobody has heard of such a reason."""
    answer = ask(client, operation, f"{QUESTION}{fault}", inferenceConfig=limits)
    assert message_of(operation, answer)["stopReason"] == reason


@CONVERSE
def test_an_alias(client: Any, operation: str) -> None:
    """A deployment's own name for a model is as good as Bedrock's."""
    message = message_of(operation, ask(client, operation, QUESTION, model=ALIAS))
    assert message["content"] == [{"text": text()}]


def test_usage_of_a_cache_in_headers(client: Any) -> None:
    """InvokeModel's headers count it as well: clients look there for what every model has in common."""
    answer = ask(client, "invoke_model", f"{QUESTION} [fault: cached read=70 write=9]")
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    assert headers["x-amzn-bedrock-cache-read-input-token-count"] == "70"
    assert headers["x-amzn-bedrock-cache-write-input-token-count"] == "9"


@CONVERSE
def test_usage_of_a_cache(client: Any, operation: str) -> None:
    """What was read from a cache and written to it is counted beside the rest."""
    answer = ask(client, operation, f"{QUESTION} [fault: cached read=70 write=9]")
    counted = usage()
    assert message_of(operation, answer)["usage"] == {
        **counted,
        "cacheReadInputTokens": 70,
        "cacheWriteInputTokens": 9,
        "totalTokens": counted["totalTokens"] + 79,
    }


def test_count_tokens(client: Any) -> None:
    """CountTokens counts, for either kind of question."""
    counted = usage()["inputTokens"]
    assert ask(client, "count_tokens", QUESTION)["inputTokens"] == counted
    body = json.dumps(invoke_body()).encode()
    answer = client.count_tokens(modelId=MODEL, input={"invokeModel": {"body": body}})
    assert answer["inputTokens"] == counted


@STREAMS
@pytest.mark.parametrize(
    ("fault", "code", "message"),
    [
        ("exception", "throttlingException", FAILURE),
        ("exception name=modelStreamErrorException", "modelStreamErrorException", FAILURE),
        ("exception name=validationException", "validationException", FAILURE),
        ("exception name=internalServerException", "internalServerException", FAILURE),
        ("error", "InternalFailure", FAILURE),
        ("cut after=9", "modelStreamErrorException", "The connection to Bedrock broke."),
    ],
)
def test_an_exception_in_mid_stream(
    client: Any, operation: str, fault: str, code: str, message: str
) -> None:
    """After what came, boto3 raises: under Bedrock's own code, where Bedrock gave one."""
    answer = ask(client, operation, f"{QUESTION} [fault: {fault}]")
    came: list[Any] = []
    stream = answer.get("stream") or answer["body"]
    with closing(stream), pytest.raises(EventStreamError) as caught:
        came.extend(stream)
    assert len(came) > 3
    assert caught.value.response["Error"] == {"Code": code, "Message": message}


@EVERY
@pytest.mark.parametrize(
    ("exception", "status"),
    [("ThrottlingException", 429), ("AccessDeniedException", 403), ("ValidationException", 400)],
)
def test_a_refusal(client: Any, operation: str, exception: str, status: int) -> None:
    """What Bedrock refuses before the stream is the class that callers catch by its name, from the call."""
    with pytest.raises(getattr(client.exceptions, exception)) as caught:
        ask(client, operation, f"{QUESTION} [fault: refuse name={exception}]")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


def test_heartbeats() -> None:
    """Heartbeats, sent while Bedrock keeps silent, are nothing that boto3 would show."""
    environment = {"RIVULET_COMMIT_AFTER": "0.1", "RIVULET_HEARTBEAT_INTERVAL": "0.1"}
    with (
        LocalFunction(pace=IMMEDIATE, environment=environment) as function,
        closing(client_of(function)) as client,
    ):
        answer = ask(client, "converse_stream", f"{QUESTION} [fault: delay seconds=0.7]")
        said = message_of("converse_stream", answer)
        function.wait_for_line('"heartbeats"')
    assert said["content"] == [{"text": text()}]


@EVERY
def test_a_model_that_is_not_allowed(client: Any, operation: str) -> None:
    """A model that the deployment does not allow is Bedrock's own exception for one that is not there."""
    with pytest.raises(client.exceptions.ResourceNotFoundException) as caught:
        ask(client, operation, QUESTION, model="other.model-v1:0")
    assert "other.model-v1:0" in caught.value.response["Error"]["Message"]


@CONVERSE
@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([{"role": "user", "content": [{"text": " "}]}], "at messages.0.content.0 is blank"),
        ([{"role": "user", "content": [{"text": "a"}]}] * 1001, "messages: expected at most 1000"),
    ],
    ids=["Bedrock", "Rivulet"],
)
def test_a_bad_field_is_named(client: Any, operation: str, messages: list[Any], words: str) -> None:
    """What is wrong with a request is boto3's own exception, whether Bedrock says so or a limit of the deployment's."""
    with pytest.raises(client.exceptions.ValidationException, match=words):
        ask(client, operation, "", messages=messages)


FRAMES = {
    "converse_stream": (
        MESSAGE_START,
        start_block(0, toolUse={"toolUseId": "a", "name": "f"}),
        start_block(1, toolUse={"toolUseId": "b", "name": "g"}),
        delta(1, toolUse={"input": '{"x":'}),
        event("futureEvent", b'{ "what": [1.0, 1e2, "\\u00e9"] }'),
        delta(0, toolUse={"input": ""}),
        delta(1, toolUse={"input": "1}"}),
        delta(1, future={"text": "?"}),
        delta(0, toolUse={"input": "{}", "future": 1}),
        end_block(0),
        end_block(1),
        event("messageStop", {"stopReason": "future_reason", "p": "abc"}),
        event("metadata", {"usage": {**USAGE, "futureTokens": 1}, "metrics": {"latencyMs": 9}}),
    ),
    "invoke_model_with_response_stream": (
        chunk({"type": "future", "text": "Grüße"}, p="ab"),
        event("futureEvent", {}),
        chunk(b"\x00 no JSON at all"),
        LAST_CHUNK,
    ),
}
DOCUMENTS = {
    "converse": b'{ "output": {"message": {"role": "assistant", "content": [{"future": {"x": 1e2}}]}},'
    b'\n "stopReason": "future_reason", "usage": {"inputTokens": 3, "outputTokens": 5, "totalTokens": 8},'
    b' "metrics": {"latencyMs": 9}, "future": "\\u00e9"}',
    "invoke_model": b'{ "any": ["thing", 1.0, "\\u00e9"] }\n',
    "count_tokens": b'{ "inputTokens": 7, "future": 1.0 }',
}


def let_answer(upstream: Upstream, operation: str) -> bytes:
    """Let Bedrock answer an operation; return the body that it sends."""
    if operation in FRAMES:
        body = b"".join(FRAMES[operation])
        wire = CHUNKED_HEAD + b"".join(map(http_chunk, FRAMES[operation])) + END
    else:
        body = DOCUMENTS[operation]
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        wire = head.encode() + body

    def answer(connection: socket.socket) -> bool:
        connection.sendall(wire)
        return True

    upstream.answer = answer
    return body


def send(function: LocalFunction, operation: str, body: bytes) -> httpx.Response:
    """Send a request as it is, signed as a function URL wants it."""
    url = f"{function.url}/model/{quote(MODEL, safe='')}/{PATHS[operation]}"
    request = AWSRequest("POST", url, {"content-type": "application/json"}, body)
    SigV4Auth(Credentials("test", "test"), "lambda", "us-east-1").add_auth(request)
    return httpx.post(url, content=body, headers=dict(request.headers.items()), timeout=20)


@EVERY
def test_byte_for_byte(upstream: Upstream, relay: LocalFunction, operation: str) -> None:
    """The question reaches Bedrock, and its answer the caller, with every byte as it was: unknown members as well."""
    sent = let_answer(upstream, operation)
    question = (
        b'{ "messages": [{"role": "user", "content": [{"text": "caf\\u00e9"}, {"future": {"x": 1.0}}]}],\n'
        b'"max_tokens": 5, "input": {"future": {}}, "futureField": [1e2, null, {"a": true}] }'
    )
    answer = send(relay, operation, question)
    assert answer.status_code == 200
    assert answer.content == sent
    assert upstream.requests[-1].partition(b"\r\n\r\n")[2] == question


def test_two_tools_interleaved(upstream: Upstream, relay_client: Any) -> None:
    """What this boto3 knows, it gets in Bedrock's order, though calls of tools be mixed; the rest it passes over."""
    let_answer(upstream, "converse_stream")
    seen = converse_events(ask(relay_client, "converse_stream", QUESTION))
    assert [next(iter(said)) for said in seen] == [
        "messageStart",
        *["contentBlockStart"] * 2,
        *["contentBlockDelta"] * 5,
        *["contentBlockStop"] * 2,
        "messageStop",
        "metadata",
    ]
    pieces = [said["contentBlockDelta"] for said in seen if "contentBlockDelta" in said]
    assert [(p["contentBlockIndex"], p["delta"].get("toolUse")) for p in pieces] == [
        (1, {"input": '{"x":'}),
        (0, {"input": ""}),
        (1, {"input": "1}"}),
        (1, None),
        (0, {"input": "{}"}),
    ]
    assert seen[-2]["messageStop"]["stopReason"] == "future_reason"


@EVERY
def test_a_model_by_its_arn(upstream: Upstream, relay_client: Any, operation: str) -> None:
    """An ARN, which boto3 puts into the path percent-encoded, reaches Bedrock as the same model."""
    let_answer(upstream, operation)
    answer = ask(relay_client, operation, QUESTION, model=PROFILE)
    for body in (answer.get("stream"), answer.get("body")):
        if body is not None:
            body.close()
    path = f"POST /model/{quote(PROFILE, safe='')}/{PATHS[operation]} HTTP/1.1\r\n"
    assert upstream.requests[-1].startswith(path.encode())


@STREAMS
def test_a_stream_without_its_end(upstream: Upstream, relay_client: Any, operation: str) -> None:
    """Where boto3 itself would say nothing of a stream that just stops, it raises: the relay has noticed."""
    frames = {"converse_stream": (MESSAGE_START, delta(text="a"), MESSAGE_STOP)}
    whole = frames.get(operation, (chunk({"a": 1}),))
    wire = CHUNKED_HEAD + b"".join(map(http_chunk, whole)) + END

    def answer(connection: socket.socket) -> bool:
        connection.sendall(wire)
        return True

    upstream.answer = answer
    given = ask(relay_client, operation, QUESTION)
    stream = given.get("stream") or given["body"]
    with closing(stream), pytest.raises(ClientError, match="modelStreamErrorException"):
        list(stream)
