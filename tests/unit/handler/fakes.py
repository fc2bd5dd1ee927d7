"""What is around the function: Bedrock before it, the response behind it, Lambda's events and context."""

from __future__ import annotations

import json
import math
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import botocore.session  # noqa: TID251  # the shapes are botocore's
import pytest

from relay.bedrock import Answer, _frames
from relay.watchdog import Interrupt
from streaming_runtime import ResponseClosed
from tests.frames import MESSAGE_START, MESSAGE_STOP, METADATA, delta
from tests.unit.relay.fake_boto import Raw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from relay.model_call import ModelCall
    from relay.shapes import Shape
    from relay.watchdog import Watchdog

MODEL = "anthropic.claude-3-haiku-20240307-v1:0"
INVOKE_PATH = f"/model/{MODEL}/invoke-with-response-stream"
SECRET = "arn:aws:iam::123456789012:role/secret"
WHOLE = (MESSAGE_START, delta(text="Grüße"), MESSAGE_STOP, METADATA)
PATIENCE = 20.0


class OurBug(Exception):
    """An exception that nobody expected, with words that nobody should read."""

    def __init__(self) -> None:
        super().__init__(SECRET)


class Context:
    """Lambda's context; no time left at all is an emulator's way to say that there is no deadline."""

    aws_request_id = "the-request"
    function_name = "f"
    function_version = "1"
    memory_limit_in_mb = 256
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:f"

    def __init__(self, seconds_left: float = 0.0) -> None:
        self._milliseconds_left = round(seconds_left * 1000)

    def get_remaining_time_in_millis(self) -> int:
        return self._milliseconds_left


class Bedrock:
    """A Bedrock of frames, of things done in between, and of exceptions.

    Args:
        data: what its stream is made of.
        before: what is done before it answers the call.
        refuses: what it answers the call with instead.
        others: those that answer for other models.
    """

    def __init__(
        self,
        *data: bytes | Exception | Callable[[], None],
        before: Callable[[], None] = lambda: None,
        refuses: Exception | None = None,
        others: Mapping[str, Bedrock] | None = None,
    ) -> None:
        self.open = 0
        self.asked: list[ModelCall] = []
        self._data = data
        self._before = before
        self._refuses = refuses
        self._others = others or {}

    def input_shape(self, operation: str) -> Shape:
        model = botocore.session.get_session().get_service_model("bedrock-runtime")
        shape: Shape = model.operation_model(operation).input_shape
        return shape

    @contextmanager
    def stream(self, call: ModelCall, watchdog: Watchdog) -> Iterator[Answer]:
        self.asked.append(call)
        other = self._others.get(call.model)
        if other is not None:
            with other.stream(call, watchdog) as answer:
                yield answer
            return
        self._answer(watchdog)
        self.open += 1
        try:
            yield Answer(_frames(Raw(*self._data), watchdog), "bedrock-request", 2)
        finally:
            self.open -= 1

    def _answer(self, watchdog: Watchdog) -> None:
        try:
            watchdog.ask()
            self._before()
        except Interrupt as interrupt:
            raise interrupt.error from None
        finally:
            watchdog.rest()
        if self._refuses:
            raise self._refuses


class Body:
    """A streamed body; nobody reads on after some pieces, if so told."""

    streams = True

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.pieces: list[bytes] = []
        self.failures: list[tuple[str, str]] = []
        self.takes = math.inf
        self.refusal: Exception = ResponseClosed(400)

    def start(self, status: int, headers: Mapping[str, str], _cookies: Sequence[str]) -> None:
        self.status, self.headers = status, dict(headers)

    def send(self, data: bytes) -> None:
        if len(self.pieces) >= self.takes:
            raise self.refusal
        self.pieces.append(data)

    def fail(self, error_type: str, message: str) -> None:
        self.failures.append((error_type, message))

    def open_response(self, *, over_http: bool) -> Body:  # noqa: ARG002  # the same to it
        return self

    @property
    def objects(self) -> list[Any]:
        """The objects of an NDJSON answer, or the one of a JSON answer."""
        return [json.loads(line) for line in b"".join(self.pieces).splitlines()]

    @property
    def types(self) -> list[str]:
        """What the objects of an NDJSON answer are."""
        return [said["type"] for said in self.objects]


def a_request(
    path: str = "/stream", accept: str = "application/x-ndjson", **http: str
) -> dict[str, Any]:
    """Return a function URL's event."""
    return {
        "rawPath": path,
        "headers": {"accept": accept},
        "requestContext": {"http": {"method": "POST", **http}},
        "body": '{"prompt":"my private prompt"}',
    }


def until(condition: Callable[[], bool]) -> Callable[[], None]:
    """Return what blocks, as a read does, until something has come; the test fails where it has been in vain."""

    def wait() -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end:
                pytest.fail("waited in vain")
            time.sleep(0.005)

    return wait


forever = until(lambda: False)


def record(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Return the one structured record that was written."""
    written = capsys.readouterr().out
    lines = [json.loads(line) for line in written.splitlines()]
    (found,) = (line for line in lines if line.get("message") in {"stream", "request"})
    assert "private" not in written
    assert "123456789012:role" not in written
    assert isinstance(found, dict)
    return found
