"""boto3, asking a stand-in for Bedrock with a script of faults, and what it sees of the answer."""

from __future__ import annotations

import json
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import boto3  # noqa: TID251  # the judge
import pytest
from botocore.config import Config  # noqa: TID251  # the judge

from local.configuration import FunctionConfiguration
from local.function import LocalFunction
from local.pace import IMMEDIATE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.bedrock import Bedrock

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
NOVA = "amazon.nova-lite-v1:0"
ASK = [{"role": "user", "content": [{"text": "Why stream?"}]}]
BODIES = {
    CLAUDE: {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 900,
        "messages": [{"role": "user", "content": "Why stream?"}],
    },
    NOVA: {"messages": ASK},
}
READ_TIMEOUT = 1.0
NOTHING = "delay seconds=0"
LANES = pytest.mark.parametrize("lane", ["converse", "anthropic", "nova"])


@dataclass(slots=True)
class Seen:
    """What boto3 sees of a stream.

    Attributes:
        events: all that it yields; of an invoke stream the documents.
        times: when it yielded each.
        error: what it raises in the end, if anything.
    """

    events: list[dict[str, Any]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    error: Exception | None = None

    @property
    def deltas(self) -> list[dict[str, Any]]:
        """The pieces of blocks."""
        bodies = [event.get("contentBlockDelta", event) for event in self.events]
        return [body["delta"] for body in bodies if "delta" in body]

    @property
    def text(self) -> str:
        """The text that was said."""
        return "".join(delta.get("text", "") for delta in self.deltas)

    @property
    def names(self) -> list[str]:
        """What the events are called in their schema."""
        return [event.get("type") or next(iter(event)) for event in self.events]


class Caller:
    """boto3, asking a stand-in with a script of faults in the header."""

    def __init__(self, url: str, attempts: int = 1) -> None:
        self.script = ""
        retries = {"total_max_attempts": attempts, "mode": "standard"}
        self.client = boto3.client(
            "bedrock-runtime",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="a",
            aws_secret_access_key="b",
            config=Config(retries=retries, read_timeout=READ_TIMEOUT),
        )
        self.client.meta.events.register("before-call.bedrock-runtime", self._add_header)

    def _add_header(self, params: dict[str, Any], **_: Any) -> None:
        params["headers"]["x-rivulet-faults"] = self.script

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    def see(self, lane: str, script: str) -> Seen:
        """Ask in a lane and read to the end, whatever that is; raises what the call raises."""
        self.script = script
        if lane == "converse":
            stream = self.client.converse_stream(modelId=CLAUDE, messages=ASK)["stream"]
        else:
            model_id = CLAUDE if lane == "anthropic" else NOVA
            body = json.dumps(BODIES[model_id])
            invoke = self.client.invoke_model_with_response_stream
            stream = invoke(modelId=model_id, body=body)["body"]
        seen = Seen()
        with closing(stream):
            try:
                for event in stream:
                    seen.times.append(time.monotonic())
                    chunk = event.get("chunk")
                    seen.events.append(json.loads(chunk["bytes"]) if chunk else event)
            except Exception as error:  # noqa: BLE001  # what it is, is what is looked at
                seen.error = error
        return seen


@contextmanager
def stand_in() -> Iterator[Bedrock]:
    """Give a stand-in without a function."""
    configuration = FunctionConfiguration(provisioned_concurrency=0)
    with LocalFunction(configuration, pace=IMMEDIATE) as function:
        yield function.bedrock
