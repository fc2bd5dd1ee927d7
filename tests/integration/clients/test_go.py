"""Judged by aws-sdk-go-v2: AWS's SDK for Go, with the function URL for an endpoint and ``lambda`` to sign for.

The program is in ``go/``; each test runs it once.
"""

from __future__ import annotations

import json
import subprocess
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any

import pytest

from local.function import LocalFunction
from local.pace import IMMEDIATE
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
from tests.integration.judges.judge import JUDGES

if TYPE_CHECKING:
    from collections.abc import Iterator

JUDGE = JUDGES / "go" / "aws-sdk-go"
PATIENCE = 40

pytestmark = [
    pytest.mark.judge,
    pytest.mark.xdist_group("go client"),
    pytest.mark.skipif(
        not JUDGE.exists(),
        reason=f"the judge {JUDGE.name} is absent: make judges builds it where Go is installed",
    ),
]

CONVERSE = pytest.mark.parametrize("operation", ["ConverseStream", "Converse"])


@pytest.fixture(scope="module")
def function() -> Iterator[LocalFunction]:
    environment = {"RIVULET_MAX_ATTEMPTS": "1", "RIVULET_MODEL_ALIASES": f"{ALIAS}={MODEL}"}
    with LocalFunction(pace=IMMEDIATE, environment=environment) as function:
        yield function


def run(function: LocalFunction, operation: str, **question: Any) -> Any:
    """Let the SDK make a call; return what the program saw."""
    asking = json.dumps(
        {"url": function.url, "operation": operation, "model": MODEL, **question}
    ).encode()
    done = subprocess.run(
        [JUDGE], input=asking, env={}, capture_output=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def blocks(saw: Any) -> list[Any]:
    return [block for _, block in sorted(saw["Blocks"].items())]


@CONVERSE
def test_text(function: LocalFunction, operation: str) -> None:
    """The SDK sees the text, why it ended and what it cost; as a stream, piece by piece."""
    saw = run(function, operation, prompt=QUESTION)
    assert saw["Failure"] is None
    (block,) = blocks(saw)
    assert block["Text"] == text()
    assert block["Pieces"] == (len(pieces()) if operation == "ConverseStream" else 0)
    assert (saw["Role"], saw["StopReason"]) == ("assistant", "end_turn")
    assert saw["Usage"] == usage()
    assert saw["LatencyMs"] is not None
    assert saw["Unknown"] is None


def test_signed_for_lambda(function: LocalFunction) -> None:
    """One option of the SDK's own lets it sign for Lambda, as a function URL asks."""
    saw = run(function, "ConverseStream", prompt=QUESTION)
    assert "/us-east-1/lambda/aws4_request" in saw["Authorization"]


@CONVERSE
def test_two_tools_at_once(function: LocalFunction, operation: str) -> None:
    """Two calls of tools in one answer keep their names, ids and inputs apart."""
    saw = run(function, operation, prompt=TOOLS_QUESTION, tools=TOOLS)
    assert saw["Failure"] is None
    assert saw["StopReason"] == "tool_use"
    calls = [block for block in blocks(saw) if block["Tool"]]
    assert [call["Tool"] for call in calls] == list(TOOLS)
    assert [json.loads(call["Input"]) for call in calls] == [TOOL_INPUT, TOOL_INPUT]
    assert len({call["ToolUseID"] for call in calls} - {""}) == 2


@CONVERSE
def test_reasoning(function: LocalFunction, operation: str) -> None:
    """Reasoning comes with its signature whole, and before the text."""
    saw = run(function, operation, prompt=QUESTION, thinking=True)
    assert saw["Failure"] is None
    reasoning, answer = blocks(saw)
    assert QUESTION in reasoning["Reasoning"]
    assert len(b64decode(reasoning["Signature"], validate=True)) == 96
    assert answer["Text"] == text()


@CONVERSE
def test_redacted_reasoning(function: LocalFunction, operation: str) -> None:
    """Reasoning that nobody may read comes as the bytes that it is."""
    saw = run(function, operation, prompt=f"{QUESTION} [fault: redacted]")
    assert saw["Failure"] is None
    redacted, answer = blocks(saw)
    assert len(b64decode(redacted["Redacted"], validate=True)) == 96
    assert answer["Text"] == text()


@CONVERSE
def test_image(function: LocalFunction, operation: str) -> None:
    """An image reaches Bedrock as it was sent."""
    question = f"What is in this image for {operation}?"
    saw = run(function, operation, prompt=question, image=b64encode(PNG).decode())
    assert saw["Failure"] is None
    _, image = asked(function, question)["messages"][0]["content"]
    assert image == {"image": {"format": "png", "source": {"bytes": b64encode(PNG).decode()}}}


@CONVERSE
def test_results_and_signatures_go_back(function: LocalFunction, operation: str) -> None:
    """What the SDK hands in again, the results of tools behind it, is what Bedrock has said, signed as it was."""
    result = f"18 °C, says {operation}"
    question = {"prompt": TOOLS_QUESTION, "tools": TOOLS, "thinking": True}
    saw = run(function, operation, **question, result=result)
    assert saw["Failure"] is None
    assert result in blocks(saw)[-1]["Text"]
    _, said, told = asked(function, result)["messages"]
    reasoning, _, *calls = said["content"]
    signature = reasoning["reasoningContent"]["reasoningText"]["signature"]
    assert len(b64decode(signature, validate=True)) == 96
    assert [call["toolUse"]["name"] for call in calls] == list(TOOLS)
    results = [block["toolResult"] for block in told["content"]]
    assert [r["toolUseId"] for r in results] == [c["toolUse"]["toolUseId"] for c in calls]
    assert all(r["content"] == [{"text": result}] for r in results)


@CONVERSE
def test_document(function: LocalFunction, operation: str) -> None:
    """A document reaches Bedrock as it was sent."""
    question = f"What is in this report for {operation}?"
    data = b64encode(PDF).decode()
    saw = run(function, operation, prompt=question, document=data)
    assert saw["Failure"] is None
    _, document = asked(function, question)["messages"][0]["content"]
    sent = {"format": "pdf", "name": "report", "source": {"bytes": data}}
    assert document == {"document": sent}


@CONVERSE
def test_schema(function: LocalFunction, operation: str) -> None:
    """A schema for the answer reaches Bedrock as it was sent."""
    question = f"Where is that, in JSON, {operation}?"
    schema = '{"type": "object"}'
    assert run(function, operation, prompt=question, schema=schema)["Failure"] is None
    form = asked(function, question)["outputConfig"]["textFormat"]
    assert form["structure"] == {"jsonSchema": {"name": "place", "schema": schema}}


@CONVERSE
@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ({"prompt": QUESTION, "maxTokens": 3}, "max_tokens"),
        ({"prompt": QUESTION, "stop": ["sooner"]}, "stop_sequence"),
        ({"prompt": f"{QUESTION} [fault: unknown_stop]"}, "future_reason"),
    ],
)
def test_stop_reasons(
    function: LocalFunction, operation: str, question: dict[str, Any], reason: str
) -> None:
    """Why the model stopped is told, even if nobody has heard of such a reason."""
    assert run(function, operation, **question)["StopReason"] == reason


@CONVERSE
def test_an_alias(function: LocalFunction, operation: str) -> None:
    """A deployment's own name for a model is as good as Bedrock's."""
    saw = run(function, operation, prompt=QUESTION, model=ALIAS)
    assert saw["Failure"] is None
    assert blocks(saw)[0]["Text"] == text()


def test_count_tokens(function: LocalFunction) -> None:
    """CountTokens counts."""
    saw = run(function, "CountTokens", prompt=QUESTION)
    assert saw["InputTokens"] == usage()["inputTokens"]


@CONVERSE
def test_usage_of_a_cache(function: LocalFunction, operation: str) -> None:
    """What was read from a cache and written to it is counted beside the rest."""
    saw = run(function, operation, prompt=f"{QUESTION} [fault: cached read=70 write=9]")
    counted = usage()
    assert saw["Usage"] == {
        **counted,
        "cacheReadInputTokens": 70,
        "cacheWriteInputTokens": 9,
        "totalTokens": counted["totalTokens"] + 79,
    }


def test_documents_of_invoke_model(function: LocalFunction) -> None:
    """InvokeModelWithResponseStream gives the model's own documents, the last with Bedrock's count."""
    saw = run(function, "InvokeModelWithResponseStream", body=invoke_body())
    assert saw["Failure"] is None
    deltas = [
        document["delta"]["text"]
        for document in saw["Documents"]
        if document["type"] == "content_block_delta"
    ]
    assert deltas == list(pieces())
    metrics = saw["Documents"][-1]["amazon-bedrock-invocationMetrics"]
    assert (metrics["inputTokenCount"], metrics["outputTokenCount"]) == (3, len(deltas))


def test_document_of_invoke_model(function: LocalFunction) -> None:
    """InvokeModel gives the model's own answer, whole."""
    saw = run(function, "InvokeModel", body=invoke_body())
    assert saw["Failure"] is None
    (message,) = saw["Documents"]
    assert message["content"] == [{"type": "text", "text": text()}]
    assert message["stop_reason"] == "end_turn"
    assert message["usage"]["output_tokens"] == len(pieces())


def ask(function: LocalFunction, operation: str, fault: str) -> Any:
    """Ask with a fault, whichever the operation."""
    question = f"{QUESTION} [fault: {fault}]"
    return run(function, operation, prompt=question, body=invoke_body(question))


@pytest.mark.parametrize("operation", ["ConverseStream", "InvokeModelWithResponseStream"])
@pytest.mark.parametrize(
    ("fault", "exception", "message", "original_status"),
    [
        ("exception", "ThrottlingException", FAILURE, None),
        ("exception name=validationException", "ValidationException", FAILURE, None),
        (
            "exception name=serviceUnavailableException",
            "ServiceUnavailableException",
            FAILURE,
            None,
        ),
        ("exception name=modelStreamErrorException", "ModelStreamErrorException", FAILURE, 500),
        ("cut after=9", "ModelStreamErrorException", "The connection to Bedrock broke.", 502),
    ],
)
def test_an_exception_in_mid_stream(
    function: LocalFunction,
    operation: str,
    fault: str,
    exception: str,
    message: str,
    original_status: int | None,
) -> None:
    """After what came, ``stream.Err()`` is the SDK's own exception, with all that Bedrock said of it."""
    saw = ask(function, operation, fault)
    assert saw["Blocks"] or saw["Documents"]
    assert saw["Usage"] is None
    assert saw["Failure"] == {
        "Type": exception,
        "Code": exception,
        "Message": message,
        "OriginalStatusCode": original_status,
    }


@pytest.mark.parametrize(
    "operation", ["ConverseStream", "Converse", "InvokeModelWithResponseStream", "InvokeModel"]
)
@pytest.mark.parametrize("exception", ["ThrottlingException", "AccessDeniedException"])
def test_a_refusal(function: LocalFunction, operation: str, exception: str) -> None:
    """What Bedrock refuses before the stream is the SDK's own exception, from the call."""
    saw = ask(function, operation, f"refuse name={exception}")
    assert saw["Failure"]["Type"] == exception
    assert saw["Blocks"] == {}


@CONVERSE
def test_a_model_that_is_not_allowed(function: LocalFunction, operation: str) -> None:
    """A model that the deployment does not allow is the SDK's own exception for one that is not there."""
    failure = run(function, operation, prompt=QUESTION, model="other.model-v1:0")["Failure"]
    assert failure["Type"] == "ResourceNotFoundException", failure
    assert "other.model-v1:0" in failure["Message"]


@CONVERSE
def test_a_bad_field_is_named(function: LocalFunction, operation: str) -> None:
    """What Bedrock has against a request is the SDK's own exception, in Bedrock's words, the field among them."""
    failure = run(function, operation, prompt=" ")["Failure"]
    assert failure["Type"] == "ValidationException"
    assert "messages.0.content.0" in failure["Message"]


def test_heartbeats() -> None:
    """Heartbeats, which the SDK shows as members that it does not know, leave the answer as it was."""
    environment = {"RIVULET_COMMIT_AFTER": "0.1", "RIVULET_HEARTBEAT_INTERVAL": "0.1"}
    with LocalFunction(pace=IMMEDIATE, environment=environment) as function:
        saw = ask(function, "ConverseStream", "delay seconds=0.7")
    assert set(saw["Unknown"]) == {"ping"}
    assert blocks(saw)[0]["Text"] == text()
    assert saw["Failure"] is None
