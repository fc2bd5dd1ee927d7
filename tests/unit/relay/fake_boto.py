"""boto3's side of ``relay.bedrock``, for its tests: what a call returns, and what its frames are read from."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from relay import formats
from relay.errors import transport_error
from relay.model_call import ModelCall
from relay.settings import Settings
from relay.watchdog import Interrupt, Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from relay.bedrock import Bedrock
    from relay.eventstream import Frame

SECRET = "https://bedrock.internal arn:aws:iam::123456789012:role/secret"
SETTINGS = Settings.from_environment(
    {
        "RIVULET_MODEL_IDS": "m",
        "RIVULET_MAX_ATTEMPTS": "2",
        "RIVULET_CONNECT_TIMEOUT": "1.5",
        "RIVULET_READ_TIMEOUT": "60",
    }
)
CALLS = {
    "ConverseStream": ("converse_stream", "stream"),
    "InvokeModelWithResponseStream": ("invoke_model_with_response_stream", "body"),
}


def a_call(operation: str = "ConverseStream") -> ModelCall:
    return ModelCall(
        route="/stream",
        operation=operation,
        model="m",
        parameters={"modelId": "m"},
        format=formats.SSE,
    )


class Raw:
    """A response of urllib3's: pieces, what is done in between, then an end or an exception."""

    def __init__(self, *pieces: bytes | BaseException | Callable[[], None]) -> None:
        self._pieces = iter(pieces)

    def read1(self, _size: int) -> bytes:
        for piece in self._pieces:
            if isinstance(piece, bytes):
                return piece
            if isinstance(piece, BaseException):
                raise piece
            piece()
        return b""


class EventStream:
    """boto3's event stream, as far as it is used."""

    def __init__(self, raw: Raw, *, fails: bool = False) -> None:
        self._raw_stream = raw
        self._fails = fails
        self.closed = 0

    def close(self) -> None:
        self.closed += 1
        if self._fails:
            raise OSError(SECRET)


def answers(bedrock: Bedrock, monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    """Let every call return, raise or do this."""

    def method(**parameters: Any) -> Any:
        assert parameters == {"modelId": "m"}
        if isinstance(answer, BaseException):
            raise answer
        return answer() if callable(answer) else answer

    if isinstance(answer, dict):
        answer.setdefault("ResponseMetadata", {})
    methods = {name: method for name, _ in CALLS.values()}
    monkeypatch.setattr(bedrock, "_client", SimpleNamespace(**methods))


INTERRUPTED = transport_error("read_timeout")


class Noting(Watchdog):
    """A watchdog that notes what it is told, and interrupts where it is told to."""

    def __init__(self, interrupt_at: int = -1) -> None:
        super().__init__(deadline=math.inf, read_timeout=math.inf)
        self.noted: list[str] = []
        self._interrupt_at = interrupt_at

    def _note(self, name: str) -> None:
        self.noted.append(name)
        if len(self.noted) == self._interrupt_at:
            raise Interrupt(INTERRUPTED)

    def ask(self) -> None:
        self._note("ask")

    def listen(self) -> None:
        self._note("listen")

    def wait(self) -> None:
        self._note("wait")

    def rest(self) -> None:
        self._note("rest")

    def hear(self) -> None:
        self._note("hear")


def read(
    bedrock: Bedrock, operation: str = "ConverseStream", watchdog: Watchdog | None = None
) -> list[Frame]:
    with bedrock.stream(a_call(operation), watchdog or Noting()) as answer:
        return list(answer.frames)
