"""The real function at home: `python -m local run` and `serve`, and the time that a token takes."""

from __future__ import annotations

import json
import os
import re
import signal
import socket  # noqa: TID251  # takes a port
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from local.fault_script import listing
from local.function import LocalFunction
from local.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[2]
FAST = ("--time-to-first-token", "0.3", "--tokens-per-second", "500")


_WITH_CTRL_C = (
    "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "runpy.run_module('local', run_name='__main__', alter_sys=True)"
)


@contextmanager
def local(
    *arguments: str, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run a command, and end it with the block, which may have failed."""
    with subprocess.Popen(
        # As from a terminal: what runs in a shell's background inherits that Ctrl-C is ignored.
        [sys.executable, "-c", _WITH_CTRL_C, *arguments],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def test_run_streams_an_answer_and_tells_its_times() -> None:
    """`run` prints the answer while it comes, then when its pieces came, and exits 0."""
    with local("run", "--prompt", "How does a token travel?", *FAST) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "> How does a token travel?\n"
        seen = [(time.monotonic(), piece) for piece in iter(lambda: process.stdout.read(20), "")]  # type: ignore[union-attr]
        assert process.wait(10) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""
    text = "".join(piece for _, piece in seen)
    assert "Follow one token." in text
    assert seen[-1][0] - seen[0][0] > 0.3
    found = re.search(r"(\d+) pieces: the first after ([\d.]+) s, the last after ([\d.]+) s", text)
    assert found is not None
    assert int(found[1]) > 200
    assert 0.3 <= float(found[2]) < 1.5
    assert float(found[3]) > float(found[2]) + 0.3
    assert f"would have made you wait {found[3]} s" in text


def test_run_says_what_went_wrong() -> None:
    """When the answer is an error, `run` prints it with the function's log and exits 1."""
    with local("run", "--prompt", "x", "--model", "no such model", *FAST) as process:
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "failed: 400" in errors
    assert "the function's log:" in errors


def test_run_says_why_the_function_does_not_start() -> None:
    """When the function cannot start, `run` says why and exits 1."""
    with local("run", "--model", ",", *FAST) as process:
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "the function did not start" in errors
    assert "RIVULET_MODEL_IDS" in errors


def test_run_talks_to_the_real_bedrock_when_told_to() -> None:
    """With --real there is no stand-in: the function calls what the user's own AWS environment names, and says so."""
    mine = {
        "AWS_ACCESS_KEY_ID": "mine",
        "AWS_SECRET_ACCESS_KEY": "mine",
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": "http://127.0.0.1:1",
        "AWS_REGION": "eu-west-3",
    }
    with local("run", "--real", "--prompt", "x", environment=mine) as process:
        output, errors = process.communicate(timeout=30)
    assert output.startswith(
        "With the real Bedrock in eu-west-3, on your AWS credentials: tokens cost money."
    )
    assert process.returncode == 1
    assert "failed: 502 connect_failed" in errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_stays_up_until_it_is_ended(number: signal.Signals) -> None:
    """`serve` prints lines to try that work, and ends with its processes on Ctrl-C and on SIGTERM."""
    with local("serve", "--port", "0", *FAST) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[5]
        lines = "".join(process.stdout.readline() for _ in range(29)).replace("\\\n", "")
        commands = re.findall(r"^ *(curl .*)$", lines, re.MULTILINE)
        assert len(commands) == 7
        for command in commands:
            done = subprocess.run(
                f"{command} -sf", shell=True, capture_output=True, check=False, timeout=20
            )
            # 18: what goes wrong breaks the answer off, and curl tells it.
            assert done.returncode == (18 if "[fault:" in command else 0), command
            assert done.stdout, command
        found = re.search(r"endpoint (\S+), faults in the header x-rivulet-faults", lines)
        assert found is not None
        assert httpx.get(found[1]).status_code == 404
        children = subprocess.run(
            ["pgrep", "-P", str(process.pid)], capture_output=True, check=True
        ).stdout.split()
        process.send_signal(number)
        assert process.wait(10) == (143 if number == signal.SIGTERM else 130)
    assert len(children) >= 2
    assert not any(Path("/proc", child.decode()).exists() for child in children)
    assert httpx.URL(url).port != 0


def test_faults_lists_all_that_can_go_wrong() -> None:
    """`faults` prints each fault with its arguments and what it does."""
    with local("faults") as process:
        output, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")
    assert output == f"{listing()}\n"


def test_serve_says_that_its_port_is_taken() -> None:
    """A port that something else listens on is a clear message, not a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with local("serve", "--port", str(port)) as process:
            _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert (
        errors == f"port {port} is taken: end what listens there, or choose another with --port\n"
    )


@pytest.mark.parametrize(
    ("accept", "begins"), [("text/event-stream", b"data:"), ("application/x-ndjson", b"{")]
)
def test_a_token_takes_less_than_two_milliseconds(accept: str, begins: bytes) -> None:
    """From Bedrock's send to the caller's receipt, each token on its own: under 2 ms at the median."""
    with LocalFunction(pace=Pace(0.1, 40)) as function:
        request = {"prompt": "Why do streams feel faster?", "inferenceConfig": {"maxTokens": 60}}
        with httpx.stream(
            "POST", f"{function.url}/stream", json=request, headers={"accept": accept}
        ) as response:
            received = [(time.monotonic(), piece) for piece in response.iter_raw()]
    texts = [
        (at, piece)
        for at, piece in received
        if piece.startswith(begins) and b'"type":"text"' in piece
    ]
    assert len(texts) == 60
    # The first frame is the start of the message, the next ones are the tokens.
    sent = function.bedrock.calls[-1].performance.sent[1:61]
    ways = [at - one.at for (at, _), one in zip(texts, sent, strict=True)]
    print(f"median {statistics.median(ways) * 1000:.2f} ms, longest {max(ways) * 1000:.2f} ms")
    assert statistics.median(ways) < 0.002


def test_the_stand_in_counts_what_the_caller_is_told() -> None:
    """The usage in `done` is the stand-in's own, and the text is whole."""
    with LocalFunction(pace=Pace(0, 5000)) as function:
        response = httpx.post(
            f"{function.url}/stream", json={"prompt": "Why do streams feel faster?"}
        )
    events = [
        json.loads(line[5:]) for line in response.text.splitlines() if line.startswith("data:")
    ]
    texts = [event["text"] for event in events if event["type"] == "text"]
    assert "".join(texts).endswith("in the boat. 🛶")
    assert events[-1]["type"] == "done"
    assert events[-1]["usage"]["outputTokens"] == len(texts)
