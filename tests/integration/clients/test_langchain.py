"""Judged by LangChain: its clients for Bedrock and for OpenAI, with the function URL for an endpoint.

``langchain_program.py`` lets each of them make every kind of call, once, in a process that has nothing to do with
ours; the tests look at what it saw.
"""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from base64 import b64decode, b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from tests.integration.judges.judge import JUDGES, needs

if TYPE_CHECKING:
    from collections.abc import Iterator

JUDGE = JUDGES / "langchain"
# Some of its packages are compiled, for the Python that `make judges` has found.
COMPILED = JUDGE / "pydantic_core" / f"_pydantic_core{sysconfig.get_config_var('EXT_SUFFIX')}"
PROGRAM = Path(__file__).parent / "langchain_program.py"
PATIENCE = 120  # seconds, for its imports on a busy machine

pytestmark = [
    pytest.mark.judge,
    pytest.mark.xdist_group("langchain clients"),
    needs(JUDGE),
    pytest.mark.skipif(
        JUDGE.exists() and not COMPILED.exists(),
        reason="the judge langchain is installed for another Python than this",
    ),
]

AWS = ("ChatBedrockConverse", "ChatBedrock")
TOOL_RESULT = "18 °C at noon"
# What is raised in mid-stream, and its code: Bedrock's own, or the function's.
ERRORS = {
    ("AWS", "broken"): ("EventStreamError", "throttlingException"),
    ("AWS", "cut"): ("EventStreamError", "modelStreamErrorException"),
    ("ChatOpenAI", "broken"): ("APIError", "throttling"),
    ("ChatOpenAI", "cut"): ("APIError", "connection_lost"),
}
EVERYONE = pytest.mark.parametrize("client", [*AWS, "ChatOpenAI"])
BOTH_WAYS = pytest.mark.parametrize("way", ["stream", "invoke"])


@pytest.fixture(scope="module")
def function() -> Iterator[LocalFunction]:
    environment = {
        "RIVULET_MAX_ATTEMPTS": "1",
        "RIVULET_HEARTBEAT_INTERVAL": "0.1",
        "RIVULET_MODEL_ALIASES": f"{ALIAS}={MODEL}",
    }
    with LocalFunction(pace=IMMEDIATE, environment=environment) as function:
        yield function


@pytest.fixture(scope="module")
def told(function: LocalFunction) -> Any:
    """Let LangChain make all of its calls; return all that it told."""
    questions = {
        "question": QUESTION,
        "tools": TOOLS_QUESTION,
        "result": TOOL_RESULT,
        "image": b64encode(PNG).decode(),
        "pdf": b64encode(PDF).decode(),
        "alias": ALIAS,
        "silent": f"{QUESTION} [fault: stall after=9 seconds=0.4]",
        "reasoning": f"{QUESTION} [fault: reasoning]",
        "cached": f"{QUESTION} [fault: cached read=70 write=9]",
        "broken": f"{QUESTION} [fault: exception after=9]",
        "cut": f"{QUESTION} [fault: cut after=9]",
        "throttled": f"{QUESTION} [fault: refuse]",
        "refused": f"{QUESTION} [fault: refuse name=ValidationException message=its.words]",
    }
    done = subprocess.run(
        [sys.executable, "-P", PROGRAM, function.url, MODEL],
        input=json.dumps(questions),
        env={"PYTHONPATH": str(JUDGE), "AWS_EC2_METADATA_DISABLED": "true"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def seen(told: Any) -> Any:
    return told["seen"]


def test_it_is_a_judge_of_its_own(told: Any) -> None:
    """Nothing that LangChain stands on is ours."""
    for home in told["homes"].values():
        assert Path(home).is_relative_to(JUDGE)


@EVERYONE
@BOTH_WAYS
def test_text(seen: Any, client: str, way: str) -> None:
    """The text comes whole, and as a stream in Bedrock's own pieces."""
    saw = seen[client][way]
    assert saw["text"] == text()
    assert saw.get("pieces", len(pieces())) == len(pieces())


@EVERYONE
@BOTH_WAYS
def test_the_reason_why_it_ended(seen: Any, client: str, way: str) -> None:
    """The reason is there, once, and in the API's own terms."""
    metadata = seen[client][way]["response_metadata"]
    reasons = [metadata.get(name) for name in ("stopReason", "stop_reason", "finish_reason")]
    assert [reason for reason in reasons if reason] == [
        "stop" if client == "ChatOpenAI" else "end_turn"
    ]


@EVERYONE
@BOTH_WAYS
def test_usage(seen: Any, client: str, way: str) -> None:
    """LangChain counts what Bedrock has counted, once."""
    counted = usage()
    saw = seen[client][way]["usage"]
    assert saw["input_tokens"] == counted["inputTokens"]
    assert saw["output_tokens"] == counted["outputTokens"]
    assert saw["total_tokens"] == counted["totalTokens"]


@EVERYONE
@BOTH_WAYS
def test_usage_of_a_cache(seen: Any, client: str, way: str) -> None:
    """Input that was read from a cache, or written to one, is input all the same, and told apart."""
    counted = usage()
    saw = seen[client][f"cached {way}"]["usage"]
    assert saw["input_tokens"] == counted["inputTokens"] + 79
    assert saw["output_tokens"] == counted["outputTokens"]
    assert saw["total_tokens"] == counted["totalTokens"] + 79
    assert saw["input_token_details"]["cache_read"] == 70
    assert saw["input_token_details"]["cache_creation"] == 9


@EVERYONE
@BOTH_WAYS
def test_two_tools_at_once(seen: Any, client: str, way: str) -> None:
    """Two calls of tools in one answer, put together by LangChain's own addition, are two: each with its input."""
    saw = seen[client][f"tools {way}"]
    assert saw["invalid_tool_calls"] == []
    assert [(call["name"], call["args"]) for call in saw["tool_calls"]] == [
        (name, TOOL_INPUT) for name in TOOLS
    ]
    assert len({call["id"] for call in saw["tool_calls"]}) == 2


@EVERYONE
def test_results_of_tools(seen: Any, client: str) -> None:
    """The results of tools that a stream has called go back, and the model goes on."""
    saw = seen[client]["tools answered"]
    assert TOOL_RESULT in saw["text"]
    assert saw["tool_calls"] == []


@pytest.mark.parametrize("client", AWS)
@BOTH_WAYS
def test_reasoning(seen: Any, client: str, way: str) -> None:
    """Reasoning is a block of its own, with the signature that Bedrock wants back."""
    saw = seen[client][f"reasoning {way}"]
    reasoning, said = saw["content"]
    if client == "ChatBedrockConverse":
        thought, signature = (reasoning["reasoning_content"][m] for m in ("text", "signature"))
    else:
        thought, signature = reasoning["thinking"], reasoning["signature"]
    assert QUESTION in thought
    assert len(b64decode(signature, validate=True)) == 96
    assert said["text"] == text()


@pytest.mark.parametrize("client", AWS)
def test_signatures_go_back(function: LocalFunction, seen: Any, client: str) -> None:
    """With the results of tools, Bedrock gets back the reasoning before the calls, signed as it was."""
    assert TOOL_RESULT in seen[client]["reasoning answered"]["text"]
    arrived = asked(function, f"{TOOLS_QUESTION} {client} thinks.")["messages"][1]["content"]
    thought = arrived[0].get("reasoningContent", {}).get("reasoningText", arrived[0])
    assert len(b64decode(thought["signature"], validate=True)) == 96
    assert len(arrived) == 4


def test_reasoning_that_a_client_does_not_show(seen: Any) -> None:
    """OpenAI's client in LangChain has no reasoning; what is sent of it does not get into the text."""
    assert seen["ChatOpenAI"]["reasoning stream"]["text"] == text()


@EVERYONE
def test_image(function: LocalFunction, seen: Any, client: str) -> None:
    """An image reaches Bedrock with every byte."""
    question = f"What does {client} show?"
    assert question in seen[client]["image"]["text"]
    _, image = asked(function, question)["messages"][0]["content"]
    data = b64encode(PNG).decode()
    if client == "ChatBedrock":
        source = {"type": "base64", "media_type": "image/png", "data": data}
        assert image == {"type": "image", "source": source}
    else:
        assert image == {"image": {"format": "png", "source": {"bytes": data}}}


@EVERYONE
def test_document(function: LocalFunction, seen: Any, client: str) -> None:
    """A document reaches Bedrock with every byte."""
    question = f"What does the report say to {client}?"
    assert question in seen[client]["document"]["text"]
    blocks = asked(function, question)["messages"][0]["content"]  # LangChain may put it first
    (arrived,) = [b for b in blocks if "document" in b or b.get("type") == "document"]
    source = arrived.get("document", arrived)["source"]
    assert b64decode(source.get("bytes", source.get("data")), validate=True) == PDF


@pytest.mark.usefixtures("seen")
@pytest.mark.parametrize("client", ["ChatBedrockConverse", "ChatOpenAI"])
def test_schema(function: LocalFunction, client: str) -> None:
    """What ``with_structured_output`` makes of a schema, as ``json_schema``, is Converse's own ``outputConfig``."""
    output = asked(function, f"Where is that, in JSON, {client}?")["outputConfig"]
    definition = output["textFormat"]["structure"]["jsonSchema"]
    assert definition["name"] == "place"
    assert json.loads(definition["schema"])["properties"] == {"city": {"type": "string"}}


@EVERYONE
@BOTH_WAYS
def test_an_answer_that_is_cut_short(seen: Any, client: str, way: str) -> None:
    """That the limit on tokens ended it is told in the API's own terms."""
    metadata = seen[client][f"short {way}"]["response_metadata"]
    reasons = [metadata.get(name) for name in ("stopReason", "stop_reason", "finish_reason")]
    assert [reason for reason in reasons if reason] == [
        "length" if client == "ChatOpenAI" else "max_tokens"
    ]


@EVERYONE
def test_an_alias(seen: Any, client: str) -> None:
    """A deployment's own name for a model is as good as Bedrock's."""
    saw = seen[client]["alias"]
    assert (saw["text"], saw["pieces"]) == (text(), len(pieces()))


@EVERYONE
def test_a_model_that_nobody_allows(seen: Any, client: str) -> None:
    """It is the client's own error for one that is not there."""
    saw = seen[client]["not allowed"]
    own = "ResourceNotFoundException" if client in AWS else "NotFoundError"
    assert own in saw["error"]
    assert (
        "expected a model that this deployment allows (GET /v1/models lists them), got other-model"
        in saw["message"]
    )


@EVERYONE
def test_what_bedrock_has_against_a_request(seen: Any, client: str) -> None:
    """Bedrock's refusal is the client's own error for a bad request, in Bedrock's words."""
    saw = seen[client]["refused"]
    assert ("ValidationException" if client in AWS else "BadRequestError") in saw["error"]
    assert "its.words" in saw["message"]


def test_what_the_function_has_against_a_request(seen: Any) -> None:
    """The client for OpenAI raises its own error for a bad request, with the field's name."""
    saw = seen["ChatOpenAI"]["blank"]
    assert "BadRequestError" in saw["error"]
    assert "messages: expected" in saw["message"]


@EVERYONE
def test_silence(seen: Any, client: str) -> None:
    """The heartbeats in a silence leave the answer as it was."""
    saw = seen[client]["silent"]
    assert (saw["text"], saw["pieces"]) == (text(), len(pieces()))


@EVERYONE
@pytest.mark.parametrize("case", ["broken", "cut"])
def test_an_error_in_mid_stream(seen: Any, client: str, case: str) -> None:
    """After the text that came the stream is an exception with a code, never a shorter answer."""
    saw = seen[client][case]
    assert saw["text"]
    assert text().startswith(saw["text"])
    error, code = ERRORS["AWS" if client in AWS else client, case]
    assert (saw["error"][0], saw["code"]) == (error, code)


@EVERYONE
@BOTH_WAYS
def test_throttling(seen: Any, client: str, way: str) -> None:
    """Throttling is the client's own error for it."""
    saw = seen[client][f"throttled {way}"]
    own = "ThrottlingException" if client in AWS else "RateLimitError"
    assert own in saw["error"]
