# ruff: noqa: TID251  # botocore's service model is what is checked against, its validator the judge

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import botocore.session
import pytest
from botocore.validate import ParamValidator
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.errors import RequestError
from relay.shapes import convert, describe

if TYPE_CHECKING:
    from relay.shapes import Shape

MODEL = botocore.session.get_session().get_service_model("bedrock-runtime")
REQUEST: Shape = MODEL.operation_model("ConverseStream").input_shape
MESSAGE = {"role": "user", "content": [{"text": "hi"}]}


def _converted(**fields: Any) -> Any:
    return convert({"modelId": "m", "messages": [MESSAGE], **fields}, REQUEST, "")


def _block(**content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [content]}]}


def _judge(parameters: Any) -> list[Any]:
    report = ParamValidator().validate(parameters, REQUEST)
    return [] if not report.has_errors() else [report.generate_report()]


def test_a_full_request_passes() -> None:
    """Everything that Bedrock's own request has goes through under its own names, bytes decoded."""
    request: dict[str, Any] = {
        "modelId": "m",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"text": "hi"},
                    {"image": {"format": "png", "source": {"bytes": "AAEC"}}},
                    {"document": {"format": "pdf", "name": "d", "source": {"bytes": "AAEC"}}},
                    {"video": {"format": "mp4", "source": {"s3Location": {"uri": "s3://b/k"}}}},
                    {"guardContent": {"text": {"text": "x", "qualifiers": ["query"]}}},
                    {"cachePoint": {"type": "default", "ttl": "1h"}},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}},
                    {"reasoningContent": {"redactedContent": "AAEC"}},
                    {"toolUse": {"toolUseId": "t", "name": "n", "input": {"a": [1, None, 1.5]}}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "toolResult": {
                            "toolUseId": "t",
                            "content": [{"json": {"a": 1}}, {"text": "x"}],
                            "status": "success",
                        }
                    }
                ],
            },
        ],
        "system": [{"text": "Be brief."}],
        "inferenceConfig": {
            "maxTokens": 5,
            "temperature": 1,
            "topP": 0.5,
            "stopSequences": ["x"],
        },
        "toolConfig": {
            "tools": [{"toolSpec": {"name": "n", "inputSchema": {"json": {"type": "object"}}}}],
            "toolChoice": {"auto": {}},
        },
        "guardrailConfig": {
            "guardrailIdentifier": "abc",
            "guardrailVersion": "1",
            "trace": "enabled",
            "streamProcessingMode": "async",
        },
        "additionalModelRequestFields": {"thinking": {"type": "enabled"}},
        "additionalModelResponseFieldPaths": ["/a"],
        "promptVariables": {"v": {"text": "x"}},
        "requestMetadata": {"team": "blue"},
        "performanceConfig": {"latency": "optimized"},
        "serviceTier": {"type": "flex"},
    }
    converted = convert(request, REQUEST, "")
    assert _judge(converted) == []
    expected = json.loads(json.dumps(request))
    expected["messages"][0]["content"][1]["image"]["source"]["bytes"] = b"\x00\x01\x02"
    expected["messages"][0]["content"][2]["document"]["source"]["bytes"] = b"\x00\x01\x02"
    expected["messages"][1]["content"][1]["reasoningContent"]["redactedContent"] = b"\x00\x01\x02"
    assert converted == expected


@pytest.mark.parametrize(
    ("given_", "meant"),
    [
        (
            {"messages": [{"role": "user", "content": "hi"}]},
            {"messages": [MESSAGE]},
        ),
        (
            {"messages": [{"role": "user", "content": ["a", {"text": "b"}]}]},
            {"messages": [{"role": "user", "content": [{"text": "a"}, {"text": "b"}]}]},
        ),
        ({"system": "Be brief."}, {"system": [{"text": "Be brief."}]}),
        ({"system": ["a", "b"]}, {"system": [{"text": "a"}, {"text": "b"}]}),
        (
            _block(toolResult={"toolUseId": "t", "content": "42"}),
            _block(toolResult={"toolUseId": "t", "content": [{"text": "42"}]}),
        ),
    ],
)
def test_a_plain_string_may_stand_for_a_content_block(given_: Any, meant: Any) -> None:
    """Where Bedrock wants content blocks, a string is one of text, and one string a list of one."""
    assert _converted(**given_) == _converted(**meant)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"x": 1}, "x: expected one of modelId, messages, "),
        ({"modelId": None}, "modelId: expected text, got null"),
        ({"modelId": 5}, "modelId: expected text, got the number 5"),
        ({"modelId": ""}, "modelId: expected text of from 1 to 2048 characters, got empty text"),
        ({"messages": "hi"}, "messages: expected a list, got text of 2 characters"),
        ({"messages": ["hi"]}, "messages[0]: expected an object, got text of 2 characters"),
        ({"messages": [{}]}, "messages[0].role: expected text, got nothing"),
        ({"messages": [{"role": "user"}]}, "messages[0].content: expected a list, got nothing"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content: expected a list"),
        (
            _block(text="a", image={}),
            "messages[0].content[0]: expected exactly one of text, image, document, video, audio, ",
        ),
        (_block(), "expected exactly one of text, image"),
        (_block(texts="x"), "messages[0].content[0].texts: expected one of text, image, "),
        (
            _block(image={"format": "png", "source": {"bytes": "*"}}),
            "messages[0].content[0].image.source.bytes: expected bytes in base64, got text that is not base64",
        ),
        (
            _block(image={"format": "png", "source": {"bytes": "é"}}),
            "image.source.bytes: expected bytes in base64, got text that is not base64",
        ),
        (
            _block(image={"format": "png", "source": {"bytes": [1]}}),
            "image.source.bytes: expected bytes in base64, got a list of 1",
        ),
        (
            _block(image={"format": "png", "source": {"bytes": ""}}),
            "image.source.bytes: expected at least 1 bytes in base64, got 0",
        ),
        (
            _block(document={"name": "d", "source": "a string is no source"}),
            "document.source: expected an object, got text of 21 characters",
        ),
        ({"inferenceConfig": []}, "inferenceConfig: expected an object, got a list of 0"),
        (
            {"inferenceConfig": {"maxTokens": 0}},
            "inferenceConfig.maxTokens: expected a whole number at least 1, got the number 0",
        ),
        (
            {"inferenceConfig": {"maxTokens": 1.0}},
            "inferenceConfig.maxTokens: expected a whole number, got the number 1.0",
        ),
        (
            {"inferenceConfig": {"maxTokens": True}},
            "inferenceConfig.maxTokens: expected a whole number, got true",
        ),
        (
            {"inferenceConfig": {"maxTokens": "5"}},
            "inferenceConfig.maxTokens: expected a whole number, got text of 1 characters",
        ),
        (
            {"inferenceConfig": {"temperature": 2}},
            "inferenceConfig.temperature: expected a number from 0 to 1, got the number 2",
        ),
        ({"inferenceConfig": {"topP": -0.1}}, "topP: expected a number from 0 to 1, got the"),
        ({"inferenceConfig": {"topP": True}}, "topP: expected a number, got true"),
        (
            {"inferenceConfig": {"topP": float("nan")}},
            "topP: expected a number, got the number nan",
        ),
        (
            {"inferenceConfig": {"topP": float("inf")}},
            "topP: expected a number, got the number inf",
        ),
        ({"inferenceConfig": {"topP": 10**400}}, "topP: expected a number, got the number 1000"),
        ({"inferenceConfig": {"topP": None}}, "topP: expected a number, got null"),
        (
            {"inferenceConfig": {"stopSequences": [""]}},
            "stopSequences[0]: expected text of at least",
        ),
        (
            _block(
                document={"name": "d", "source": {"text": "x"}, "citations": {"enabled": "yes"}}
            ),
            "document.citations.enabled: expected true or false, got text of 3 characters",
        ),
        ({"requestMetadata": []}, "requestMetadata: expected an object, got a list of 0"),
        ({"requestMetadata": {}}, "requestMetadata: expected an object of from 1 to 16 members"),
        ({"requestMetadata": {"a": 1}}, "requestMetadata.a: expected text, got the number 1"),
        (
            {"requestMetadata": {"": "a"}},
            "requestMetadata (a name): expected text of from 1 to 256",
        ),
        ({"toolConfig": {}}, "toolConfig.tools: expected a list, got nothing"),
        ({"toolConfig": {"tools": []}}, "toolConfig.tools: expected a list of at least 1 elements"),
        (
            _block(toolResult={"toolUseId": "t", "content": [], "status": False}),
            "toolResult.status: expected text, got false",
        ),
        ({"y" * 5000: 1}, "y" * 200 + ": expected one of"),
    ],
)
def test_a_wrong_field_is_named(fields: Any, message: str) -> None:
    """What is wrong is told as 400 with the field, what was expected and what came."""
    with pytest.raises(RequestError) as caught:
        _converted(**fields)
    error = caught.value
    assert (error.status, error.code) == (400, "invalid_request")
    assert message in error.message
    assert len(error.message) < 1000


def test_a_body_that_is_no_object_is_called_the_body() -> None:
    """Where there is no field to name, it is the body."""
    with pytest.raises(RequestError, match="the body: expected an object, got a list of 0"):
        convert([], REQUEST, "")


def test_enumerations_are_bedrocks_own_business() -> None:
    """A value that the pinned model does not list yet goes through: Bedrock knows the latest."""
    assert _converted(serviceTier={"type": "quite-new"})["serviceTier"] == {"type": "quite-new"}


@pytest.mark.parametrize("document", [None, True, 5, 1.5, "x", [], {}, {"a": [None, {"b": "é"}]}])
def test_documents_go_through_as_they_are(document: Any) -> None:
    """A model's own fields may be any JSON."""
    fields = _converted(additionalModelRequestFields=document)
    assert fields["additionalModelRequestFields"] == document
    assert _judge(fields) == []


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ({"min": 2}, "at least 2"),
        ({"max": 0}, "at most 0"),
        ({"min": 2, "max": 3}, "from 2 to 3"),
    ],
)
def test_the_bounds_that_there_are_are_told(bounds: dict[str, int], expected: str) -> None:
    """A shape may have a lower bound, an upper one, or both."""
    shape: Any = SimpleNamespace(name="X", type_name="string", metadata=bounds)
    with pytest.raises(RequestError) as caught:
        convert("a", shape, "x")
    assert caught.value.message == (
        f"x: expected text of {expected} characters, got text of 1 characters"
    )


def test_values_are_not_repeated() -> None:
    """What a message says of a value does not tell what may be private."""
    for value in ("my secret", ["my secret"], {"my secret": "my secret"}):
        assert "secret" not in describe(value)
    assert len(describe(10**4000)) < 100


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["AAEC", "user", 10**400, ""])
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


def _near(shape: Any, depth: int = 0) -> st.SearchStrategy[Any]:
    """Values of a shape, mostly: anywhere in them something else may be."""
    if depth > 8 or getattr(shape, "is_document_type", False):
        return ANYTHING
    right: st.SearchStrategy[Any]
    match shape.type_name:
        case "structure":
            members = {n: _near(m, depth + 1) for n, m in shape.members.items()}
            required = {n: s for n, s in members.items() if n in shape.required_members}
            optional = {n: s for n, s in members.items() if n not in required}
            if shape.is_tagged_union:
                right = st.sampled_from(sorted(members)).flatmap(
                    lambda name: st.fixed_dictionaries({name: members[name]})
                )
            else:
                right = st.fixed_dictionaries(required, optional=optional)
        case "list":
            right = st.lists(_near(shape.member, depth + 1), min_size=1, max_size=2)
        case "map":
            right = st.dictionaries(st.text(max_size=3), _near(shape.value, depth + 1), max_size=2)
        case "string":
            right = st.text(max_size=3)
        case "blob":
            right = st.sampled_from(["AAEC", "", "*"])
        case "integer" | "long":
            right = st.integers(-1, 1000)
        case "float" | "double":
            right = st.floats(-0.1, 1.1) | st.integers(0, 1)
        case _:
            right = st.booleans()
    return st.integers(0, 99).flatmap(lambda n: ANYTHING if n == 0 else right)


@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.one_of(_near(REQUEST), _near(REQUEST), ANYTHING))
def test_whatever_comes_is_refused_or_fits_boto3(value: Any) -> None:
    """Any JSON is either refused with a 4xx or becomes what botocore's own validator accepts."""
    try:
        parameters = convert(value, REQUEST, "")
    except RequestError as error:
        assert 400 <= error.status < 500  # noqa: PT017  # both ways out are right
    else:
        assert _judge(parameters) == []
