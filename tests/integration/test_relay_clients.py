"""Clients that are not ours, at the function URL of the real process: boto3, curl, and a stopwatch."""

# ruff: noqa: TID251  # boto3 is the judge, and a bare socket has the clock

from __future__ import annotations

import json
import os
import shutil
import socket
import statistics
import subprocess
import time
from contextlib import closing
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError

from local.function import LocalFunction
from tests.caller import ask
from tests.frames import (
    LAST_CHUNK,
    MESSAGE_START,
    MESSAGE_STOP,
    METADATA,
    chunk,
    delta,
    event,
    exception,
    unmodelled_error,
)
from tests.upstream import CHUNKED_HEAD, END, Upstream, fin, http_chunk, refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

MODEL = "anthropic.claude-3-haiku-20240307-v1:0"
PROFILE = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"
TOKENS = 30
TOKENS_PER_SECOND = 20


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def function(upstream: Upstream) -> Iterator[LocalFunction]:
    environment = {
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": upstream.url,
        "RIVULET_MAX_ATTEMPTS": "1",
        "RIVULET_MODEL_IDS": f"{MODEL},{PROFILE}",
    }
    with LocalFunction(environment=environment) as function:
        yield function


@pytest.fixture
def client(function: LocalFunction) -> Iterator[Any]:
    """A client of Bedrock's, whose only difference is the endpoint."""
    client = boto3.client(
        "bedrock-runtime",
        endpoint_url=function.url,
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
        config=Config(retries={"total_max_attempts": 1}),
    )
    yield client
    client.close()


def _answer(upstream: Upstream, *frames: bytes, end: bytes = END) -> None:
    wire = CHUNKED_HEAD + b"".join(map(http_chunk, frames)) + end

    def answer(connection: socket.socket) -> bool:
        connection.sendall(wire)
        return bool(end) or fin(connection)

    upstream.answer = answer


@pytest.mark.xdist_group("relay clients")
@pytest.mark.parametrize("model", [MODEL, PROFILE])
def test_boto3_gets_every_chunk(upstream: Upstream, client: Any, model: str) -> None:
    """With the function URL as its endpoint, boto3 gets what Bedrock sent, and Bedrock what boto3 sent."""
    _answer(
        upstream, chunk({"a": "Grüße"}, p="ab"), event("newEvent", {}), chunk(b"\x00"), LAST_CHUNK
    )
    body = '{ "messages": [],\n"x": 1.0 }'
    answer = client.invoke_model_with_response_stream(
        modelId=model, body=body, trace="ENABLED", guardrailIdentifier="abc", guardrailVersion="1"
    )
    assert answer["contentType"] == "application/json"
    first, second, last = [e["chunk"]["bytes"] for e in answer["body"]]
    assert (first, second) == ('{"a": "Grüße"}'.encode(), b"\x00")
    assert json.loads(last)["amazon-bedrock-invocationMetrics"]["outputTokenCount"] == 5
    request = upstream.requests[-1]
    head, _, sent = request.partition(b"\r\n\r\n")
    assert sent.decode() == body
    for header in (b"X-Amzn-Bedrock-Trace: ENABLED", b"X-Amzn-Bedrock-GuardrailIdentifier: abc"):
        assert header in head


@pytest.mark.xdist_group("relay clients")
@pytest.mark.parametrize(
    ("end", "code", "message"),
    [
        (
            exception("throttlingException", {"message": "Slow down."}),
            "throttlingException",
            "Slow",
        ),
        (exception("modelTimeoutException", {"message": "Late."}), "modelTimeoutException", "Late"),
        (unmodelled_error("InternalFailure", "It broke."), "InternalFailure", "It broke"),
        (LAST_CHUNK[:-5], "modelStreamErrorException", "connection to Bedrock broke"),
        (LAST_CHUNK[:-5] + b"12345", "modelStreamErrorException", "damaged on the way"),
    ],
    ids=["throttling", "timeout", "error", "cut", "damaged"],
)
def test_a_failure_in_mid_stream_is_boto3s_exception(
    upstream: Upstream, client: Any, end: bytes, code: str, message: str
) -> None:
    """After the chunks that came, boto3 raises: Bedrock's own exception, or one that says what the way did."""
    _answer(upstream, chunk({"a": 1}), end, end=b"")
    stream = client.invoke_model_with_response_stream(modelId=MODEL, body="{}")["body"]
    with closing(stream):
        events = iter(stream)
        assert next(events)["chunk"]["bytes"] == b'{"a": 1}'
        with pytest.raises(EventStreamError) as caught:
            next(events)
    error = caught.value.response["Error"]
    assert error["Code"] == code
    assert message in error["Message"]


@pytest.mark.xdist_group("relay clients")
@pytest.mark.parametrize(
    ("status", "name"),
    [
        (429, "ThrottlingException"),
        (403, "AccessDeniedException"),
        (404, "ResourceNotFoundException"),
        (400, "ValidationException"),
        (408, "ModelTimeoutException"),
        (424, "ModelErrorException"),
        (500, "InternalServerException"),
        (503, "ServiceUnavailableException"),
    ],
)
def test_a_refusal_is_boto3s_exception(
    upstream: Upstream, client: Any, status: int, name: str
) -> None:
    """A refusal keeps its class: callers that catch it by its name go on to do so."""
    data = refusal(status, name, "no")

    def answer(connection: socket.socket) -> bool:
        connection.sendall(data)
        return True

    upstream.answer = answer
    with pytest.raises(getattr(client.exceptions, name)) as caught:
        client.invoke_model_with_response_stream(modelId=MODEL, body="{}")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


@pytest.mark.xdist_group("relay clients")
@pytest.mark.parametrize(
    ("model", "body", "status", "exception"),
    [
        ("other.model", "{}", 404, "ResourceNotFoundException"),
        (MODEL, "no JSON", 400, "ValidationException"),
    ],
)
def test_a_bad_request_is_boto3s_error(
    client: Any, model: str, body: str, status: int, exception: str
) -> None:
    """What the relay refuses itself is the exception that boto3 has for it, with status and message."""
    with pytest.raises(ClientError) as caught:
        client.invoke_model_with_response_stream(modelId=model, body=body)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert caught.value.response["Error"]["Code"] == exception
    assert "expected" in caught.value.response["Error"]["Message"]


@pytest.mark.xdist_group("relay clients")
def test_boto3_signs_for_lambda(upstream: Upstream, function: LocalFunction) -> None:
    """The hook in the README lets boto3 sign for Lambda, as the URL asks, and the answer stays the same."""
    scopes: list[str] = []

    def sign_for_lambda(context: dict[str, Any], **_: Any) -> None:
        context.setdefault("signing", {})["signing_name"] = "lambda"

    client = boto3.client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=function.url,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    client.meta.events.register("choose-signer.bedrock-runtime", sign_for_lambda)
    client.meta.events.register(
        "before-send.bedrock-runtime",
        lambda request, **_: scopes.append(str(request.headers["Authorization"])),
    )
    _answer(upstream, LAST_CHUNK)
    events = list(client.invoke_model_with_response_stream(modelId=MODEL, body="{}")["body"])
    client.close()
    assert len(events) == 1
    assert "/us-east-1/lambda/aws4_request" in scopes[0]


class Metronome:
    """An upstream's answer, one token at a time at a steady pace; it notes when each was sent."""

    def __init__(self, tokens: int, tokens_per_second: float) -> None:
        self.sent: list[float] = []
        self._tokens = tokens
        self._pause = 1 / tokens_per_second

    def __call__(self, connection: socket.socket) -> bool:
        connection.sendall(CHUNKED_HEAD + http_chunk(MESSAGE_START))
        due = time.monotonic()
        for token in range(self._tokens):
            due += self._pause
            time.sleep(max(0, due - time.monotonic()))
            frame = http_chunk(delta(text=f"{token:02} "))
            self.sent.append(time.monotonic())
            connection.sendall(frame)
        time.sleep(self._pause)
        connection.sendall(http_chunk(MESSAGE_STOP) + http_chunk(METADATA) + END)
        return True


def _told(name: str, delays: list[float]) -> None:
    slowest = sorted(delays)[-2]
    print(
        f"\n{name}: {len(delays)} tokens at {TOKENS_PER_SECOND}/s, from Bedrock's send to the caller's receipt: "
        f"median {statistics.median(delays) * 1000:.2f} ms, "
        f"second slowest {slowest * 1000:.2f} ms"
    )


@pytest.mark.xdist_group("relay clients")
def test_tokens_arrive_one_by_one(upstream: Upstream, function: LocalFunction) -> None:
    """At 20 tokens a second each comes on its own, long before the next one is sent."""
    ask(function.url, "/health", method="GET")
    metronome = Metronome(TOKENS, TOKENS_PER_SECOND)
    upstream.answer = metronome
    address = urlsplit(function.url)
    received: list[float] = []
    alone = 0
    with socket.create_connection((address.hostname, address.port)) as caller:
        caller.sendall(
            b"POST /stream HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b'Content-Length: 15\r\n\r\n{"prompt":"hi"}'
        )
        while b'"done"' not in (piece := caller.recv(65536)):
            count = piece.count(b'"text","index"')
            alone += count == 1
            received += [time.monotonic()] * count
    # Each on its own, but where a busy machine has let this reader sleep.
    assert alone >= 0.8 * TOKENS
    delays = [got - sent for sent, got in zip(metronome.sent, received, strict=True)]
    _told("a bare socket", delays)
    assert statistics.median(delays) < 0.2 / TOKENS_PER_SECOND


@pytest.mark.judge
@pytest.mark.xdist_group("relay clients")
def test_curl_shows_tokens_as_they_come(upstream: Upstream, function: LocalFunction) -> None:
    """``curl -N`` writes each token when it comes, not in lumps."""
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    metronome = Metronome(TOKENS, TOKENS_PER_SECOND)
    upstream.answer = metronome
    body = '{"prompt":"hi"}'
    command = [curl, "-sSN", f"{function.url}/stream", "--json", body, "-H", "accept: text/plain"]
    received: list[tuple[float, bytes]] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while piece := os.read(process.stdout.fileno(), 65536):
            received.append((time.monotonic(), piece))
    assert process.returncode == 0
    assert b"".join(piece for _, piece in received).decode().split() == [
        f"{n:02}" for n in range(TOKENS)
    ]
    # Each on its own, but where a busy machine has let this reader sleep.
    assert len(received) >= 0.8 * TOKENS
    came = [at for at, piece in received for _ in piece.split()]
    delays = [got - sent for sent, got in zip(metronome.sent, came, strict=True)]
    _told("curl -N", delays)
    assert statistics.median(delays) < 0.2 / TOKENS_PER_SECOND
    gaps = [b - a for (a, _), (b, _) in pairwise(received)]
    assert statistics.median(gaps) == pytest.approx(1 / TOKENS_PER_SECOND, rel=0.2)
