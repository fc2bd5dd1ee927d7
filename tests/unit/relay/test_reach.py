"""What a request names beyond itself, tools of Bedrock's own and files in S3: only what the deployment allows."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from relay.errors import RequestError
from relay.limits import check_reach
from relay.model_call import ModelCall
from relay.request import read_request
from relay.settings import Settings
from tests.unit.relay.test_request import BotocoreShapes
from tests.unit.relay.url_events import NOVA, call_of, refusal_of

if TYPE_CHECKING:
    from collections.abc import Callable

NONE = Settings.from_environment({"RIVULET_MODEL_IDS": NOVA})
SOME = Settings.from_environment(
    {
        "RIVULET_MODEL_IDS": NOVA,
        "RIVULET_SYSTEM_TOOLS": "nova_grounding,nova_other",
        "RIVULET_S3_URIS": "s3://shop,s3://docs/manuals/,s3://media/2026",
    }
)
TOOL = {"systemTool": {"name": "nova_grounding"}}
OTHER_TOOL = {"systemTool": {"name": "nova_code_interpreter"}}
FILE = {"s3Location": {"uri": "s3://shop/a.png"}}
OTHER_FILE = {"s3Location": {"uri": "s3://else/a.png"}}


def _conversation(*tools: Any, source: Any = None) -> dict[str, Any]:
    """Return a request to Converse."""
    content: list[Any] = [{"text": "What is it?"}]
    if source:
        content.append({"image": {"format": "png", "source": source}})
    body: dict[str, Any] = {"messages": [{"role": "user", "content": content}]}
    return {**body, "toolConfig": {"tools": list(tools)}} if tools else body


def _direct(body: Any, settings: Settings) -> ModelCall:
    call = read_request(body, settings, BotocoreShapes())
    assert isinstance(call, ModelCall)
    return call


def _to(path: str, within: Callable[[Any], Any] = lambda body: body) -> Any:
    return lambda body, settings: call_of(path, within(body), settings=settings)


# Where a body comes in, and the path at which its conversation then is.
WAYS_IN = {
    "/stream": (_to("/stream"), ""),
    "direct": (_direct, ""),
    "converse": (_to(f"/model/{NOVA}/converse"), ""),
    "converse-stream": (_to(f"/model/{NOVA}/converse-stream"), ""),
    "invoke": (_to(f"/model/{NOVA}/invoke"), ""),
    "invoke-with-response-stream": (_to(f"/model/{NOVA}/invoke-with-response-stream"), ""),
    "count-tokens": (
        _to(f"/model/{NOVA}/count-tokens", lambda body: {"input": {"converse": body}}),
        "input.converse.",
    ),
}
ways_in = pytest.mark.parametrize(("read", "within"), WAYS_IN.values(), ids=WAYS_IN)


def _message(read: Any, body: Any, settings: Settings) -> str:
    with pytest.raises(RequestError) as caught:
        read(body, settings)
    assert (caught.value.status, caught.value.code) == (400, "invalid_request")
    assert caught.value.message.startswith(f"{caught.value.field}: ")
    return caught.value.message


@ways_in
def test_a_tool_of_bedrocks_own_is_one_that_the_deployment_allows(read: Any, within: str) -> None:
    """Whatever way in: the field is named, with what is allowed and what came."""
    body = _conversation(TOOL, OTHER_TOOL)
    field = f"{within}toolConfig.tools[{{}}].systemTool.name"
    expected = "expected one of the system tools that this deployment allows"
    assert _message(read, body, NONE) == f"{field.format(0)}: {expected} (none), got nova_grounding"
    assert _message(read, body, SOME) == (
        f"{field.format(1)}: {expected} (nova_grounding, nova_other), got nova_code_interpreter"
    )
    read(_conversation(TOOL), SOME)


@ways_in
def test_a_file_in_s3_is_one_that_the_deployment_allows(read: Any, within: str) -> None:
    """The field is named; neither what came nor the deployment's buckets are."""
    told = (
        f"{within}messages[0].content[1].image.source.s3Location.uri: "
        "expected a URI under one of those that this deployment allows, got another"
    )
    assert _message(read, _conversation(source=FILE), NONE) == told
    assert _message(read, _conversation(source=OTHER_FILE), SOME) == told
    read(_conversation(source=FILE), SOME)


def test_what_is_allowed_is_sent_as_it_came() -> None:
    """Nothing is changed in the request for it."""
    body = _conversation(TOOL, source=FILE)
    assert call_of(f"/model/{NOVA}/converse", body, settings=SOME).body == json.dumps(body).encode()
    assert call_of("/stream", body, settings=SOME).parameters == {"modelId": NOVA, **body}


@pytest.mark.parametrize(
    ("uri", "allowed"),
    [
        ("s3://shop/a", True),
        ("s3://shop/a/b.png", True),
        ("s3://shop", False),
        ("s3://shop-of-another/a", False),
        ("s3://shopper/a", False),
        ("S3://shop/a", False),
        ("https://shop/a", False),
        ("", False),
        ("s3://docs/manuals/a.pdf", True),
        ("s3://docs/manuals", False),
        ("s3://docs/manuals-of-another/a.pdf", False),
        ("s3://docs/Manuals/a.pdf", False),
        ("s3://docs/a.pdf", False),
        ("s3://media/2026", True),
        ("s3://media/2026-01.mp4", True),
        ("s3://media/2025.mp4", False),
    ],
)
def test_a_prefix_is_of_keys_and_not_of_buckets(uri: str, allowed: bool) -> None:  # noqa: FBT001
    """What a prefix allows is what the role may read: S3 takes it letter by letter."""
    request = {"source": {"s3Location": {"uri": uri}}}
    if allowed:
        check_reach(request, SOME)
        return
    with pytest.raises(RequestError, match=r"source\.s3Location\.uri: expected a URI under one"):
        check_reach(request, SOME)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"a": [[{"b": OTHER_FILE}]]}, "a[0][0].b.s3Location.uri"),
        ([OTHER_FILE], "[0].s3Location.uri"),
        (
            {"messages": [{"content": [{"toolResult": {"content": [{"video": OTHER_FILE}]}}]}]},
            "messages[0].content[0].toolResult.content[0].video.s3Location.uri",
        ),
        ({"mediaSource": OTHER_FILE}, "mediaSource.s3Location.uri"),
        (
            {"additionalModelRequestFields": {"input": OTHER_FILE}},
            "additionalModelRequestFields.input.s3Location.uri",
        ),
        ({"s3Location": {"uri": "s3://shop/a", **OTHER_FILE}}, "s3Location.s3Location.uri"),
        ({"tools": [TOOL, OTHER_TOOL]}, "tools[1].systemTool.name"),
    ],
)
def test_it_is_found_wherever_it_stands(request_: Any, field: str) -> None:
    """Models' own schemas have it in other places, and new ones of Converse's are not known yet."""
    with pytest.raises(RequestError) as caught:
        check_reach(request_, SOME)
    assert caught.value.field == field


@pytest.mark.parametrize("named", [OTHER_TOOL, OTHER_FILE], ids=["tool", "file"])
def test_what_is_the_callers_own_is_called_what_they_like(named: Any) -> None:
    """A tool of the caller's may well have a parameter of that name; Bedrock does nothing with it."""
    schema = {"type": "object", "properties": named}
    for own in (
        {"toolSpec": {"name": "copy", "inputSchema": {"json": schema}}},
        {"toolUse": {"toolUseId": "1", "name": "copy", "input": named}},
        {"toolResult": {"toolUseId": "1", "content": [{"json": named}]}},
        {"type": "tool_use", "id": "1", "name": "copy", "input": named},
        {"name": "copy", "input_schema": schema},
        {"requestMetadata": {"systemTool": "a", "s3Location": "b"}},
        {"promptVariables": {name: {"text": "a"} for name in named}},
    ):
        check_reach({"a": [own]}, NONE)


@pytest.mark.parametrize("malformed", [None, "s3://else/a", [], {}, {"uri": 5, "name": None}])
def test_what_is_malformed_is_bedrocks_to_refuse(malformed: Any) -> None:
    """Here nobody knows what it means."""
    check_reach({"systemTool": malformed, "s3Location": malformed, "a": [1, "b", None]}, NONE)


def test_a_long_name_is_not_repeated_whole() -> None:
    """No caller makes a message long."""
    body = _conversation({"systemTool": {"name": "x" * 10_000}})
    assert len(refusal_of(f"/model/{NOVA}/converse", body, settings=NONE).message) < 400


@pytest.mark.parametrize(
    ("path", "named"),
    [
        (path, named)
        for path in ("converse-stream", "converse", "count-tokens")
        for named in (
            '"toolConfig":{"tools":[{"systemTool":{"name":"nova_grounding"}}]},"toolConfig":{}',
            '"toolConfig":{"tools":[{"systemTool":{"name":"nova_grounding","name":"x"}}]}',
            '"toolConfig":{"tools":[{"system\\u0054ool":{"name":"x"}}]},"toolConfig":{}',
            '"x":{"s3Location":{"uri":"s3://else/a"}},"x":{}',
        )
    ],
)
def test_a_name_that_comes_twice_hides_nothing(path: str, named: str) -> None:
    """Bedrock is sent such a body as it came, and may take the other of the two."""
    body = f'{{"messages":[],{named}}}'
    if path == "count-tokens":
        body = f'{{"input":{{"converse":{body}}}}}'
    error = refusal_of(f"/model/{NOVA}/{path}", body.encode(), settings=SOME)
    assert error.message == "the body: expected each name once in an object, got one twice"


def test_many_names_are_looked_at_once_each() -> None:
    """However many an object has and however often one comes: a body of six megabytes takes no minutes."""
    named = ",".join(f'"{number}":1,"{number}":2' for number in range(200_000))
    body = f'{{"messages":[],"s3Location":{{}},{named}}}'.encode()
    began = time.monotonic()
    assert "one twice" in refusal_of(f"/model/{NOVA}/converse", body, settings=SOME).message
    assert time.monotonic() - began < 20
