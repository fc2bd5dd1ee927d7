from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from local.bedrock import Call, honest_answer
from local.fault_script import OF_DOCUMENTS, FaultMachine, listing, parse, take_out, usage
from local.fault_table import COMMON, FAULTS
from local.faults import event_of
from local.pace import IMMEDIATE
from local.prompts import BedrockError
from local.script import Cut, Head, Hold, Pause, Send, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

CONVERSE = "ConverseStream"
INVOKE = "InvokeModelWithResponseStream"
CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
NOVA = "amazon.nova-lite-v1:0"
LANES = pytest.mark.parametrize(
    ("operation", "model_id"), [(CONVERSE, CLAUDE), (INVOKE, CLAUDE), (INVOKE, NOVA)]
)
DOCUMENTS = pytest.mark.parametrize(
    ("operation", "model_id"),
    [("Converse", CLAUDE), ("InvokeModel", CLAUDE), ("InvokeModel", NOVA)],
)
GUIDE = Path(__file__).parents[3] / "docs" / "faults.md"


def call(
    text: str = "Why stream?",
    operation: str = CONVERSE,
    model_id: str = CLAUDE,
    header: str | None = None,
    **more: Any,
) -> Call:
    headers = {} if header is None else {"x-rivulet-faults": header}
    messages = [{"role": "user", "content": [{"text": text, "type": "text"}]}]
    body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 900, "messages": messages}
    return Call(operation, model_id, headers, {**body, **more}, IMMEDIATE, request_id="id")


def answer(*args: Any, **more: Any) -> list[Step]:
    return list(FaultMachine().answer(call(*args, **more)))


def sent(script: Iterable[Step]) -> list[bytes]:
    return [step.data for step in script if isinstance(step, Send)]


def status(script: Iterable[Step]) -> int:
    return next(step.status for step in script if isinstance(step, Head))


def said(script: Iterable[Step]) -> str:
    events = [event for step in script if (event := event_of(step))]
    return "".join(event.delta.get("text", "") for event in events)


def refused(function: Callable[[str], object], text: str) -> BedrockError | None:
    try:
        function(text)
    except BedrockError as error:
        return error
    return None


@given(st.text())
@example("[faults: cut]")
@example(" [ fault: cut] fault: cut ")
def test_other_text_is_left_alone(text: str) -> None:
    """A text without `[fault:` is what it was."""
    if "[fault:" not in text:
        assert take_out(text) == (text, [])


@pytest.mark.parametrize(
    ("text", "rest", "scripts"),
    [
        ("[fault: cut]", "", [" cut"]),
        ("Why [fault: cut after=3] stream?", "Why stream?", [" cut after=3"]),
        ("Why?\n[fault:tool][fault: gap ; join]\n", "Why?", ["tool", " gap ; join"]),
    ],
)
def test_scripts_are_taken_out_of_a_text(text: str, rest: str, scripts: list[str]) -> None:
    """What is in brackets is the script, in order, and the rest is the question."""
    assert take_out(text) == (rest, scripts)


WORDS = st.sampled_from(
    [*FAULTS, *COMMON, "after", "byte", "=", "-1", "5", "nan", "1e999", ";", " ", "[fault:", "]"]
)


@given(st.text() | st.lists(WORDS | st.text(max_size=3)).map("".join))
@example("cut after=" + "9" * 5000)
def test_a_script_is_understood_or_refused(script: str) -> None:
    """Whatever is written, it is faults or one clear error: where, what was expected, what came."""
    for error in (refused(parse, script), refused(take_out, f"[fault:{script}")):
        if error is not None:
            assert (error.status, error.code) == (400, "ValidationException")
            assert re.fullmatch(r".+; expected .+; got .+", error.message, re.DOTALL)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("", r"fault; expected one of delay, refuse, .*, cached; got ''"),
        ("cut;", r"fault; expected one of .*; got ''"),
        ("ctu after=3", r"fault; expected one of .*; got 'ctu'"),
        ("cut 3", r"fault cut; expected key=value with one of after, byte, times, model; got '3'"),
        ("cut for=3", r"fault cut; expected key=value with one of after, .*; got 'for=3'"),
        ("join; cut after=3 after=4", r"fault cut, after; expected one value; got '3 and 4'"),
        ("cut after=end", r"fault cut, after; expected a number of frames or one of .*; got 'end'"),
        ("cut after=-1", r"fault cut, after; expected a number of frames or .*; got '-1'"),
        ("split size=0", r"fault split, size; expected a whole number from 1 to .*; got '0'"),
        ("stall seconds=inf", r"fault stall, seconds; expected a number of seconds .*; got 'inf'"),
        ("delay seconds=", r"fault delay, seconds; expected a number of seconds .*; got ''"),
        ("refuse status=200", r"fault refuse, status; expected .* from 400 to 599; got '200'"),
        ("exception name=ä", r"fault exception, name; expected up to 100 of a-z.*; got 'ä'"),
        ("drop event=end", r"fault drop, event; expected one of messageStart.*; got 'end'"),
        ("x" * 200, f"fault; expected one of .*; got '{'x' * 99}…'"),
    ],
)
def test_a_malformed_script_is_told(script: str, message: str) -> None:
    """The error names the fault and the argument, what was expected and what came."""
    with pytest.raises(BedrockError) as raised:
        parse(script)
    assert re.fullmatch(message, raised.value.message)


def test_a_script_without_an_end_is_told() -> None:
    """In a prompt, a script ends with a bracket."""
    with pytest.raises(BedrockError, match=r"expected a \] at its end; got ' cut'"):
        FaultMachine().answer(call("Why? [fault: cut"))


@pytest.fixture
def no_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the ids and signatures of an answer always be the same."""
    monkeypatch.setattr("secrets.token_bytes", bytes)
    monkeypatch.setattr("secrets.token_hex", lambda size: "0" * 2 * size)
    monkeypatch.setattr("secrets.token_urlsafe", lambda size: "0" * size)


@LANES
@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.usefixtures("no_chance")
def test_each_name_alone_is_a_fault(name: str, operation: str, model_id: str) -> None:
    """Without any arguments every fault changes the answer, in each schema, if what it is about is there."""
    text = "Why stream?" if name != "gap" else "[fault: tool]"
    honest = list(FaultMachine().answer(call(text, operation, model_id)))
    script = list(FaultMachine().answer(call(f"{text} [fault: {name}]", operation, model_id)))
    assert sent(script)
    assert (script == honest) == (name == "drop" and (operation, model_id) == (INVOKE, CLAUDE))


@DOCUMENTS
@pytest.mark.parametrize("name", OF_DOCUMENTS)
@pytest.mark.usefixtures("no_chance")
def test_each_name_alone_is_a_fault_of_a_document(name: str, operation: str, model_id: str) -> None:
    """An answer that is one document is changed by every fault that it can have."""
    honest = list(honest_answer(call("Why stream?", operation, model_id)))
    chosen = call(f"Why stream? [fault: {name}]", operation, model_id)
    assert list(FaultMachine().answer(chosen)) != honest


@DOCUMENTS
@pytest.mark.parametrize("name", sorted(FAULTS.keys() - set(OF_DOCUMENTS)))
def test_a_document_has_no_events(name: str, operation: str, model_id: str) -> None:
    """What is about events is refused where there are none, with what there can be instead."""
    with pytest.raises(BedrockError) as raised:
        answer(f"Why stream? [fault: delay; {name}]", operation, model_id)
    expected = (
        rf"fault; expected one of delay, .*cached, for the answer is one document; got '{name}'"
    )
    assert re.fullmatch(expected, raised.value.message)
    assert status(answer(f"[fault: {name} model=another]", operation, model_id)) == 200


@DOCUMENTS
@pytest.mark.usefixtures("no_chance")
def test_a_place_in_a_document_is_a_tenth(operation: str, model_id: str) -> None:
    """After 0 nothing of it is sent, after 5 half, after 10 or an event all; bytes are counted as ever."""

    def said_of(script: str) -> bytes:
        steps = answer(f"Why stream? [fault: {script}]", operation, model_id)
        assert steps[-1] == Cut()
        return b"".join(sent(steps))

    document = b"".join(sent(answer("Why stream?", operation, model_id)))
    half, places = document[: len(document) // 2], ("after=10", "after=metadata", "byte=100000")
    assert (said_of("cut after=0"), said_of("cut"), said_of("cut byte=9")) == (
        b"",
        half,
        document[:9],
    )
    assert {said_of(f"cut {place}") for place in places} == {document}


@DOCUMENTS
@pytest.mark.usefixtures("no_chance")
def test_a_document_that_ends_too_early_does_so_properly(operation: str, model_id: str) -> None:
    """Its length is not told, for it would tell on it; a refusal has the length that it has."""
    head = next(s for s in answer("[fault: end]", operation, model_id) if isinstance(s, Head))
    assert "Content-Length" not in dict(head.headers)
    refusal = answer("[fault: end; refuse]", operation, model_id)
    head = next(step for step in refusal if isinstance(step, Head))
    assert dict(head.headers)["Content-Length"] == str(len(b"".join(sent(refusal))))


@DOCUMENTS
@pytest.mark.parametrize("after", range(10))
def test_a_corrupt_document_is_no_json(operation: str, model_id: str, after: int) -> None:
    """Whichever byte it is."""
    data = b"".join(sent(answer(f"[fault: corrupt after={after}]", operation, model_id)))
    with pytest.raises(ValueError, match=r"codec|JSON|Expecting|Invalid"):
        json.loads(data)


@LANES
@pytest.mark.usefixtures("no_chance")
def test_a_call_without_faults_is_answered_honestly(operation: str, model_id: str) -> None:
    """Nothing is changed about an answer whose call chooses nothing."""
    one = call("Why stream?", operation, model_id)
    assert list(FaultMachine().answer(one)) == list(honest_answer(one))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[fault: unknown_stop]", "Follow one token."),
        ("[fault: unknown_stop] Why stream?", "A stream does not make"),
        ("Who was [fault: unknown_stop] Ada Lovelace?", "“Who was Ada Lovelace?”"),
    ],
)
def test_the_question_is_answered_without_the_script(text: str, expected: str) -> None:
    """The answer fits what is left of the prompt, or a question of the stand-in's own if nothing is."""
    answered = said(answer(text))
    assert expected in answered
    assert "fault:" not in answered


def test_the_script_is_not_counted() -> None:
    """The tokens of a script are no tokens of the prompt, wherever in the conversation it is."""

    def usage_of(*texts: str) -> Any:
        messages = [{"role": "user", "content": [{"text": text}]} for text in texts]
        script = answer("", messages=messages)
        return json.loads(sent(script)[-1].partition(b'"usage":')[2].partition(b"}")[0] + b"}")

    assert usage_of("Hm. [fault: tool]", "Why? [fault: join]") == usage_of("Hm.", "Why?")


def test_only_the_last_message_chooses() -> None:
    """A script in an earlier message has had its turn."""
    messages = [
        {"role": "user", "content": [{"text": "[fault: refuse]"}]},
        {"role": "assistant", "content": [{"text": "[fault: refuse]"}]},
        {"role": "user", "content": [{"text": "Why stream?"}]},
    ]
    assert status(answer("", messages=messages)) == 200


def test_a_tools_result_is_answered_under_a_fault() -> None:
    """A script beside a tool's result leaves that to be answered; a call is made again if the script says so."""
    result = {"toolResult": {"toolUseId": "x", "content": [{"text": "18 °C"}]}}

    def ask(script: str) -> str:
        message = {"role": "user", "content": [result, {"text": f"[fault: {script}]"}]}
        return said(answer("", messages=[message]))

    assert "18 °C" in ask("join")
    assert ask("tool") == ""


def test_faults_work_on_one_another() -> None:
    """They are done in the order written, the header's before the prompt's."""
    first = answer("Why? [fault: unknown_event after=2]", header="cut after=2")
    second = answer("Why? [fault: cut after=2; unknown_event after=2]")
    assert first == second
    assert (len(sent(first)), first[-1]) == (3, Cut())
    assert len(sent(answer("[fault: unknown_event after=2] [fault: cut after=3] Why?"))) == 3
    both = answer("[fault: reasoning; delay seconds=3; join; split size=7; tool]")
    assert both[:2] == [Hold(), Pause(3.0)]


def test_times_counts_the_calls_of_a_script() -> None:
    """The first calls that carry the very same script have the fault, later ones do not, and others have their own."""
    machine = FaultMachine()

    def ask(text: str) -> int:
        return status(machine.answer(call(text)))

    again = "[fault: refuse times=2; refuse name=ModelNotReadyException status=503 times=1]"
    assert [ask(f"One. {again}"), ask(f"Two. {again}"), ask(again), ask(again)] == [
        503,
        429,
        200,
        200,
    ]
    assert ask("[fault: refuse times=2 message=other]") == 429


def test_model_chooses_among_models() -> None:
    """Only calls of the models meant have the fault, and only they count."""
    machine = FaultMachine()
    text = "[fault: refuse model=claude times=1]"
    models = (NOVA, CLAUDE, NOVA, CLAUDE)
    statuses = [status(machine.answer(call(text, model_id=model))) for model in models]
    assert statuses == [200, 429, 200, 200]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("refuse", 429),
        ("refuse name=ValidationException", 400),
        ("refuse name=ModelTimeoutException", 408),
        ("refuse name=ModelErrorException", 424),
        ("refuse name=InternalServerException", 500),
        ("refuse name=Anything", 400),
        ("refuse name=Anything status=418", 418),
        ("refuse name=", 400),
    ],
)
def test_refusals_have_their_status(script: str, expected: int) -> None:
    """A modelled exception has its status (fact 11), any other 400, unless one is given."""
    assert status(answer(header=script)) == expected


def test_the_list_has_every_fault() -> None:
    """Each fault is listed with its arguments, their defaults or what stands for them, and what it does."""
    assert "cut [after=5] [byte=N]\n    The connection is closed" in listing()
    assert listing().count("\n    ") == len(FAULTS)
    assert "after=N" in listing()


def test_the_guide_has_every_fault() -> None:
    """The table of docs/faults.md is what the code has, row by row."""
    rows = re.findall(r"^\| `(\w+.*?)` \| (.*) \|$", GUIDE.read_text(), re.MULTILINE)
    assert rows == [(usage(name, fault), fault.does) for name, fault in FAULTS.items()]


def test_the_guide_and_the_list_say_what_a_document_can_have() -> None:
    """By name, in the order of the table."""
    (told,) = re.findall(r"It\ncan have ((?:`\w+`,?\s)*`\w+`)\.", GUIDE.read_text())
    assert tuple(re.findall(r"\w+", told)) == OF_DOCUMENTS
    assert listing().endswith(f"there can be\n{', '.join(OF_DOCUMENTS)}.")


def test_the_guides_scripts_are_understood() -> None:
    """Every script that docs/faults.md shows is one, but for the malformed one."""
    shown = GUIDE.read_text()
    scripts = re.findall(r"\[fault: (\w.*?)\]", shown)
    scripts += re.findall(r"^\| [^`]* \| `(.*)` \|$", shown, re.MULTILINE)
    assert len(scripts) > 12
    assert [script for script in scripts if refused(parse, script)] == ["cut at=9"]
