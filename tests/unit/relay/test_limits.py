from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import RequestError
from relay.limits import check_invoke, limited_converse
from relay.model_call import ModelCall
from relay.request import read_request
from relay.settings import Settings
from tests.unit.relay.test_request import BotocoreShapes

MODEL = "a.model"
UNLIMITED = Settings.from_environment({"RIVULET_MODEL_IDS": MODEL})
LIMITED = Settings.from_environment(
    {"RIVULET_MODEL_IDS": MODEL, "RIVULET_MAX_TOKENS": "100", "RIVULET_MAX_MESSAGES": "2"}
)
NAMES = [
    "max_tokens",
    "maxTokens",
    "max_new_tokens",
    "maxTokenCount",
    "max_gen_len",
    "max_completion_tokens",
    "max_tokens_to_sample",
]
# What is no number of tokens from 1 to 100, and how it is described.
TOO_MUCH = [
    (101, "the number 101"),
    (0, "the number 0"),
    (-1, "the number -1"),
    (10**30, "the number 1000000000000000000000000000000"),
    (50.0, "the number 50.0"),
    ("50", "text of 2 characters"),
    (True, "true"),
    (None, "null"),
    ([50], "a list of 1"),
    ({"max_tokens": 50}, "an object"),
]


# What it does not tell may be any model.
PROFILE = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"


def _check(body: Any, settings: Settings = LIMITED, model: str = PROFILE) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    check_invoke(model, json.loads(data), data, settings)


def _refused(check: Any, *args: Any) -> str:
    with pytest.raises(RequestError) as caught:
        check(*args)
    assert (caught.value.status, caught.value.code) == (400, "invalid_request")
    return caught.value.message


@pytest.mark.parametrize(
    ("inference", "sent"),
    [
        (None, {"maxTokens": 100}),
        ({}, {"maxTokens": 100}),
        ({"temperature": 0.5}, {"temperature": 0.5, "maxTokens": 100}),
        ({"maxTokens": 99}, {"maxTokens": 99}),
        ({"maxTokens": 100, "topP": 1}, {"maxTokens": 100, "topP": 1}),
    ],
)
def test_a_conversation_gets_the_limit_where_it_names_none(inference: Any, sent: Any) -> None:
    """Converse's own field says how many tokens may come, whether the request did or not."""
    request = {"modelId": MODEL} | ({} if inference is None else {"inferenceConfig": inference})
    before = json.dumps(request)
    assert limited_converse(request, LIMITED) == {"modelId": MODEL, "inferenceConfig": sent}
    assert json.dumps(request) == before, "what came is not changed"


def test_without_a_limit_nothing_is_filled_in() -> None:
    """A deployment that sets none leaves the choice to the model."""
    for request in (
        {"modelId": MODEL},
        {"inferenceConfig": {"maxTokens": 10**9}, "additionalModelRequestFields": "x"},
    ):
        assert limited_converse(request, UNLIMITED) == request
    _check({"prompt": "hi"}, UNLIMITED)
    _check({"max_tokens": 10**9}, UNLIMITED)
    _check(b'{"max_tokens":1,"max_tokens":2,"n":5}', UNLIMITED)


@pytest.mark.parametrize("name", ["n", "num_generations", "numResults"])
def test_one_answer_is_made(name: str) -> None:
    """Several would each have as many tokens as are allowed."""
    _check({"max_tokens": 100, name: 1}, LIMITED)
    with pytest.raises(RequestError, match=f"{name}: expected 1, got the number 2"):
        _check({"max_tokens": 100, name: 2}, LIMITED)
    request = {"additionalModelRequestFields": {name: 2}}
    with pytest.raises(RequestError, match=f"additionalModelRequestFields.{name}: expected 1"):
        limited_converse(request, LIMITED)


def test_a_limit_in_any_other_object_is_none() -> None:
    """What a model would pass over does not stand for its limit, and may not be above it either."""
    with pytest.raises(RequestError, match=r"^invalid_request: max_tokens: .* got nothing"):
        _check({"prompt": "hi", "metadata": {"max_tokens": 1}}, LIMITED)
    more = {"max_tokens": 1, "additionalModelRequestFields": {"max_completion_tokens": 101}}
    with pytest.raises(RequestError, match=r"additionalModelRequestFields\.max_completion_tokens:"):
        _check(more, LIMITED)


@pytest.mark.parametrize(
    ("model", "body", "told"),
    [
        ("us.anthropic.claude-x", {"max_gen_len": 1}, "max_tokens or max_tokens_to_sample"),
        ("meta.llama3", {"max_tokens": 1}, "max_gen_len"),
        (
            "amazon.nova-lite-v1:0",
            {"maxTokens": 1},
            "inferenceConfig.maxTokens or inferenceConfig.max_new_tokens",
        ),
        ("arn:aws:bedrock:us-east-1::foundation-model/mistral.x", {"maxTokens": 1}, "max_tokens"),
    ],
)
def test_the_limit_stands_where_the_model_reads_it(model: str, body: Any, told: str) -> None:
    """Another family's name for it may be one that this model passes over."""
    expected = f"{told}: expected from 1 to 100, got nothing"
    assert _refused(lambda: _check(body, model=model)) == expected
    _check(body, model="arn:aws:bedrock:us-east-1:1:application-inference-profile/abc")
    _check({"anthropic_version": "x", "max_tokens": 100}, model="global.anthropic.claude-x")
    _check({"inferenceConfig": {"maxTokens": 100}}, model="eu.amazon.nova-pro-v1:0")


@pytest.mark.parametrize("settings", [LIMITED, UNLIMITED], ids=["limited", "unlimited"])
def test_messages_are_counted_whatever_they_are_called(settings: Settings) -> None:
    """A conversation under another name, or one that is there twice, is no way around the limit."""
    many: list[Any] = [{}] * (settings.max_messages + 1)
    with pytest.raises(RequestError, match="chat_history: expected at most"):
        _check({"max_tokens": 1, "chat_history": many}, settings)
    with pytest.raises(RequestError, match="each name once"):
        _check(b'{"max_tokens":1,"messages":[{}],"messages":[]}', settings)


def test_a_conversation_that_asks_for_more_is_refused() -> None:
    """The field is named, with the limit and what came."""
    request = {"inferenceConfig": {"maxTokens": 101}}
    assert _refused(limited_converse, request, LIMITED) == (
        "inferenceConfig.maxTokens: expected from 1 to 100, got the number 101"
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("within", ["", "inferenceConfig"])
def test_no_model_is_asked_for_more_by_its_own_name(name: str, within: str) -> None:
    """Each name that models have for the limit counts, at the top and in an object there, in both lanes."""

    def fields(value: Any) -> dict[str, Any]:
        return {within: {name: value}, "x": 1} if within else {name: value, "x": 1}

    field = f"{within}.{name}" if within else name
    _check(fields(100))
    sent = limited_converse({"additionalModelRequestFields": fields(100)}, LIMITED)
    assert sent["additionalModelRequestFields"] == fields(100)
    assert sent["inferenceConfig"] == {"maxTokens": 100}
    for value, got in TOO_MUCH:
        said = f"{field}: expected from 1 to 100, got {got}"
        assert _refused(_check, fields(value)) == said
        request = {"additionalModelRequestFields": fields(value)}
        assert (
            _refused(limited_converse, request, LIMITED) == f"additionalModelRequestFields.{said}"
        )


@pytest.mark.parametrize("extra", [None, [], "max_tokens", 5, {}, {"thinking": {"budget": 999}}])
def test_other_fields_of_a_model_are_its_own_business(extra: Any) -> None:
    """What names no limit goes through as it is."""
    request = {"additionalModelRequestFields": extra}
    assert limited_converse(request, LIMITED) == {**request, "inferenceConfig": {"maxTokens": 100}}


@pytest.mark.parametrize(
    "body",
    [{}, {"prompt": "hi"}, [], ["max_tokens"], "max_tokens", None, {"a": {"b": {"max_tokens": 5}}}],
)
def test_a_models_own_request_must_name_its_limit(body: Any) -> None:
    """Where the schema is the model's, the limit cannot be filled in: the caller has to."""
    assert _refused(_check, body) == (
        "max_tokens: expected from 1 to 100, under the name that the model has for it, got nothing"
    )


@pytest.mark.parametrize(
    "body",
    [
        b'{"max_tokens":5,"max_tokens":5000}',
        b'{"max_tokens":5000,"max_tokens":5}',
        rb'{"max_tokens":5,"max\u005ftokens":5000}',
        b'{"max_tokens":5,"inferenceConfig":{"maxTokens":5},"inferenceConfig":{}}',
        b'{"inferenceConfig":{"maxTokens":5,"maxTokens":5}}',
        b'{"max_tokens":5,"messages":[{"role":"user","role":"user"}]}',
    ],
)
def test_a_name_that_comes_twice_is_refused(body: bytes) -> None:
    """Which of the two counts is for each reader to say, so that a limit could be read past."""
    assert _refused(_check, body) == "the body: expected each name once in an object, got one twice"


INTEGERS = st.integers(-2, 2) | st.integers(90, 110)
PAIRS = st.lists(st.tuples(st.sampled_from(["max_tokens", "maxTokens", "x"]), INTEGERS), max_size=3)
BODIES = st.lists(
    st.tuples(st.sampled_from(["max_tokens", "max_gen_len", "inferenceConfig"]), INTEGERS | PAIRS),
    max_size=3,
)  # fmt: skip


@given(BODIES)
def test_no_reader_finds_more_than_the_limit(pairs: Any) -> None:
    """Whether a reader of JSON takes the first of two equal names or the last: what passes keeps to the limit."""

    def written(pairs: Any) -> str:
        members = (
            f'"{name}":{written(value) if isinstance(value, list) else value}'
            for name, value in pairs
        )
        return "{" + ",".join(members) + "}"

    data = written(pairs).encode()
    try:
        _check(data)
    except RequestError:
        return
    found = []
    for read in (dict, lambda pairs: dict(reversed(pairs))):
        body = json.loads(data, object_pairs_hook=read)
        inner = body.get("inferenceConfig")
        for fields in (body, inner if isinstance(inner, dict) else {}):
            found += [fields[name] for name in NAMES if name in fields]
    assert found
    assert all(1 <= value <= 100 for value in found)


@pytest.mark.parametrize(("count", "taken"), [(1, True), (2, True), (3, False)])
def test_a_conversation_has_so_many_messages_at_most(count: int, *, taken: bool) -> None:
    """Both lanes count the messages, and what has none is not counted."""
    messages = [{"role": "user", "content": [{"text": "hi"}]}] * count
    for check in (
        lambda: limited_converse({"messages": messages}, LIMITED),
        lambda: _check({"max_tokens": 5, "messages": messages}),
    ):
        if taken:
            check()
        else:
            assert _refused(check) == "messages: expected at most 2, got 3"
    _check({"max_tokens": 5, "messages": "one long text"})


URL = {"requestContext": {"http": {"method": "POST"}}, "rawPath": "/stream"}
INVOKE = {**URL, "rawPath": f"/model/{MODEL}/invoke-with-response-stream"}


@pytest.mark.parametrize(
    ("event", "parameters"),
    [
        ({"prompt": "hi"}, {"inferenceConfig": {"maxTokens": 100}}),
        ({**URL, "body": '{"prompt":"hi"}'}, {"inferenceConfig": {"maxTokens": 100}}),
        ({**INVOKE, "body": '{ "max_tokens": 100}'}, {"body": b'{ "max_tokens": 100}'}),
    ],
    ids=["direct", "converse", "invoke"],
)
def test_every_way_in_keeps_to_the_limits(event: Any, parameters: dict[str, Any]) -> None:
    """Where a request comes in, it is limited; InvokeModel's goes out byte for byte."""
    call = read_request(event, LIMITED, BotocoreShapes())
    assert isinstance(call, ModelCall)
    assert parameters.items() <= call.parameters.items()


@pytest.mark.parametrize(
    "event",
    [
        {"prompt": "hi", "inferenceConfig": {"maxTokens": 101}},
        {**URL, "body": '{"prompt":"hi","inferenceConfig":{"maxTokens":101}}'},
        {**INVOKE, "body": '{"max_tokens":101}'},
        {**INVOKE, "body": "{}"},
    ],
    ids=["direct", "converse", "invoke", "invoke without a limit"],
)
def test_no_way_in_leads_past_the_limits(event: Any) -> None:
    """And what asks for more is refused there."""
    assert "expected from 1 to 100" in _refused(read_request, event, LIMITED, BotocoreShapes())


@pytest.mark.parametrize(
    "body",
    [
        {"max_tokens": 100, "thinking": {"type": "enabled", "budget_tokens": 101}},
        {"max_tokens": 100, "a": {"b": {"c": {"max_tokens": 101}}}},
        {"max_tokens": 100, "best_of": 20},
        {"max_tokens": 100, "n": True},
    ],
)
def test_nothing_else_asks_for_more(body: Any) -> None:
    """Thinking counts as well, and so does what stands deeper, and an answer of which there are several."""
    _refused(_check, body)
    extra = {name: value for name, value in body.items() if name != "max_tokens"}
    _refused(limited_converse, {"additionalModelRequestFields": extra}, LIMITED)


@pytest.mark.parametrize(
    "model",
    [
        "amazon.titan-embed-text-v2:0",
        "cohere.rerank-v3-5:0",
        "amazon.nova-canvas-v1:0",
        "cohere.embed-v4:0",
    ],
)
def test_a_model_without_tokens_needs_no_limit(model: str) -> None:
    """What makes vectors or images has no such field."""
    _check({"inputText": "hi"}, model=model)
    _refused(lambda: _check({"inputText": "hi", "maxTokens": 101}, model=model))


@pytest.mark.parametrize("name", ["maxTokens", "max_gen_len", "max_new_tokens"])
def test_a_model_of_another_family_reads_what_most_do(name: str) -> None:
    """One that is not listed is taken to read OpenAI's names, as new ones do."""
    _refused(lambda: _check({name: 1}, model="deepseek.v3-v1:0"))
    _check({"max_tokens": 1}, model="qwen.qwen3-32b-v1:0")
