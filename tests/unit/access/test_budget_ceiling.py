from __future__ import annotations

import dataclasses
import json
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from access.budget_ceiling import Tokens, ceiling
from relay import formats
from relay.errors import RequestError
from relay.model_call import ModelCall
from tests.unit.access.budget_fakes import MODEL, SETTINGS
from tests.unit.relay.url_events import CLAUDE, NOVA, call_of
from tests.unit.relay.url_events import SETTINGS as UNLIMITED

LIMITED = dataclasses.replace(UNLIMITED, max_tokens=100)
LLAMA = "us.meta.llama4-scout-17b-instruct-v1:0"
IMAGE, CONTEXT, TEMPLATE = 16_384, 1_000_000, 1_000
DATA = b64encode(bytes(30_000)).decode()


def _converse(*content: Any, model: str = MODEL, **members: Any) -> ModelCall:
    body = {"messages": [{"role": "user", "content": list(content)}], **members}
    return ModelCall(
        route="/model/{modelId}/converse-stream",
        operation="ConverseStream",
        model=model,
        parameters={"modelId": model},
        body=json.dumps(body).encode(),
        format=formats.CONVERSE_FRAMES,
    )


def _invoke(body: Any) -> ModelCall:
    return ModelCall(
        route="/model/{modelId}/invoke",
        operation="InvokeModel",
        model=MODEL,
        parameters={"modelId": MODEL, "body": json.dumps(body).encode()},
        format=formats.DOCUMENT,
    )


def _messages(*content: Any, **members: Any) -> ModelCall:
    return _invoke({"messages": [{"role": "user", "content": list(content)}], **members})


def _source(**source: Any) -> Any:
    return {"source": source}


IMAGES = {
    "Converse": _converse({"image": {"format": "png", **_source(bytes=DATA)}}),
    "Converse, in a tool's result": _converse(
        {"toolResult": {"toolUseId": "a", "content": [{"image": _source(bytes=DATA)}]}}
    ),
    "Converse, for a guardrail": _converse({"guardContent": {"image": _source(bytes=DATA)}}),
    "Anthropic": _messages(
        {"type": "image", **_source(type="base64", media_type="image/png", data=DATA)}
    ),
    "OpenAI": _messages({"type": "image_url", "image_url": {"url": f"data:image/png,{DATA}"}}),
    "Llama": _invoke({"prompt": "What is it?", "images": [DATA]}),
    "Titan": _invoke({"inputText": "a", "inputImage": DATA}),
}
FILES = {
    "Converse": _converse({"document": {"format": "pdf", "name": "a", **_source(bytes=DATA)}}),
    "Converse, called a text by a member": _converse(
        {"document": {"format": "pdf", **_source(bytes=DATA, text="a")}}
    ),
    "Converse, called a text by its type": _converse(
        {"document": {"format": "pdf", "type": "document", **_source(bytes=DATA, type="text")}}
    ),
    "Converse, a video": _converse({"video": {"format": "mp4", **_source(bytes=DATA)}}),
    "Converse, audio": _converse({"audio": {"format": "mp3", **_source(bytes=DATA)}}),
    "Converse, in S3": _converse(
        {"document": {"format": "txt", **_source(s3Location={"uri": "s3://a/b"})}}
    ),
    "a tool of Bedrock's own": _converse(
        {"text": "a"}, toolConfig={"tools": [{"systemTool": {"name": "nova_grounding"}}]}
    ),
    "Anthropic": _messages(
        {"type": "document", **_source(type="base64", media_type="application/pdf", data=DATA)}
    ),
    "OpenAI": _messages({"type": "input_audio", "input_audio": {"data": DATA}}),
    "OpenAI, a video": _messages({"type": "video_url", "video_url": {"url": "https://a/b"}}),
    "Anthropic, a container's": _messages({"type": "container_upload", "container_upload": {}}),
    "TwelveLabs": _invoke({"inputPrompt": "a", "mediaSource": {"base64String": DATA}}),
}
TEXTS = {
    "Converse, plain": _converse({"document": {"format": "txt", **_source(bytes=DATA)}}),
    "Converse, text": _converse({"document": {"format": "pdf", **_source(text=DATA)}}),
    "Converse, blocks": _converse({"document": _source(content=[{"text": DATA}])}),
    "Anthropic, text": _messages({"type": "document", **_source(type="text", data=DATA)}),
    "Anthropic, blocks": _messages(
        {"type": "document", **_source(type="content", content=[{"type": "text", "text": DATA}])}
    ),
    "beside the type of an image": _converse({"type": "image", "text": DATA}),
    "a tool's input": _messages(
        {"type": "tool_use", "name": "a", "input": {"document": {"text": DATA}}}
    ),
    "a tool's result": _converse(
        {"toolResult": {"content": [{"json": {"image": DATA, "document": {}}}]}}
    ),
    "a file's name": _converse({"file": DATA}),
    "reasoning": _converse({"reasoningContent": {"redactedContent": DATA}}),
    "Llama": _invoke({"prompt": DATA}),
}


NAMES = st.sampled_from(
    ["type", "source", "format", "bytes", "text", "content", "image", "images", "document", "file"]
) | st.sampled_from(["input", "name", "json", "max_tokens", "budget_tokens", "inferenceConfig"])
LEAVES = st.sampled_from([None, True, -1, 7, 1.5, "image", "document", "text", "txt", "content"])
ANYTHING = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4)
)


def _input(call: ModelCall, *others: ModelCall) -> int:
    return ceiling([call, *others], SETTINGS).input


@pytest.mark.parametrize("call", IMAGES.values(), ids=IMAGES)
def test_an_image_costs_what_pixels_can(call: ModelCall) -> None:
    """However many bytes an image has, and wherever it stands, its ceiling is that of the largest."""
    assert IMAGE + TEMPLATE < _input(call) < IMAGE + TEMPLATE + 300


@pytest.mark.parametrize("call", FILES.values(), ids=FILES)
def test_a_file_costs_what_the_model_can_read(call: ModelCall) -> None:
    """What unfolds to nobody knows how much text, or is not in the request at all, is all that the model reads."""
    assert CONTEXT + TEMPLATE < _input(call) < CONTEXT + 6_000


@pytest.mark.parametrize("call", TEXTS.values(), ids=TEXTS)
def test_text_costs_its_bytes(call: ModelCall) -> None:
    """Whatever it is called: a token has at least one byte."""
    assert len(DATA) + TEMPLATE < _input(call) < len(DATA) + TEMPLATE + 300


@given(
    st.text(), st.sampled_from(["/stream", "/v1/chat/completions", "/v1/messages", "/v1/responses"])
)
def test_no_text_has_more_tokens_than_its_ceiling(text: str, path: str) -> None:
    """Half of a surrogate pair included, and by whichever API it comes: every byte of it counts."""
    said = {
        "/stream": {"prompt": f"a{text}"},
        "/v1/responses": {"input": f"a{text}"},
    }.get(path, {"messages": [{"role": "user", "content": f"a{text}"}]})
    call = call_of(path, said, settings=LIMITED)
    assert ceiling([call], LIMITED).input >= len(text.encode(errors="surrogatepass")) + TEMPLATE


@given(ANYTHING)
def test_whatever_is_asked_has_a_ceiling(body: Any) -> None:
    """A model's own schema may be anything: no request is a bug."""
    tokens = ceiling([_invoke(body)], SETTINGS)
    assert tokens.input > TEMPLATE
    assert 1 <= tokens.output <= 200


def test_each_image_counts_and_files_share_the_context() -> None:
    """Two images are two; two files are what the model reads, once."""
    image, file = {"image": _source(bytes=DATA)}, {"document": _source(bytes=DATA)}
    assert _input(_converse(image, image)) - _input(_converse(image)) == pytest.approx(
        IMAGE, abs=20
    )
    assert _input(_converse(file, file)) - _input(_converse(file)) < 300
    assert _input(_converse(image, file)) > IMAGE + CONTEXT
    assert _input(_invoke({"images": [DATA] * 3})) > 3 * IMAGE


def test_tools_have_a_template_of_their_own() -> None:
    """Models' makers tell them how to call tools, in more words than the request has."""
    tools = {"tools": [{"name": "a", "input_schema": {"type": "object"}}]}
    assert 5_000 < _input(_messages(**tools)) < 5_300
    assert 5_000 < _input(_converse(toolConfig={"tools": []})) < 5_300


def test_the_longest_context_of_those_that_may_answer_counts() -> None:
    """A stand-in that reads more, and a model that only an ARN names, may cost more."""
    file = {"document": _source(bytes=DATA)}
    usual = _converse(file)
    assert _input(usual, _converse(file, model=LLAMA)) > 4 * CONTEXT
    imported = "arn:aws:bedrock:us-east-1:123456789012:imported-model/abc"
    assert _input(usual, _converse(file, model=imported)) > 4 * CONTEXT
    profile = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"
    known = dataclasses.replace(SETTINGS, copied_from={profile: CLAUDE})
    assert ceiling([_converse(file, model=profile)], known).input < 2 * CONTEXT


@pytest.mark.parametrize(
    ("call", "output"),
    [
        (_converse({"text": "a"}, inferenceConfig={"maxTokens": 7}), 7),
        (_converse({"text": "a"}), 100),
        (_messages(max_tokens=7), 7),
        (_messages(max_tokens=50, thinking={"type": "enabled", "budget_tokens": 40}), 90),
        (_invoke({"inferenceConfig": {"max_new_tokens": 7}}), 7),
        (_invoke({"max_gen_len": 7, "max_tokens": 9}), 9),
        (_invoke({"inputText": "a"}), 100),
        (_converse(inferenceConfig={"maxTokens": 7}, other={"max_tokens": 10**40}), 100),
        (_converse(inferenceConfig={"maxTokens": 7}, other={"max_tokens": "many"}), 7),
        (
            _converse(
                inferenceConfig={"maxTokens": 7},
                additionalModelRequestFields={"thinking": {"budget_tokens": 20}},
            ),
            27,
        ),
    ],
)
def test_the_output_has_the_limit_that_the_request_names(call: ModelCall, output: int) -> None:
    """The largest of those that some model reads, and what is for thinking on top; else the deployment's own."""
    assert ceiling([call], SETTINGS).output == output


@pytest.mark.parametrize("model", [CLAUDE, NOVA])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/stream", {"messages": [{"role": "user", "content": "hi"}]}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]}),
        ("/v1/responses", {"input": "hi"}),
        ("/v1/messages", {"max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}),
    ],
)
def test_every_api_names_its_limit(path: str, body: Any, model: str) -> None:
    """A short request by any API has a small ceiling, with the deployment's limit on its output."""
    name = "modelId" if path == "/stream" else "model"
    call = call_of(path, {name: model, **body}, settings=LIMITED)
    tokens = ceiling([call], LIMITED)
    assert tokens == Tokens(tokens.input, 100)
    assert TEMPLATE < tokens.input < TEMPLATE + 300


@pytest.mark.parametrize(
    ("text", "longest"), [("é", 2), ("\U0001d160", 12), ("\ufdfa", 33), ("한", 3), ("\ud800", 3)]
)
def test_text_costs_its_longest_form(text: str, longest: int) -> None:
    """Whichever of Unicode's forms a model reads it in, half a surrogate pair included."""
    plain = _input(_converse({"text": ""}))
    assert _input(_converse({"text": text * 100})) == plain + longest * 100


@pytest.mark.parametrize(
    "call",
    [
        _messages("a", context_management={"edits": [{"type": "compact_20260112"}]}),
        _converse(
            {"text": "a"},
            additionalModelRequestFields={
                "context_management": {"edits": [{"type": "compact_20260112"}]}
            },
        ),
    ],
    ids=["InvokeModel", "Converse"],
)
def test_what_is_in_no_limit_is_refused(call: ModelCall) -> None:
    """A model that compacts writes and reads what nobody counts; other edits cost nothing."""
    with pytest.raises(RequestError, match="context_management") as caught:
        _input(call)
    assert caught.value.status == 400
    _input(_messages("a", context_management={"edits": [{"type": "clear_tool_uses_20250919"}]}))
    _input(_messages({"type": "tool_use", "name": "a", "input": {"context_management": "compact"}}))


def test_a_model_of_unknown_make_may_write_all_that_is_allowed() -> None:
    """Nobody knows by which name it reads its limit."""
    arn = "arn:aws:bedrock:us-east-1:123456789012:imported-model/abc"
    call = dataclasses.replace(_invoke({"prompt": "a", "maxTokenCount": 1}), model=arn)
    assert ceiling([call], SETTINGS).output == SETTINGS.max_tokens


def _schema(name: str, description: str = "a") -> Any:
    return {"type": "object", "properties": {name: {"type": "string", "description": description}}}


@pytest.mark.parametrize("name", ["image", "images", "document", "file", "video", "title"])
def test_what_a_schema_names_is_text(name: str) -> None:
    """A property is no picture and no file, whatever it is called, and hides nothing."""
    for schemas in (
        lambda text: {"output_config": {"format": {"schema": _schema(name, text)}}},
        lambda text: {"response_format": {"json_schema": {"schema": _schema(name, text)}}},
        lambda text: {"tools": [{"name": "a", "input_examples": [{name: text}]}]},
    ):
        small, large = (_input(_messages("a", **schemas(text))) for text in ("a", "a" * 1000))
        assert (small < 6_000, large - small) == (True, 999)


def test_tools_have_their_template_wherever_they_stand() -> None:
    """Anthropic's own reach Converse among the model's own fields."""
    tools = [{"type": "bash_20250124", "name": "bash"}]
    there = _converse({"text": "a"}, additionalModelRequestFields={"tools": tools})
    assert _input(there) > 5_000
