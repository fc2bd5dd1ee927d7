"""The real function at home: `python -m local run` and `serve`, and the time that a token takes."""

from __future__ import annotations

import errno
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
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from local.__main__ import main
from local.fault_script import listing
from local.function import MODEL_IDS, LocalFunction
from local.function_url import FunctionUrl
from local.pace import IMMEDIATE, Pace

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
        lines = "".join(process.stdout.readline() for _ in range(31)).replace("\\\n", "")
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
        (client,) = re.findall(r"boto3\.client\(.*?\)", lines, re.DOTALL)
        assert _converse_at_home(client)["stopReason"] == "max_tokens"
        children = subprocess.run(
            ["pgrep", "-P", str(process.pid)], capture_output=True, check=True
        ).stdout.split()
        process.send_signal(number)
        assert process.wait(10) == (143 if number == signal.SIGTERM else 130)
    assert len(children) >= 2
    assert not any(Path("/proc", child.decode()).exists() for child in children)
    assert httpx.URL(url).port != 0


def _converse_at_home(client: str) -> dict[str, Any]:
    """Ask with a client as somebody has written it who has nothing of AWS on their machine."""
    messages = [{"role": "user", "content": [{"text": "Why?"}]}]
    asked = {"messages": messages, "inferenceConfig": {"maxTokens": 5}}
    program = (
        f"import boto3, json\nprint(json.dumps({client}.converse(modelId='gpt-4o', **{asked})))"
    )
    nothing = {
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")} | nothing
    said = subprocess.check_output([sys.executable, "-c", program], env=environment, timeout=30)
    answer: dict[str, Any] = json.loads(said)
    return answer


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
    assert errors == (
        f"port {port} is taken: end what listens there, or choose another with --port (PORT= of make)\n"
    )


@pytest.mark.parametrize("port", ["80800", "-1", "http", "9" * 30])
def test_serve_says_that_a_port_is_none(port: str) -> None:
    """So is a number that no port has."""
    with local("serve", f"--port={port}") as process:
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert (
        errors == f"port {port} is none: choose one from 0 to 65535 with --port (PORT= of make)\n"
    )


def test_serve_says_that_a_port_is_not_for_everybody(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """So is one that the system keeps for itself. (Who runs this may be root, whom it lets.)"""

    async def keep(*_: object) -> None:
        raise OSError(errno.EACCES, "error while attempting to bind on address")

    monkeypatch.setattr(FunctionUrl, "start", keep)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert main(["serve", "--port", "80"]) == 1
    assert capsys.readouterr().err == (
        "port 80 is for the system's own services: choose one from 1024 on "
        "with --port (PORT= of make)\n"
    )


@pytest.mark.parametrize(
    ("command", "read"), [(("faults",), 0), (("run", *FAST), 0), (("run", *FAST), 70)]
)
def test_a_reader_who_has_seen_enough_is_no_failure_to_tell(
    command: tuple[str, ...], read: int
) -> None:
    """Where what is printed is piped to one that ends early, as `head` does, nothing is said of it."""
    with local(*command) as process:
        assert process.stdout is not None
        seen = b""
        while len(seen) < read:
            seen += os.read(process.stdout.fileno(), read - len(seen))
        process.stdout.close()
        assert process.wait(20) == 1
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_serve_goes_on_when_nobody_reads_its_log() -> None:
    """It serves whoever reads, and ends as it does otherwise."""
    with local("serve", "--port", "0", *FAST) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[5]
        process.stdout.close()
        for _ in range(2):
            assert httpx.post(f"{url}/stream", json={"prompt": "Why?"}).text.count('"done"') == 1
        process.terminate()
        assert process.wait(10) == 143
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_the_models_that_the_readme_names_are_there() -> None:
    """Its clients get their answers at home: from one model or another, as they are named."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    names = re.findall(r'model="([\w.-]+)"', readme)
    asked: dict[str, Any] = {
        "max_tokens": 5,
        "messages": [{"role": "user", "content": "Why?"}],
    }
    with LocalFunction(pace=IMMEDIATE) as function:
        answers = [
            httpx.post(f"{function.url}{path}", json={**asked, "model": name}).json()
            for name, path in zip(names, ("/v1/chat/completions", "/v1/messages"), strict=True)
        ]
    assert [answer["model"] for answer in answers] == [
        MODEL_IDS[2],
        MODEL_IDS[0].removeprefix("us.anthropic."),  # in its own words
    ]


@pytest.mark.parametrize(
    ("arguments", "environment", "listed"),
    [
        ({"model_ids": MODEL_IDS[1:]}, {}, ["gpt-4o", *MODEL_IDS[1:]]),
        ({"model_ids": ("a.model",)}, {}, ["a.model"]),
        ({}, {"RIVULET_MODEL_ALIASES": f"mine={MODEL_IDS[1]}"}, ["mine", *MODEL_IDS]),
        ({}, {"RIVULET_MODEL_IDS": "b.model"}, ["b.model"]),
    ],
)
def test_names_of_models_that_are_not_there_are_none(
    arguments: dict[str, Any], environment: dict[str, str], listed: list[str]
) -> None:
    """Whoever chooses the models, or the names for them, finds those and no others."""
    with LocalFunction(pace=IMMEDIATE, environment=environment, **arguments) as function:
        data = httpx.get(f"{function.url}/v1/models").json()["data"]
    assert [model["id"] for model in data] == listed


@pytest.mark.parametrize(
    ("accept", "begins"), [("text/event-stream", b"data:"), ("application/x-ndjson", b"{")]
)
def test_a_token_does_not_wait_for_the_next(accept: str, begins: bytes) -> None:
    """Each token comes on its own, long before Bedrock sends another, at the median."""
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
    assert statistics.median(ways) < 0.2 / 40


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
