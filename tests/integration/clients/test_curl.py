"""Judged by curl, which knows none of the APIs: ``POST /stream``, and the routes that answer what it does not."""

from __future__ import annotations

import json
import shutil
import subprocess
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

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

CURL = shutil.which("curl")

pytestmark = [
    pytest.mark.judge,
    pytest.mark.xdist_group("curl"),
    pytest.mark.skipif(CURL is None, reason="the judge curl is absent"),
]

CUT = 18  # curl's status for an answer that is broken off
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL_CONFIG = {
    "tools": [{"toolSpec": {"name": name, "inputSchema": {"json": SCHEMA}}} for name in TOOLS]
}
THINKING = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
CONVERSE = f"/model/{quote(MODEL, safe='')}/converse"
COUNT = f"/model/{quote(MODEL, safe='')}/count-tokens"


@pytest.fixture(scope="module")
def function() -> Iterator[LocalFunction]:
    environment = {
        "RIVULET_MAX_ATTEMPTS": "1",
        "RIVULET_HEARTBEAT_INTERVAL": "0.1",
        "RIVULET_MODEL_ALIASES": f"{ALIAS}={MODEL}",
    }
    with LocalFunction(pace=IMMEDIATE, environment=environment) as function:
        yield function


@dataclass(frozen=True, slots=True)
class Said:
    """What curl wrote.

    Attributes:
        exit_status: curl's own.
        status: of the answer.
        body: of the answer.
    """

    exit_status: int
    status: int
    body: str

    @property
    def events(self) -> list[Any]:
        """The objects of a stream of server-sent events."""
        lines = self.body.split("\n")
        return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("d")]

    @property
    def text(self) -> str:
        return "".join(event["text"] for event in self.events if event["type"] == "text")


def curl(function: LocalFunction, path: str, body: Any = None) -> Said:
    """Let curl ask, with the options that docs/clients.md has."""
    assert CURL is not None
    sent = [] if body is None else ["-H", "content-type: application/json", "-d", json.dumps(body)]
    signed = ["--aws-sigv4", "aws:amz:us-east-1:lambda", "--user", "test:test"]
    command = [CURL, "-sS", "-N", f"{function.url}{path}", *sent, *signed, "-w", "\n%{http_code}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    said, _, status = done.stdout.rpartition("\n")
    return Said(done.returncode, int(status), said)


def prompt(function: LocalFunction, fault: str = "", **more: Any) -> Said:
    """Ask the question, with a fault."""
    return curl(function, "/stream", {"prompt": f"{QUESTION}{fault}", **more})


def test_text_as_a_stream(function: LocalFunction) -> None:
    """Each piece is an event, and the last one says why it ended and what it cost."""
    said = prompt(function)
    assert said.exit_status == 0
    assert tuple(e["text"] for e in said.events if e["type"] == "text") == pieces()
    done = said.events[-1]
    assert (done["type"], done["stop_reason"], done["usage"]) == ("done", "end_turn", usage())


def test_text_whole(function: LocalFunction) -> None:
    """Bedrock's own Converse answers in one document."""
    messages = [{"role": "user", "content": [{"text": QUESTION}]}]
    answer = json.loads(curl(function, CONVERSE, {"messages": messages}).body)
    assert answer["output"]["message"]["content"] == [{"text": text()}]
    assert (answer["stopReason"], answer["usage"]) == ("end_turn", usage())


def test_two_tools_at_once_and_their_results(function: LocalFunction) -> None:
    """Two calls keep apart by their index; their results go back, and the model goes on."""
    question = {"role": "user", "content": TOOLS_QUESTION}
    body = {"messages": [question], "toolConfig": TOOL_CONFIG}
    events = curl(function, "/stream", body).events
    calls = {e["index"]: {**e["tool"], "input": ""} for e in events if e["type"] == "tool_start"}
    for event in events:
        if event["type"] == "tool_input":
            calls[event["index"]]["input"] += event["input"]
    uses = [{"toolUse": {**c, "input": json.loads(c["input"])}} for c in calls.values()]
    assert [use["toolUse"]["name"] for use in uses] == list(TOOLS)
    assert all(use["toolUse"]["input"] == TOOL_INPUT for use in uses)
    assert events[-1]["stop_reason"] == "tool_use"

    content = ["18 °C, says curl"]
    results = [
        {"toolResult": {"toolUseId": use["toolUse"]["toolUseId"], "content": content}}
        for use in uses
    ]
    turns = [question, {"role": "assistant", "content": uses}, {"role": "user", "content": results}]
    assert content[0] in curl(function, "/stream", {**body, "messages": turns}).text


def test_reasoning_goes_there_and_back(function: LocalFunction) -> None:
    """Reasoning has its signature, with which it goes back."""
    events = prompt(function, additionalModelRequestFields=THINKING).events
    thought = "".join(e["text"] for e in events if e["type"] == "reasoning")
    (signature,) = [e["signature"] for e in events if e["type"] == "reasoning_signature"]
    assert QUESTION in thought
    reasoning = {"reasoningText": {"text": thought, "signature": signature}}
    said = [{"reasoningContent": reasoning}, {"text": text()}]
    turns = [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": said},
        {"role": "user", "content": "And then, curl?"},
    ]
    assert curl(function, "/stream", {"messages": turns}).status == 200
    assert asked(function, "And then, curl?")["messages"][1]["content"] == said


def test_files(function: LocalFunction) -> None:
    """An image and a document reach Bedrock as they were sent, in base64."""
    image = {"image": {"format": "png", "source": {"bytes": b64encode(PNG).decode()}}}
    source = {"bytes": b64encode(PDF).decode()}
    document = {"document": {"format": "pdf", "name": "report", "source": source}}
    content = [{"text": "What do they show to curl?"}, image, document]
    body = {"messages": [{"role": "user", "content": content}]}
    assert curl(function, "/stream", body).events[-1]["type"] == "done"
    assert asked(function, "What do they show to curl?")["messages"][0]["content"] == content


def test_a_schema_for_the_answer(function: LocalFunction) -> None:
    """A schema reaches Bedrock as it was sent."""
    structure = {"jsonSchema": {"schema": json.dumps(SCHEMA), "name": "place"}}
    output = {"textFormat": {"type": "json_schema", "structure": structure}}
    assert prompt(function, " In JSON, curl!", outputConfig=output).status == 200
    assert asked(function, "In JSON, curl!")["outputConfig"] == output


def test_usage_of_a_cache(function: LocalFunction) -> None:
    """What was read from a cache and written to it is counted beside the rest."""
    counted = prompt(function, " [fault: cached read=70 write=9]").events[-1]["usage"]
    assert (counted["cacheReadInputTokens"], counted["cacheWriteInputTokens"]) == (70, 9)
    assert counted["inputTokens"] == usage()["inputTokens"]


@pytest.mark.parametrize(
    ("fault", "limits", "reason"),
    [
        ("", {"maxTokens": 3}, "max_tokens"),
        ("", {"stopSequences": ["sooner"]}, "stop_sequence"),
        (" [fault: unknown_stop]", {}, "future_reason"),
    ],
)
def test_stop_reasons(
    function: LocalFunction, fault: str, limits: dict[str, Any], reason: str
) -> None:
    """Why the model stopped is told, even if nobody has heard of such a reason."""
    assert prompt(function, fault, inferenceConfig=limits).events[-1]["stop_reason"] == reason


@pytest.mark.parametrize(
    ("fault", "code"), [("exception after=9", "throttling"), ("cut after=9", "connection_lost")]
)
def test_an_error_in_mid_stream(function: LocalFunction, fault: str, code: str) -> None:
    """It is the last event, after the text that came, and curl's own exit status says that something was wrong."""
    said = prompt(function, f" [fault: {fault}]")
    assert said.text
    assert text().startswith(said.text)
    assert (said.events[-1]["type"], said.events[-1]["code"]) == ("error", code)
    assert said.exit_status == CUT


@pytest.mark.parametrize(
    ("fault", "more", "status", "code", "words"),
    [
        (" [fault: refuse]", {}, 429, "throttling", "throttling"),
        ("", {"modelId": "other.model-v1:0"}, 404, "model_not_found", "modelId: expected"),
        (
            "",
            {"inferenceConfig": {"temperature": 2}},
            400,
            "invalid_request",
            "inferenceConfig.temperature: expected",
        ),
    ],
    ids=["throttling", "unknown model", "bad field"],
)
def test_a_refusal(
    function: LocalFunction, fault: str, more: dict[str, Any], status: int, code: str, words: str
) -> None:
    """Before the first byte an error has its status, a code, and a message that names the field."""
    said = prompt(function, fault, **more)
    error = json.loads(said.body)["error"]
    assert (said.status, error["code"]) == (status, code)
    assert words in error["message"]


def test_heartbeats(function: LocalFunction) -> None:
    """They are comments, between the events, which are the same."""
    said = prompt(function, " [fault: stall after=9 seconds=0.4]")
    assert ": ping\n" in said.body
    assert said.text == text()


def test_an_alias(function: LocalFunction) -> None:
    """A deployment's own name for a model is as good as Bedrock's."""
    assert prompt(function, modelId=ALIAS).text == text()


def test_what_needs_no_answer(function: LocalFunction) -> None:
    """The models are listed, and a question's tokens are counted."""
    listed = json.loads(curl(function, "/v1/models").body)
    assert [model["id"] for model in listed["data"]][:2] == [ALIAS, MODEL]
    messages = [{"role": "user", "content": [{"text": QUESTION}]}]
    counted = curl(function, COUNT, {"input": {"converse": {"messages": messages}}})
    assert json.loads(counted.body) == {"inputTokens": usage()["inputTokens"]}
