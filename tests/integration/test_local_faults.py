"""How answers go wrong if callers say so, before a judge that is not ours: what boto3 sees of each fault."""

from __future__ import annotations

import re
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from botocore.eventstream import ChecksumMismatch  # noqa: TID251  # the judge
from botocore.exceptions import (  # noqa: TID251  # the judge
    ClientError,
    EventStreamError,
    ReadTimeoutError,
)
from urllib3.exceptions import ProtocolError
from urllib3.exceptions import ReadTimeoutError as StreamReadTimeoutError

from local.function import LocalFunction
from local.pace import IMMEDIATE
from tests.caller import ask
from tests.integration.fault_caller import LANES, NOTHING, READ_TIMEOUT, Caller, stand_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.bedrock import Bedrock

GUIDE = Path(__file__).parents[2] / "docs" / "faults.md"


@pytest.fixture(scope="module")
def bedrock() -> Iterator[Bedrock]:
    with stand_in() as bedrock:
        yield bedrock


@pytest.fixture
def caller(bedrock: Bedrock) -> Iterator[Caller]:
    with closing(Caller(bedrock.url)) as caller:
        yield caller


def code_of(error: Exception | None) -> str:
    """Return the code of an error that boto3 raises for what Bedrock says."""
    assert isinstance(error, ClientError)
    code: str = error.response["Error"]["Code"]
    return code


@pytest.mark.judge
@LANES
def test_without_faults_boto3_sees_a_whole_answer(caller: Caller, lane: str) -> None:
    """A script that changes nothing one could see leaves the stream to end as it should."""
    seen = caller.see(lane, NOTHING)
    assert seen.error is None
    assert seen.text.startswith("A stream does not make")
    assert seen.text.endswith("🛶")


@pytest.mark.judge
@LANES
@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("AccessDeniedException", 403),
        ("InternalServerException", 500),
        ("ModelErrorException", 424),
        ("ModelNotReadyException", 429),
        ("ModelStreamErrorException", 424),
        ("ModelTimeoutException", 408),
        ("ResourceNotFoundException", 404),
        ("ServiceQuotaExceededException", 400),
        ("ServiceUnavailableException", 503),
        ("ThrottlingException", 429),
        ("ValidationException", 400),
        ("NobodyKnowsException", 400),
    ],
)
def test_refuse(caller: Caller, lane: str, name: str, status: int) -> None:
    """Raised at the call, with its code in upper camel case, its status and message (facts 11 and 13)."""
    with pytest.raises(ClientError) as raised:
        caller.see(lane, f"refuse name={name} message=no retry_after=7")
    response = raised.value.response
    # botocore's class for one that the service model does not list is its base.
    assert (type(raised.value).__name__ == name) == (name != "NobodyKnowsException")
    assert (response["Error"]["Code"], response["Error"]["Message"]) == (name, "no")
    assert response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert response["ResponseMetadata"]["HTTPHeaders"]["retry-after"] == "7"


@pytest.mark.judge
def test_times(bedrock: Bedrock) -> None:
    """boto3 retries a call that is refused twice, and is answered at the third time."""
    before = len(bedrock.calls)
    with closing(Caller(bedrock.url, attempts=3)) as caller:
        assert caller.see("converse", "refuse name=ThrottlingException times=2").error is None
    assert len(bedrock.calls) - before == 3


@pytest.mark.judge
def test_model(caller: Caller) -> None:
    """A fault of one model leaves the others alone."""
    assert caller.see("nova", "refuse model=claude").error is None
    with pytest.raises(ClientError, match="ThrottlingException"):
        caller.see("anthropic", "refuse model=claude")


@pytest.mark.judge
@LANES
def test_delay(caller: Caller, lane: str) -> None:
    """Not even the head comes: the call waits, or fails as silence does before a stream."""
    began = time.monotonic()
    caller.see(lane, "delay seconds=0.4")
    assert 0.4 <= time.monotonic() - began < READ_TIMEOUT
    with pytest.raises(ReadTimeoutError):
        caller.see(lane, f"delay seconds={READ_TIMEOUT + 9}")


@pytest.mark.judge
@LANES
@pytest.mark.parametrize(
    "name",
    [
        "internalServerException",
        "modelStreamErrorException",
        "validationException",
        "throttlingException",
        "serviceUnavailableException",
    ],
)
def test_exception(caller: Caller, lane: str, name: str) -> None:
    """Raised while iterating, under its name in lower camel case, after what came before it (facts 10 and 13)."""
    seen = caller.see(lane, f"exception name={name} message=oh after=3")
    assert isinstance(seen.error, EventStreamError)
    assert seen.error.response["Error"] == {"Code": name, "Message": "oh"}
    assert len(seen.events) == 3


@pytest.mark.judge
@LANES
@pytest.mark.parametrize("name", ["nobodyKnowsException", ""])
def test_exception_without_a_known_name(caller: Caller, lane: str, name: str) -> None:
    """One that the model does not list, or without a name, is raised without code and message (fact 14)."""
    seen = caller.see(lane, f"exception name={name} after=0")
    assert isinstance(seen.error, EventStreamError)
    assert seen.error.response["Error"] == {"Code": "", "Message": ""}
    assert seen.events == []


@pytest.mark.judge
def test_exception_between_stop_and_usage(caller: Caller) -> None:
    """A place may be an event: here the stop reason came, the usage never will (fact 3)."""
    seen = caller.see("converse", "exception after=messageStop")
    assert code_of(seen.error) == "throttlingException"
    assert seen.names[-1] == "messageStop"


@pytest.mark.judge
@LANES
def test_error(caller: Caller, lane: str) -> None:
    """A frame that is an error by its message type has the code and message of its headers (fact 14)."""
    seen = caller.see(lane, "error code=Whatever message=oh after=2")
    assert isinstance(seen.error, EventStreamError)
    assert seen.error.response["Error"] == {"Code": "Whatever", "Message": "oh"}
    assert len(seen.events) == 2


@pytest.mark.judge
@LANES
def test_stall(caller: Caller, lane: str) -> None:
    """Silence passes or it does not: then it is urllib3's read timeout (fact 16)."""
    passing = caller.see(lane, "stall after=4 seconds=0.4")
    assert passing.error is None
    assert 0.3 < passing.times[4] - passing.times[3] < READ_TIMEOUT
    lasting = caller.see(lane, "stall after=4")
    assert isinstance(lasting.error, StreamReadTimeoutError)
    assert len(lasting.events) == 4


@pytest.mark.judge
@LANES
def test_trickle(caller: Caller, lane: str) -> None:
    """A frame that takes longer than the read timeout is no silence, since its bytes keep coming."""
    seen = caller.see(lane, "trickle after=3 seconds=0.01")
    assert seen.error is None
    assert seen.times[3] - seen.times[2] > READ_TIMEOUT
    assert seen.text.endswith("🛶")


@pytest.mark.judge
@LANES
def test_trickle_and_split(caller: Caller, lane: str) -> None:
    """Faults of the transport go together: part of a frame comes, and then nothing, which is silence (fact 16)."""
    seen = caller.see(lane, "trickle after=3 seconds=1000; split size=60")
    assert isinstance(seen.error, StreamReadTimeoutError)
    assert len(seen.events) == 3


@pytest.mark.judge
@LANES
@pytest.mark.parametrize(("place", "count"), [("after=6", 6), ("after=0", 0), ("byte=10", 0)])
def test_cut(bedrock: Bedrock, caller: Caller, lane: str, place: str, count: int) -> None:
    """A connection that is closed before the end of the answer is a `ProtocolError` (fact 16)."""
    seen = caller.see(lane, f"cut {place}")
    assert isinstance(seen.error, ProtocolError)
    assert len(seen.events) == count
    assert bedrock.calls[-1].performance.ending == "cut"


@pytest.mark.judge
@LANES
@pytest.mark.parametrize("count", [0, 6])
def test_reset(bedrock: Bedrock, caller: Caller, lane: str, count: int) -> None:
    """A reset is a `ProtocolError`, too; the time before it saves what was sent last."""
    seen = caller.see(lane, f"stall after={count} seconds=0.3; reset after={count}")
    assert isinstance(seen.error, ProtocolError)
    assert len(seen.events) == count
    assert bedrock.calls[-1].performance.ending == "reset"


@pytest.mark.judge
@LANES
@pytest.mark.parametrize(("place", "count"), [("after=6", 6), ("after=0", 0), ("byte=10", 0)])
def test_end(caller: Caller, lane: str, place: str, count: int) -> None:
    """A clean end that is too early, within a frame or not, goes unnoticed (fact 15)."""
    seen = caller.see(lane, f"end {place}")
    assert (seen.error, len(seen.events)) == (None, count)


@pytest.mark.judge
@LANES
@pytest.mark.parametrize("byte", [-5, -1, 2, 9, 20])
def test_corrupt(caller: Caller, lane: str, byte: int) -> None:
    """A flipped byte, in payload, lengths, headers or either checksum, is a `ChecksumMismatch` (fact 16)."""
    seen = caller.see(lane, f"corrupt after=4 byte={byte}")
    assert isinstance(seen.error, ChecksumMismatch)
    assert len(seen.events) == 4


@pytest.mark.judge
@LANES
@pytest.mark.parametrize("script", ["split size=1", "split size=100", "join", "split; join"])
def test_split_and_join(bedrock: Bedrock, caller: Caller, lane: str, script: str) -> None:
    """However the transport cuts it, a stream is the same (fact 62)."""
    seen = caller.see(lane, script)
    assert seen.error is None
    assert seen.text == caller.see(lane, NOTHING).text
    sizes = [sent.size for sent in bedrock.calls[-2].performance.sent]
    assert len(sizes) == 1 if "join" in script else max(sizes) <= int(script.split("=")[1])


@pytest.mark.judge
@LANES
def test_a_malformed_script_is_a_validation_exception(caller: Caller, lane: str) -> None:
    """What is wrong with a script is said as Bedrock says what is wrong with a request."""
    with pytest.raises(ClientError, match=r"fault cut, after; expected .*; got 'x'") as raised:
        caller.see(lane, "cut after=x")
    assert code_of(raised.value) == "ValidationException"


@pytest.fixture(scope="module")
def function() -> Iterator[LocalFunction]:
    with LocalFunction(pace=IMMEDIATE) as function:
        yield function


@pytest.mark.parametrize(
    ("script", "last"),
    [
        ("exception name=throttlingException after=3", ("error", "throttling")),
        ("cut after=3", ("error", "connection_lost")),
        ("end after=3", ("error", "truncated")),
        ("corrupt after=3", ("error", "corrupt")),
        ("unknown_stop", ("done", None)),
    ],
)
def test_faults_work_through_the_function(
    function: LocalFunction, script: str, last: tuple[str, str | None]
) -> None:
    """A fault in the prompt reaches the stand-in behind the function, and what it does comes back typed."""
    events = ask(function.url, body={"prompt": f"Why stream? [fault: {script}]"}).objects
    assert (events[-1]["type"], events[-1].get("code")) == last
    assert events[1]["text"] == "A"


def test_the_guides_commands_work(function: LocalFunction) -> None:
    """Every curl line of docs/faults.md prints what the guide shows."""
    blocks = re.findall(
        r"^```console\n(\$ curl .*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL
    )
    examples = re.findall(
        r"^\$ (.*)\n((?:[^$].*\n)+)", "".join(blocks).replace("\\\n", ""), re.MULTILINE
    )
    assert len(examples) > 3
    for command, shown in examples:
        here = command.replace("http://127.0.0.1:8080", function.url)
        done = subprocess.run(f"{here} -s", shell=True, capture_output=True, check=False)
        assert done.stdout.decode().strip() == shown.strip(), command


@pytest.mark.judge
def test_the_guides_code_works(bedrock: Bedrock, capsys: pytest.CaptureFixture[str]) -> None:
    """The Python of docs/faults.md prints what the guide says."""
    pattern = r"^```python\n(.*?)^```\n\n```\n(.*?)^```"
    ((code, printed),) = re.findall(pattern, GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    exec(code.replace("http://127.0.0.1:8081", bedrock.url), {})
    assert capsys.readouterr().out == printed
