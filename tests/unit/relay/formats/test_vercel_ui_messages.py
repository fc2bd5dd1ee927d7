# ruff: noqa: TID251  # the shapes are botocore's

from __future__ import annotations

from typing import Any

import botocore.session
import pytest

from relay.errors import RequestError
from relay.formats.fields import Fields
from relay.formats.vercel_ui_messages import Document, Messages, listed
from relay.shapes import convert

PNG = "data:image/png;base64,AAEC"
PDF = "data:application/pdf;base64,AAEC"
USER = {"role": "user", "parts": [{"type": "text", "text": "hi"}]}
HI = {"role": "user", "content": [{"text": "hi"}]}
_SHAPE = (
    botocore.session.get_session()
    .get_service_model("bedrock-runtime")
    .operation_model("ConverseStream")
    .input_shape
)


def _text(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": text, **more}


def _file(url: str, media_type: str, **more: Any) -> dict[str, Any]:
    return {"type": "file", "url": url, "mediaType": media_type, **more}


def _thought(text: str, **bedrock: Any) -> dict[str, Any]:
    return {"type": "reasoning", "text": text, "providerMetadata": {"bedrock": bedrock}}


def _call(state: str, tool_id: str = "t1", **more: Any) -> dict[str, Any]:
    made = {"type": "tool-get_weather", "toolCallId": tool_id, "state": state}
    return {**made, "input": {"city": "Paris"}, **more}


def _use(tool_id: str = "t1", name: str = "get_weather", **more: Any) -> dict[str, Any]:
    return {"toolUse": {"toolUseId": tool_id, "name": name, "input": {"city": "Paris"}, **more}}


def _result(*content: Any, tool_id: str = "t1", **more: Any) -> dict[str, Any]:
    return {"toolResult": {"toolUseId": tool_id, "content": [*content], **more}}


def _read(*messages: Any) -> Messages:
    """Read messages, and let botocore's own model of Bedrock have a look at what they become."""
    read = Messages(listed(Fields({"messages": [*messages]}), "messages"))
    convert({**read.conversation.request(), "modelId": "m"}, _SHAPE, "")
    return read


def _said_by_user(*parts: Any) -> Any:
    (message,) = _read({"role": "user", "parts": [*parts]}).conversation.messages
    assert message["role"] == "user"
    return message["content"]


def _after(*parts: Any) -> Any:
    """Return the messages that an assistant's becomes after one of the user's."""
    first, *rest = _read(
        USER, {"id": "m2", "role": "assistant", "parts": [*parts]}
    ).conversation.messages
    assert first == HI
    return rest


def _refusal(*messages: Any) -> str:
    with pytest.raises(RequestError) as caught:
        _read(*messages)
    assert caught.value.status == 400
    return caught.value.message


def test_texts_and_files_are_said_as_they_stand() -> None:
    """In their order, but for blank texts, which Bedrock refuses."""
    assert _said_by_user(
        _text("a", state="done"),
        _file(PNG, "image/png"),
        _text(" \n"),
        _file(PDF, "application/pdf", filename="the plan.pdf"),
        _text("b"),
    ) == [
        {"text": "a"},
        {"image": {"format": "png", "source": {"bytes": "AAEC"}}},
        {"document": {"format": "pdf", "name": "the plan", "source": {"bytes": "AAEC"}}},
        {"text": "b"},
    ]


def test_documents_are_counted_as_bedrock_counts_them() -> None:
    """Through all messages, and images are none."""
    pdf = _file(PDF, "application/pdf", filename="a.pdf")
    read = _read(
        {"role": "user", "parts": [_file(PNG, "image/png"), pdf]},
        {"role": "assistant", "parts": [_text("a")]},
        {"role": "user", "parts": [_file("data:text/plain;base64,AAEC", "text/plain")]},
    )
    assert read.documents == [Document("application/pdf", "a.pdf"), Document("text/plain", None)]
    assert read.last_role == "user"


def test_two_documents_have_two_names() -> None:
    """Bedrock refuses two of the same, and a page sends a file again with every turn that speaks of it."""
    pdf = _file(PDF, "application/pdf", filename="a.pdf")
    read = _read({"role": "user", "parts": [pdf, pdf]})
    (message,) = read.conversation.messages
    assert len({block["document"]["name"] for block in message["content"]}) == 2


def test_a_part_can_ask_for_bedrocks_options() -> None:
    """A cache point behind it, and citations of a document, under either of the AI SDK's names for Bedrock."""
    cached = {"bedrock": {"cachePoint": {"type": "default"}}}
    cited = {
        "amazonBedrock": {
            "citations": {"enabled": True},
            "cachePoint": {"type": "default", "ttl": "1h"},
        },
        "openai": {"itemId": "x"},
    }
    assert _said_by_user(
        _text("a", providerMetadata=cached),
        _text("", providerMetadata=cached),
        _file(PDF, "application/pdf", providerMetadata=cited),
    ) == [
        {"text": "a"},
        {"cachePoint": {"type": "default"}},
        {
            "document": {
                "format": "pdf",
                "name": "document",
                "source": {"bytes": "AAEC"},
                "citations": {"enabled": True},
            }
        },
        {"cachePoint": {"type": "default", "ttl": "1h"}},
    ]


def test_the_system_speaks_outside_of_the_conversation() -> None:
    """Its texts are Converse's ``system``."""
    system = {"role": "system", "parts": [_text("a"), _text("b"), {"type": "data-x", "data": 1}]}
    read = _read(system, USER)
    assert read.conversation.request() == {
        "messages": [HI],
        "system": [{"text": "a"}, {"text": "b"}],
    }


def test_messages_of_one_role_in_a_row_are_one() -> None:
    """Bedrock wants the roles to take turns."""
    (message,) = _read(USER, {"role": "user", "parts": []}, USER).conversation.messages
    assert message == {"role": "user", "content": [{"text": "hi"}, {"text": "hi"}]}


@pytest.mark.parametrize(
    "part",
    [
        {"type": "source-url", "sourceId": "s", "url": "https://example.com"},
        {"type": "source-document", "sourceId": "s", "mediaType": "text/plain", "title": "t"},
        {"type": "data-bedrock", "data": {"type": "unknown"}},
        {"type": "custom", "kind": "openai.compaction"},
        {"type": "reasoning-file", "mediaType": "image/png", "url": PNG},
        {"type": "step-start"},
        {"type": "reasoning", "text": "hm"},
        {"type": "reasoning", "text": "hm", "providerMetadata": {"anthropic": {"signature": "s"}}},
        _text(" "),
        *(_call(state) for state in ("input-streaming", "input-available", "approval-requested")),
        _call("approval-responded", approval={"id": "a", "approved": True}),
        _call("approval-responded", approval={"id": "a", "approved": True}, providerExecuted=True),
    ],
)
def test_what_the_model_cannot_know_stays_on_the_screen(part: Any) -> None:
    """Sources, data, reasoning without proof, and calls without a result are left out, whatever stands around them."""
    text = {"role": "assistant", "content": [{"text": "a"}, {"text": "b"}]}
    assert _after(_text("a"), part, _text("b")) == [text]
    assert _after(part) == []


def test_reasoning_goes_back_with_its_proof() -> None:
    """The signature that the stream brought, or the bytes that nobody may read, unchanged."""
    assert _after(
        {"type": "step-start"},
        _thought("", signature="c2ln"),
        _thought("", redactedContent="AAEC"),
        _thought("hm", signature="c2ln", redactedContent="AAEC"),
        _text("a"),
    ) == [
        {
            "role": "assistant",
            "content": [
                {"reasoningContent": {"reasoningText": {"text": "", "signature": "c2ln"}}},
                {"reasoningContent": {"redactedContent": "AAEC"}},
                {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}},
                {"reasoningContent": {"redactedContent": "AAEC"}},
                {"text": "a"},
            ],
        }
    ]


def test_reasoning_that_led_to_nothing_is_left_out() -> None:
    """A stream that failed after it, or a call that nobody answered: models refuse a message that ends with it."""
    thought = _thought("hm", signature="c2ln")
    assert _after(thought) == []
    assert _after(thought, _call("input-available")) == []
    assert _after(_text("a"), thought, thought) == [
        {"role": "assistant", "content": [{"text": "a"}]}
    ]


@pytest.mark.parametrize(
    ("part", "result"),
    [
        (_call("output-available", output="fine"), _result({"text": "fine"})),
        (_call("output-available", output=""), _result()),
        (_call("output-available", output={"a": [1]}), _result({"json": {"a": [1]}})),
        (_call("output-available", output=["ü", 1]), _result({"text": '["ü", 1]'})),
        (_call("output-available", output=None), _result({"text": "null"})),
        (_call("output-available", output=[{"text": "a"}]), _result({"text": '[{"text": "a"}]'})),
        (_call("output-error", errorText="no"), _result({"text": "no"}, status="error")),
        (_call("output-error", errorText=""), _result(status="error")),
        (
            _call("output-denied", approval={"id": "a", "approved": False, "reason": "Costly."}),
            _result({"text": "Costly."}, status="error"),
        ),
        (
            _call("output-denied", approval={"id": "a", "approved": False}),
            _result({"text": "The user does not allow this call."}, status="error"),
        ),
        (
            _call("approval-responded", approval={"id": "a", "approved": False}),
            _result({"text": "The user does not allow this call."}, status="error"),
        ),
    ],
)
def test_a_call_is_answered_in_the_users_next_message(part: Any, result: Any) -> None:
    """Whatever came of a tool call is its result; only then is there a call at all."""
    assert _after(part) == [
        {"role": "assistant", "content": [_use()]},
        {"role": "user", "content": [result]},
    ]


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ({"input": None}, {}),
        ({"input": '{"city":'}, {"rawInvalidInput": '{"city":'}),
        ({"input": [1]}, {"rawInvalidInput": [1]}),
    ],
)
def test_an_input_is_an_object(sent: Any, told: Any) -> None:
    """One that was cut short is told as it is, for Bedrock takes nothing else."""
    (call, _) = _after(_call("output-error", errorText="cut", **sent))
    assert call["content"] == [_use(input=told)]


def test_the_results_of_a_step_come_before_the_next() -> None:
    """A message of several steps is a conversation: calls in parallel, their results together, then what came next."""
    dynamic = {**_call("output-available", "t2", output="2"), "type": "dynamic-tool"}
    assert _after(
        {"type": "step-start"},
        _thought("hm", signature="c2ln"),
        _text("a"),
        _call("output-available", "t1", output="1"),
        {**dynamic, "toolName": "get_time"},
        _call("input-available", "t3"),
        {"type": "step-start"},
        _call("output-error", "t4", errorText="no"),
        {"type": "step-start"},
        _text("b"),
    ) == [
        {
            "role": "assistant",
            "content": [
                {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}},
                {"text": "a"},
                _use("t1"),
                _use("t2", "get_time"),
            ],
        },
        {
            "role": "user",
            "content": [
                _result({"text": "1"}, tool_id="t1"),
                _result({"text": "2"}, tool_id="t2"),
            ],
        },
        {"role": "assistant", "content": [_use("t4")]},
        {"role": "user", "content": [_result({"text": "no"}, tool_id="t4", status="error")]},
        {"role": "assistant", "content": [{"text": "b"}]},
    ]


def test_results_come_before_what_the_user_says_next() -> None:
    """Both are in one message of the user's, the results first."""
    assistant = {"role": "assistant", "parts": [_call("output-available", output="1")]}
    *_, last = _read(USER, assistant, USER).conversation.messages
    assert last == {"role": "user", "content": [_result({"text": "1"}), {"text": "hi"}]}


def test_what_the_user_said_in_between_is_the_users() -> None:
    """A steering message stands between two steps."""
    assert _after(
        _text("a"),
        {"type": "steering-message", "id": "s", "parts": [_text("b"), _file(PNG, "image/png")]},
        _text("c"),
    ) == [
        {"role": "assistant", "content": [{"text": "a"}]},
        {
            "role": "user",
            "content": [
                {"text": "b"},
                {"image": {"format": "png", "source": {"bytes": "AAEC"}}},
            ],
        },
        {"role": "assistant", "content": [{"text": "c"}]},
    ]


@pytest.mark.parametrize(
    ("output", "content"),
    [
        ([{"text": "a"}, {"json": {"b": 1}}], [{"text": "a"}, {"json": {"b": 1}}]),
        ([{"document": {}}], [{"text": '[{"document": {}}]'}]),
        ("a", [{"text": "a"}]),
    ],
)
def test_a_tool_of_bedrocks_own_is_answered_by_the_assistant(output: Any, content: Any) -> None:
    """Call and result go back as the answer had them."""
    part = _call(
        "output-available",
        output=output,
        providerExecuted=True,
        resultProviderMetadata={"bedrock": {"type": "nova_grounding_result"}},
    )
    assert _after(part, _text("a")) == [
        {
            "role": "assistant",
            "content": [
                _use(type="server_tool_use"),
                _result(*content, type="nova_grounding_result"),
                {"text": "a"},
            ],
        }
    ]


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({"parts": []}, "messages[0].role: expected text, got nothing"),
        (
            {"role": "tool", "parts": []},
            "messages[0].role: expected one of system, user, assistant, got tool",
        ),
        ({"role": "user", "content": "hi"}, "messages[0].parts: expected a list, got nothing"),
        ({"role": "user", "parts": {}}, "messages[0].parts: expected a list, got an object"),
        ({"role": "user", "parts": ["a"]}, "messages[0].parts[0]: expected an object, got text"),
        ({"role": "user", "parts": [{}]}, "messages[0].parts[0].type: expected text, got nothing"),
    ],
)
def test_a_wrong_message_is_named(message: Any, said: str) -> None:
    """What is no UI message is refused, that of older versions included."""
    assert _refusal(message).startswith(said)


@pytest.mark.parametrize(
    ("role", "part", "said"),
    [
        ("user", {"type": "text"}, "text: expected text, got nothing"),
        ("user", {"type": "tool-a"}, "type: expected one of text, file, or what is for the screen"),
        (
            "system",
            _file(PNG, "image/png"),
            "type: expected one of text, or what is for the screen",
        ),
        ("assistant", {"type": "video"}, "type: expected one of text, file, reasoning, tool-*, "),
        ("user", {"type": "file", "url": 5}, "url: expected text, got the number 5"),
        (
            "user",
            _file("https://example.com/a.png", "image/png"),
            "url: expected a data URL in base64, got a URL with https:, which is never fetched",
        ),
        (
            "user",
            _file("data:video/mp4;base64,AAEC", "video/mp4"),
            "url: expected one of image/png, ",
        ),
        ("user", {"type": "file", "url": PDF}, "mediaType: expected text, got nothing"),
        (
            "user",
            _text("a", providerMetadata={"bedrock": {"guardContent": True}}),
            "providerMetadata.bedrock.guardContent: expected one of cachePoint, got an unknown",
        ),
        (
            "user",
            _text("a", providerMetadata={"bedrock": {"cachePoint": {"ttl": "5m"}}}),
            "providerMetadata.bedrock.cachePoint.type: expected text, got nothing",
        ),
        (
            "assistant",
            _thought("a", signature=5),
            "providerMetadata.bedrock.signature: expected text, got the number 5",
        ),
        ("assistant", {"type": "tool-a"}, "state: expected text, got nothing"),
        ("assistant", {"type": "tool-a b"}, "type: expected tool- and what fits"),
        ("assistant", {"type": "dynamic-tool"}, "toolName: expected text, got nothing"),
        (
            "assistant",
            _call("output-available", "", output=1),
            "toolCallId: expected text that fits",
        ),
        ("assistant", _call("output-error"), "errorText: expected text, got nothing"),
    ],
)
def test_a_wrong_part_is_named(role: str, part: Any, said: str) -> None:
    """What Bedrock cannot be told is refused, by its own place in the messages."""
    message = _refusal(USER, {"role": role, "parts": [_text("a"), part]})
    assert message.startswith(f"messages[1].parts[1].{said}")
