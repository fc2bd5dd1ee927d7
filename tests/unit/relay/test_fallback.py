from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from relay import fallback, formats
from relay.errors import RequestError, UpstreamError, bedrock_error, limit_error, transport_error
from relay.fallback import calls, first_answer
from relay.model_call import ModelCall
from relay.settings import Settings
from tests.unit.relay.url_events import call_of

if TYPE_CHECKING:
    from relay.errors import RelayError

NOVA = "amazon.nova-lite-v1:0"
CLAUDE = "anthropic.claude-sonnet-4-5-20250929-v1:0"
PROFILE = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"
THROTTLED = bedrock_error("ThrottlingException", "its words")


def _settings(*fallbacks: str, model_ids: str = NOVA) -> Settings:
    return Settings.from_environment(
        {"RIVULET_MODEL_IDS": model_ids, "RIVULET_FALLBACK_MODEL_IDS": ",".join(fallbacks)}
    )


def _call(model: str = NOVA, operation: str = "ConverseStream") -> ModelCall:
    return ModelCall(
        route="/x",
        operation=operation,
        model=model,
        parameters={"modelId": model, "messages": [1]},
        format=formats.SSE,
    )


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What is logged."""
    logged: list[tuple[str, dict[str, Any]]] = []

    class Logger:
        def warning(self, message: str, *, extra: dict[str, Any]) -> None:
            logged.append((message, extra))

    monkeypatch.setattr(fallback, "logger", Logger())
    return logged


def test_another_model_is_asked_the_same() -> None:
    """The call itself comes first; in the others only the model differs, in the call and in its parameters."""
    call = _call()
    first, *others = calls(call, _settings(CLAUDE, PROFILE))
    assert first is call
    assert others == [_call(CLAUDE), _call(PROFILE)]
    assert call.parameters == {"modelId": NOVA, "messages": [1]}


@pytest.mark.parametrize("operation", ["Converse", "ConverseStream"])
@pytest.mark.parametrize("as_it_is", [False, True], ids=["parameters", "body"])
def test_what_is_the_models_own_business_is_asked_of_its_family_alone(
    operation: str, *, as_it_is: bool
) -> None:
    """Another family reads other fields, or refuses them."""
    fields: dict[str, Any] = {"additionalModelRequestFields": {"thinking": {}}}
    call = _call(CLAUDE, operation)
    if as_it_is:
        call = replace(call, body=json.dumps(fields).encode())
    else:
        call = replace(call, parameters={**call.parameters, **fields})
    models = [asked.model for asked in calls(call, _settings(NOVA, f"us.{CLAUDE}", PROFILE))]
    assert models == [CLAUDE, f"us.{CLAUDE}"]


@pytest.mark.parametrize("operation", ["Converse", "ConverseStream"])
def test_what_was_written_in_bedrocks_own_words_is_asked_again_as_it_is(operation: str) -> None:
    """Byte for byte, of any model: Converse means the same to all of them."""
    call = replace(_call(operation=operation), body=b'{ "messages":\n[], "of":1.0 }')
    first, *others = calls(call, _settings(CLAUDE, PROFILE))
    assert first is call
    assert others == [replace(_call(m, operation), body=call.body) for m in (CLAUDE, PROFILE)]


@pytest.mark.parametrize("operation", ["InvokeModel", "CountTokens"])
def test_without_a_stream_a_models_own_schema_is_its_own_as_well(operation: str) -> None:
    """What it is to answer or to count is written for it."""
    asked = calls(_call(NOVA, operation), _settings(CLAUDE, PROFILE))
    assert [call.model for call in asked] == [NOVA]


def test_tokens_are_not_counted_by_an_inference_profile() -> None:
    """It is the same model's, whose own quota of counting is used up."""
    asked = calls(_call(NOVA, "CountTokens"), _settings(f"us.{NOVA}"))
    assert [call.model for call in asked] == [NOVA]


@pytest.mark.parametrize(
    ("fallbacks", "asked"),
    [
        ([], []),
        ([NOVA], []),
        ([CLAUDE, NOVA, PROFILE], [CLAUDE, PROFILE]),
    ],
)
def test_a_model_does_not_stand_in_for_itself(fallbacks: list[str], asked: list[str]) -> None:
    """A model that is busy is not asked again; the others keep their order."""
    assert [call.model for call in calls(_call(), _settings(*fallbacks))] == [NOVA, *asked]


@pytest.mark.parametrize(
    ("model", "fallback_model", "asked"),
    [
        (NOVA, f"us.{NOVA}", True),
        (f"us.{NOVA}", NOVA, True),
        (f"us.{NOVA}", f"apac.{NOVA}", True),
        (f"global.{NOVA}", f"us-gov.{NOVA}", True),
        (NOVA, CLAUDE, False),
        (f"us.{NOVA}", f"us.{CLAUDE}", False),
        ("deepseek.v3.2", "us.deepseek.v3.2", True),
        ("deepseek.v3.2", "other.v3.2", False),
        ("us.amazon.nova-pro-v1:0", "us.amazon.nova-premier-v1:0", False),
        (PROFILE, NOVA, False),  # an ARN does not say what is behind it
        (PROFILE, f"{PROFILE}d", False),
    ],
)
def test_a_models_own_schema_is_read_by_that_model_alone(
    model: str, fallback_model: str, *, asked: bool
) -> None:
    """InvokeModel's body goes to other inference profiles of the model; Converse's to any model."""
    settings = _settings(fallback_model)
    invoke = calls(_call(model, "InvokeModelWithResponseStream"), settings)
    assert [call.model for call in invoke] == [model, *([fallback_model] if asked else [])]
    assert [call.model for call in calls(_call(model), settings)] == [model, fallback_model]


OTHER_PROFILE = f"{PROFILE}d"
BY_ARN = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/global."
IMPORTED = "arn:aws:bedrock:us-east-1:123456789012:imported-model/abc"


@pytest.mark.parametrize(
    ("source", "fallback_model", "same", "akin"),
    [
        (f"eu.{CLAUDE}", f"eu.{CLAUDE}", True, True),
        (f"eu.{CLAUDE}", CLAUDE, True, True),
        (f"eu.{CLAUDE}", f"{BY_ARN}{CLAUDE}", True, True),
        (f"{BY_ARN}{CLAUDE}", f"global.{CLAUDE}", True, True),
        (f"eu.{CLAUDE}", f"arn:aws:bedrock:us-east-1::foundation-model/{CLAUDE}", True, True),
        (f"eu.{CLAUDE}", f"{OTHER_PROFILE}=us.{CLAUDE}", True, True),
        (f"eu.{CLAUDE}", "eu.anthropic.claude-opus-4-1-20250805-v1:0", False, True),
        (f"eu.{CLAUDE}", f"{OTHER_PROFILE}=anthropic.claude-3-haiku-20240307-v1:0", False, True),
        (f"eu.{CLAUDE}", f"{OTHER_PROFILE}=eu.{NOVA}", False, False),
        (f"eu.{CLAUDE}", f"{BY_ARN}{NOVA}", False, False),
        (f"eu.{CLAUDE}", IMPORTED, False, False),
        (IMPORTED, f"{OTHER_PROFILE}={IMPORTED}", True, True),
        (IMPORTED, f"{IMPORTED}d", False, False),
    ],
)
@pytest.mark.parametrize("is_profile_first", [True, False], ids=["asked", "fallback"])
def test_an_application_profile_is_what_it_was_copied_from(
    source: str, fallback_model: str, *, same: bool, akin: bool, is_profile_first: bool
) -> None:
    """Either way round: its own ARN tells neither model nor family. What is unknown is like itself alone."""
    pair = [f"{PROFILE}={source}", fallback_model]
    if not is_profile_first:
        pair.reverse()
    settings = _settings(pair[1], model_ids=pair[0])
    model, other = settings.model_ids[0], settings.fallback_model_ids[0]
    invoke = calls(_call(model, "InvokeModel"), settings)
    assert [call.model for call in invoke] == [model, *([other] if same else [])]
    conversation = _call(model)
    parameters = {**conversation.parameters, "additionalModelRequestFields": {"thinking": {}}}
    asked = calls(replace(conversation, parameters=parameters), settings)
    assert [call.model for call in asked] == [model, *([other] if akin else [])]
    assert [call.model for call in calls(conversation, settings)] == [model, other]


def test_anthropics_api_falls_back_from_an_application_profile() -> None:
    """Whose request is written in the model's own words, and answered by its other profiles."""
    settings = _settings(
        f"eu.{CLAUDE}", NOVA, f"global.{CLAUDE}", model_ids=f"{PROFILE}=eu.{CLAUDE}"
    )
    body = {"model": PROFILE, "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    call = call_of("/v1/messages", body, settings=settings)
    assert call.operation.startswith("InvokeModel")
    first, *others = calls(call, settings)
    assert [asked.parameters["modelId"] for asked in (first, *others)] == [
        PROFILE,
        f"eu.{CLAUDE}",
        f"global.{CLAUDE}",
    ]
    assert {asked.parameters["body"] for asked in others} == {call.parameters["body"]}


def _asked(*answers: RelayError | str) -> tuple[list[str], Any]:
    """Return the models that were asked while each gives its answer, and what came of it."""
    models = [f"model-{n}" for n in range(len(answers))]
    told = dict(zip(models, answers, strict=True))
    asked: list[str] = []

    def ask(call: ModelCall) -> str:
        asked.append(call.model)
        answer = told[call.model]
        if isinstance(answer, Exception):
            raise answer
        return answer

    try:
        return asked, first_answer([_call(model) for model in models], ask)
    except Exception as error:  # noqa: BLE001  # whatever it is
        return asked, error


@pytest.mark.parametrize(
    "busy",
    [
        THROTTLED,
        bedrock_error("ModelNotReadyException"),
        bedrock_error("ServiceUnavailableException"),
        bedrock_error("quiteNewException", status=429),
    ],
    ids=lambda error: error.code,
)
def test_the_first_model_that_is_not_busy_answers(
    warnings: list[tuple[str, dict[str, Any]]], busy: UpstreamError
) -> None:
    """What is throttled, not ready or not available is passed over, and logged; nobody is asked for no need."""
    assert _asked("a", "b") == (["model-0"], "a")
    assert warnings == []
    assert _asked(busy, busy, "c", "d") == (["model-0", "model-1", "model-2"], "c")
    assert warnings == [
        ("fallback", {"from": "model-0", "error": busy.code}),
        ("fallback", {"from": "model-1", "error": busy.code}),
    ]


@pytest.mark.parametrize(
    "error",
    [
        *(
            bedrock_error(name)
            for name in (
                "AccessDeniedException",
                "ValidationException",
                "ResourceNotFoundException",
                "ServiceQuotaExceededException",
                "ModelErrorException",
                "ModelTimeoutException",
                "InternalServerException",
            )
        ),
        transport_error("connect_failed"),
        transport_error("read_timeout"),
        limit_error("timeout"),
        limit_error("too_many_streams"),  # this environment's own 429
        RequestError(400, "invalid_request", "no"),
        KeyError("a bug"),
    ],
    ids=lambda error: getattr(error, "code", "bug"),
)
def test_any_other_failure_is_the_answer(
    warnings: list[tuple[str, dict[str, Any]]], error: Any
) -> None:
    """What another model would fail with as well, or what may have cost tokens, is not tried again."""
    assert _asked(error, "b") == (["model-0"], error)
    assert warnings == []


def test_the_last_models_failure_is_told(warnings: list[tuple[str, dict[str, Any]]]) -> None:
    """Where all are busy, the last one's error is what the caller hears."""
    last = bedrock_error("ServiceUnavailableException")
    assert _asked(THROTTLED, last) == (["model-0", "model-1"], last)
    assert len(warnings) == 2
    assert _asked(last) == (["model-0"], last)
    assert len(warnings) == 2, "nothing was passed over"


@pytest.mark.parametrize(
    "error",
    [
        bedrock_error("AccessDeniedException"),
        bedrock_error("ValidationException"),
        transport_error("read_timeout"),
        RequestError(400, "invalid_request", "the body does not fit Bedrock's API"),
    ],
    ids=lambda error: error.code,
)
def test_a_stand_ins_own_failure_does_not_hide_the_first_ones(
    warnings: list[tuple[str, dict[str, Any]]], error: UpstreamError
) -> None:
    """The caller asked for a model that is busy, and may try again; the log says what is wrong with the other."""
    assert _asked(THROTTLED, error, "c") == (["model-0", "model-1"], THROTTLED)
    assert warnings[-1] == ("fallback", {"from": "model-1", "error": error.code})
