"""The Bedrock stand-in before judges that are not ours: boto3 reads it, another encoder makes the same frames."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from base64 import b64encode
from contextlib import closing
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3  # noqa: TID251  # the judge
import httpx
import pytest
from botocore.config import Config  # noqa: TID251  # the judge
from botocore.eventstream import EventStreamBuffer  # noqa: TID251  # the judge
from botocore.exceptions import ClientError, EventStreamError  # noqa: TID251  # the judge
from urllib3.exceptions import ProtocolError

from local.answers import reply_to, tokens
from local.bedrock import Bedrock, Call, exception_frame, frame, honest_answer, success_head
from local.configuration import FunctionConfiguration
from local.dialects import Event
from local.function import LocalFunction
from local.pace import IMMEDIATE, Pace
from local.prompts import BedrockError, from_converse
from local.script import Cut, Script, Send

if TYPE_CHECKING:
    from collections.abc import Iterator

TRANSCRIBE = Path(__file__).parents[2] / ".judges" / "amazon-transcribe"
CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
NOVA = "amazon.nova-lite-v1:0"
ASK = {"messages": [{"role": "user", "content": [{"text": "Why do streams feel faster?"}]}]}
ANTHROPIC = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 900}
TOOLS = {
    "tools": [
        {
            "toolSpec": {
                "name": "get_weather",
                "inputSchema": {
                    "json": {"type": "object", "properties": {"city": {"type": "string"}}}
                },
            }
        }
    ]
}


@pytest.fixture
def bedrock() -> Iterator[Bedrock]:
    """A stand-in without a function."""
    with LocalFunction(
        FunctionConfiguration(provisioned_concurrency=0), pace=IMMEDIATE
    ) as function:
        yield function.bedrock


@pytest.fixture
def client(bedrock: Bedrock) -> Iterator[Any]:
    """boto3's client for Bedrock."""
    client = boto3.client(
        "bedrock-runtime",
        endpoint_url=bedrock.url,
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
        config=Config(retries={"total_max_attempts": 1}, read_timeout=5),
    )
    yield client
    client.close()


def events(client: Any) -> list[Any]:
    """Return the events of a stream, which is closed whatever happens."""
    with closing(client.converse_stream(modelId=CLAUDE, **ASK)["stream"]) as stream:
        return list(stream)


def raw_frames(bedrock: Bedrock, path: str, body: dict[str, Any]) -> bytes:
    response = httpx.post(bedrock.url + path, json=body, timeout=5)
    assert response.headers["content-type"] == "application/vnd.amazon.eventstream"
    return response.content


@pytest.mark.judge
def test_boto3_reads_a_conversation(client: Any) -> None:
    """ConverseStream: boto3 yields every event in order, and their values are what was to be sent."""
    got = [next(iter(event.items())) for event in events(client)]
    expected = reply_to(from_converse(ASK))
    texts = [body["delta"]["text"] for name, body in got if name == "contentBlockDelta"]
    assert tuple(texts) == expected.blocks[0].pieces
    assert [name for name, _ in got if name != "contentBlockDelta"] == [
        "messageStart",
        "contentBlockStop",
        "messageStop",
        "metadata",
    ]
    assert got[-2][1] == {"stopReason": "end_turn"}
    assert got[-1][1]["usage"] == {
        "inputTokens": len(tokens("Why do streams feel faster?")),
        "outputTokens": len(texts),
        "totalTokens": len(tokens("Why do streams feel faster?")) + len(texts),
    }


@pytest.mark.judge
def test_boto3_reads_reasoning_and_a_tool_call(client: Any) -> None:
    """ConverseStream: reasoning with its signature, then a tool's call whose pieces are JSON."""
    stream = client.converse_stream(
        modelId=CLAUDE,
        messages=[{"role": "user", "content": [{"text": "How is the weather in Paris?"}]}],
        toolConfig=TOOLS,
        additionalModelRequestFields={"thinking": {"type": "enabled", "budget_tokens": 1024}},
    )["stream"]
    events = list(stream)
    deltas = [
        event["contentBlockDelta"]["delta"] for event in events if "contentBlockDelta" in event
    ]
    reasoning = [delta["reasoningContent"] for delta in deltas if "reasoningContent" in delta]
    assert "signature" in reasoning[-1]
    assert "".join(piece["text"] for piece in reasoning[:-1]).startswith("The question was")
    start = next(event["contentBlockStart"] for event in events if "contentBlockStart" in event)
    assert start["start"]["toolUse"]["name"] == "get_weather"
    pieces = [delta["toolUse"]["input"] for delta in deltas if "toolUse" in delta]
    assert pieces[0] == ""
    assert json.loads("".join(pieces)) == {"city": "Paris"}
    assert events[-2] == {"messageStop": {"stopReason": "tool_use"}}


@pytest.mark.judge
@pytest.mark.parametrize(
    ("model_id", "body", "text_of"),
    [
        (
            CLAUDE,
            {
                "anthropic_version": "bedrock-2023-05-31",
                "max_tokens": 900,
                "messages": [{"role": "user", "content": "streams?"}],
            },
            lambda document: document.get("delta", {}).get("text"),
        ),
        (
            NOVA,
            {"messages": [{"role": "user", "content": [{"text": "streams?"}]}]},
            lambda document: document.get("contentBlockDelta", {}).get("delta", {}).get("text"),
        ),
    ],
)
def test_boto3_reads_each_schema(
    bedrock: Bedrock, client: Any, model_id: str, body: dict[str, Any], text_of: Any
) -> None:
    """InvokeModelWithResponseStream: each chunk is a JSON document of the model's own schema, the last one counted."""
    response = client.invoke_model_with_response_stream(modelId=model_id, body=json.dumps(body))
    assert response["contentType"] == "application/json"
    documents = [json.loads(event["chunk"]["bytes"]) for event in response["body"]]
    texts = [text for document in documents if (text := text_of(document))]
    assert "".join(texts).startswith("A stream does not make the answer come sooner")
    metrics = documents[-1]["amazon-bedrock-invocationMetrics"]
    assert metrics["outputTokenCount"] == len(texts)
    assert metrics["inputTokenCount"] == len(tokens("streams?"))
    assert [call.operation for call in bedrock.calls] == ["InvokeModelWithResponseStream"]


@pytest.mark.judge
@pytest.mark.parametrize(
    ("model_id", "messages", "status", "code", "message"),
    [
        ("nonsense", ASK["messages"], 400, "ValidationException", "model identifier is invalid"),
        (
            CLAUDE,
            [{"role": "user", "content": [{"text": " "}]}],
            400,
            "ValidationException",
            "is blank",
        ),
    ],
)
def test_boto3_reads_errors_before_the_stream(
    client: Any, model_id: str, messages: Any, status: int, code: str, message: str
) -> None:
    """What is wrong with a request is raised at the call, with its code, message, status and request id (fact 13)."""
    with pytest.raises(ClientError, match=message) as raised:
        client.converse_stream(modelId=model_id, messages=messages)
    assert raised.value.response["Error"]["Code"] == code
    metadata = raised.value.response["ResponseMetadata"]
    assert metadata["HTTPStatusCode"] == status
    assert len(metadata["RequestId"]) == 36


@pytest.mark.judge
def test_boto3_reads_scripted_errors(bedrock: Bedrock, client: Any) -> None:
    """An answer is a script: an error before the stream, an exception in it, an end within a frame, a cut."""

    def throttled(_: Call) -> Script:
        raise BedrockError(429, "ThrottlingException", "Too many requests")

    def excepting(call: Call) -> Script:
        yield success_head(call)
        yield Send(frame(Event("messageStart", {"role": "assistant"})))
        yield Send(
            exception_frame(
                "modelStreamErrorException", {"message": "oh", "originalStatusCode": 500}
            )
        )

    def ending_early(call: Call) -> Script:
        yield from islice(honest_answer(call), 5)
        yield Send(frame(Event("messageStop", {"stopReason": "end_turn"}))[:-3])

    def cutting(call: Call) -> Script:
        yield from ending_early(call)
        yield Cut()

    bedrock.answer = throttled
    with pytest.raises(ClientError, match="ThrottlingException"):
        client.converse_stream(modelId=CLAUDE, **ASK)
    bedrock.answer = excepting
    with pytest.raises(EventStreamError, match="modelStreamErrorException"):
        events(client)
    bedrock.answer = ending_early  # which boto3 does not notice (fact 15)
    assert len(events(client)) == 2
    bedrock.answer = cutting
    with pytest.raises(ProtocolError):
        events(client)
    endings = [call.performance.ending for call in bedrock.calls]
    assert endings[-3:] == ["complete", "complete", "cut"]


@pytest.mark.judge
@pytest.mark.skipif(
    not TRANSCRIBE.exists(), reason="amazon-transcribe is not installed: make judges"
)
@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"/model/{CLAUDE}/converse-stream", ASK),
        (f"/model/{NOVA}/invoke-with-response-stream", ASK),
    ],
)
def test_another_encoder_makes_the_same_frames(
    bedrock: Bedrock, path: str, body: dict[str, Any]
) -> None:
    """Every frame, taken apart by botocore, is put together by AWS's own encoder to the very same bytes."""
    data = raw_frames(bedrock, path, body)
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    frames = [(event.headers, b64encode(event.payload).decode()) for event in buffer]
    assert len(frames) > 100
    names = {tuple(headers) for headers, _ in frames}
    assert names == {(":event-type", ":content-type", ":message-type")}
    encoder = (
        "import base64, json, sys\n"
        "from amazon_transcribe.eventstream import EventStreamMessageSerializer\n"
        "encode = EventStreamMessageSerializer().serialize\n"
        "for headers, payload in json.load(sys.stdin):\n"
        "    sys.stdout.buffer.write(encode(headers, base64.b64decode(payload)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", encoder],
        input=json.dumps(frames).encode(),
        env={**os.environ, "PYTHONPATH": str(TRANSCRIBE)},
        capture_output=True,
        check=True,
    )
    assert done.stdout == data


@pytest.mark.parametrize(
    "path", [f"/model/{CLAUDE}/converse-stream", f"/model/{NOVA}/invoke-with-response-stream"]
)
def test_each_token_is_a_frame_at_its_time(bedrock: Bedrock, path: str) -> None:
    """Time to first token and tokens per second are kept, and each frame is written on its own."""
    bedrock.pace = Pace(time_to_first_token=0.2, tokens_per_second=100)
    data = raw_frames(bedrock, path, {**ASK, "inferenceConfig": {"maxTokens": 21}})
    (call,) = bedrock.calls
    sent = call.performance.sent
    assert sum(one.size for one in sent) == len(data)
    assert 0.2 <= sent[0].at - call.at < 0.25
    assert sent[1].at - sent[0].at < 0.05
    between = [later.at - earlier.at for earlier, later in pairwise(sent)]
    assert sum(between) / len(between) == pytest.approx(0.01, abs=0.002)
    assert call.performance.ending == "complete"


def test_a_caller_that_leaves_is_noticed(bedrock: Bedrock, client: Any) -> None:
    """When the caller closes its connection the stand-in stops, and the call's record says so."""
    bedrock.pace = Pace(0, 20)
    stream = client.converse_stream(modelId=CLAUDE, **ASK)["stream"]
    next(iter(stream))
    stream.close()
    until = time.monotonic() + 5
    while bedrock.calls[-1].performance.ending is None and time.monotonic() < until:
        time.sleep(0.01)
    assert bedrock.calls[-1].performance.ending == "peer left"
    assert len(bedrock.calls[-1].performance.sent) < 20


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", f"/model/{CLAUDE}/converse-stream", b"", 404, "UnknownOperationException"),
        ("POST", "/nowhere", b"{}", 404, "UnknownOperationException"),
        ("POST", f"/model/{CLAUDE}/converse-stream", b"{", 400, "ValidationException"),
        ("POST", f"/model/{CLAUDE}/converse-stream", b"[]", 400, "ValidationException"),
        (
            "POST",
            f"/model/{CLAUDE}/converse-stream",
            b'{"messages": [{"role": "user", "content": 5}]}',
            400,
            "ValidationException",
        ),
        (
            "POST",
            "/model/meta.llama3-8b-instruct-v1:0/invoke-with-response-stream",
            b"{}",
            400,
            "ValidationException",
        ),
    ],
)
def test_errors_have_bedrocks_form(
    bedrock: Bedrock, method: str, path: str, body: bytes, status: int, code: str
) -> None:
    """Errors carry their code in `x-amzn-ErrorType` and their message in JSON."""
    response = httpx.request(method, bedrock.url + path, content=body, timeout=5)
    assert (response.status_code, response.headers["x-amzn-errortype"].partition(":")[0]) == (
        status,
        code,
    )
    assert response.json()["message"]
