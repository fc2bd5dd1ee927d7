"""The ways in that are not Lambda's own, at the real process: judged by the clients that bring the credentials.

Clients are told an address and a key, as they would be anywhere; nothing else is changed. Secrets Manager is a stand-in
where it is not what is judged, and ministack where it is; tokens are PyJWT's, their issuer is on this machine.
"""

# ruff: noqa: TID251  # boto3 is a judge

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import anthropic
import boto3
import openai
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from local.function import LocalFunction
from local.pace import IMMEDIATE
from tests.integration.clients.honest import MODEL, QUESTION, text
from tests.integration.judges.judge import MINISTACK, free_port, judge_process, needs
from tests.integration.tls_front import tls_front
from tests.unit.access.issuer import Issuer, private_key
from tests.unit.access.json_server import SecretsManager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.judge, pytest.mark.xdist_group("ways in")]

SECRET = "rivulet/keys"
WEB, OLD, NEW = (f"the-{name}-key-0123456789-0123456789" for name in ("web", "old", "new"))
WRONG = "a-key-that-nobody-has-0123456789"
ASKED: list[Any] = [{"role": "user", "content": QUESTION}]
BEDROCKS = [{"role": "user", "content": [{"text": QUESTION}]}]
CURL = shutil.which("curl")


class Refused(Exception):
    """A client was refused.

    Attributes:
        raised: what it raised, by its type's name, and the status that it tells.
    """

    def __init__(self, name: str, status: int) -> None:
        super().__init__(name, status)
        self.raised = (name, status)


def by_openai(url: str, key: str) -> str:
    with openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:
        try:
            answer = client.chat.completions.create(model=MODEL, messages=ASKED)
        except openai.APIStatusError as error:
            raise Refused(type(error).__name__, error.status_code) from error
    return answer.choices[0].message.content or ""


def by_anthropic(url: str, key: str) -> str:
    with anthropic.Anthropic(base_url=url, api_key=key, max_retries=0) as client:
        try:
            answer = client.messages.create(model=MODEL, max_tokens=2000, messages=ASKED)
        except anthropic.APIStatusError as error:
            raise Refused(type(error).__name__, error.status_code) from error
    return "".join(block.text for block in answer.content if block.type == "text")


def by_boto3(url: str, key: str) -> str:
    with (
        TemporaryDirectory() as folder,
        tls_front(url, Path(folder)) as secure_url,  # it sends no key over anything else
        pytest.MonkeyPatch.context() as monkeypatch,
    ):
        monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", key)
        with closing(
            boto3.client(
                "bedrock-runtime",
                endpoint_url=secure_url,
                region_name="us-east-1",
                verify=f"{folder}/authority.pem",
                config=Config(retries={"total_max_attempts": 1}),
            )
        ) as client:
            try:
                stream = client.converse_stream(modelId=MODEL, messages=BEDROCKS)["stream"]
            except ClientError as error:
                status = error.response["ResponseMetadata"]["HTTPStatusCode"]
                raise Refused(type(error).__name__, status) from error
            pieces = [
                event["contentBlockDelta"] for event in stream if "contentBlockDelta" in event
            ]
    return "".join(piece["delta"]["text"] for piece in pieces)


def by_curl(url: str, key: str) -> str:
    if CURL is None:
        pytest.skip("the judge curl is absent")
    done = subprocess.run(
        [
            *(CURL, "-sS", "-N", f"{url}/stream", "-w", "\n%{http_code}"),
            *("-H", f"authorization: Bearer {key}", "-H", "accept: text/plain"),
            *("-H", "content-type: application/json", "-d", json.dumps({"prompt": QUESTION})),
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    said, _, status = done.stdout.rpartition("\n")
    if status != "200":
        raise Refused(json.loads(said)["error"]["code"], int(status))
    return said


# Each client, and what it makes of a refusal: of no valid credential, of one that is not enough, of keys out of reach.
CLIENTS: dict[str, tuple[Callable[[str, str], str], tuple[str, str, str]]] = {
    "openai": (by_openai, ("AuthenticationError", "PermissionDeniedError", "InternalServerError")),
    "anthropic": (
        by_anthropic,
        ("AuthenticationError", "PermissionDeniedError", "ServiceUnavailableError"),
    ),
    "boto3": (
        by_boto3,
        ("AccessDeniedException", "AccessDeniedException", "ServiceUnavailableException"),
    ),
    "curl": (by_curl, ("unauthenticated", "forbidden", "access_unavailable")),
}
EACH = pytest.mark.parametrize("client", CLIENTS)


def refused(client: str, function: LocalFunction, credential: str, status: int) -> None:
    """See a client refused, by its own exception, and nothing asked of Bedrock."""
    ask, names = CLIENTS[client]
    calls = len(function.bedrock.calls)
    with pytest.raises(Refused) as caught:
        asked(ask, function, credential)
    assert caught.value.raised == (names[(401, 403, 503).index(status)], status)
    assert len(function.bedrock.calls) == calls


def asked(ask: Callable[[str, str], str], function: LocalFunction, credential: str) -> str:
    """Return an answer; wait until the one environment is done with the invocation before."""
    while True:
        try:
            return ask(function.url, credential)
        except Refused as refusal:
            if refusal.raised[1] != 429:
                raise


def record_of(function: LocalFunction, since: int) -> dict[str, Any]:
    """Return the record of the latest request, once it is written."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        for line in list(function.log)[since:]:
            if line.startswith("{") and json.loads(line).get("message") in {"stream", "request"}:
                record: dict[str, Any] = json.loads(line)
                return record
        time.sleep(0.01)
    pytest.fail("no record was written")


@contextmanager
def keyed(endpoint: str, **more: str) -> Iterator[LocalFunction]:
    environment = {
        "RIVULET_AUTH": "api-key",
        "RIVULET_API_KEYS_SECRET": SECRET,
        "RIVULET_MAX_ATTEMPTS": "1",
        "AWS_ENDPOINT_URL_SECRETS_MANAGER": endpoint,
        **more,
    }
    with LocalFunction(pace=IMMEDIATE, environment=environment) as function:
        yield function


@pytest.fixture(scope="module")
def function() -> Iterator[LocalFunction]:
    with (
        SecretsManager(json.dumps({"web": WEB, "bad": "short"})) as secrets,
        keyed(secrets.url) as function,
    ):
        yield function


@EACH
def test_a_key_lets_its_client_in(function: LocalFunction, client: str) -> None:
    """With the key that it was told, each client gets its answer, and the record says whose key it was."""
    since = len(function.log)
    assert asked(CLIENTS[client][0], function, WEB) == text()
    record = record_of(function, since)
    assert (record["caller"], record["auth"]) == ("web", "api-key")


@EACH
def test_a_wrong_key_is_the_clients_own_exception(function: LocalFunction, client: str) -> None:
    """With another key each raises what it raises for one, and Bedrock is not asked; no record has a caller then."""
    since = len(function.log)
    refused(client, function, WRONG, 401)
    record = record_of(function, since)
    assert (record["error"], record["status"]) == ("unauthenticated", 401)
    assert (record["source_ip"], record["auth"]) == ("127.0.0.1", "api-key")
    assert "caller" not in record


def test_the_log_has_no_key(function: LocalFunction) -> None:
    """Of all that was said so far, nothing tells a key, right or wrong; whose are not accepted is told by name."""
    asked(by_curl, function, WEB)
    refused("curl", function, WRONG, 401)
    said = "\n".join(function.log)
    assert not [key for key in (WEB, WRONG, "short") if key in said]
    assert '"cause":"bad: expected a printable name' in said


def test_keys_out_of_reach() -> None:
    """A function that cannot read its keys starts, and each client is told that it may try again."""
    with SecretsManager() as secrets, keyed(secrets.url) as function:
        for client in CLIENTS:
            refused(client, function, WEB, 503)


@needs(MINISTACK)
def test_keys_take_each_others_place(tmp_path: Path) -> None:
    """In a real Secrets Manager: a new key works beside the old one, and the old one ends, with no deployment."""
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    environment = {
        "PYTHONPATH": str(MINISTACK),
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
    }
    with judge_process((sys.executable, "-m", "ministack"), port, tmp_path, environment):
        secrets = boto3.client(
            "secretsmanager",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

        def put(keys: list[str]) -> None:
            secrets.put_secret_value(SecretId=SECRET, SecretString=json.dumps({"batch": keys}))

        def let_in(function: LocalFunction, key: str) -> bool:
            try:
                return asked(by_curl, function, key) == text()
            except Refused as refusal:
                return refusal.raised != ("unauthenticated", 401)

        secrets.create_secret(Name=SECRET, SecretString=json.dumps({"batch": OLD}))
        with closing(secrets), keyed(endpoint, RIVULET_API_KEYS_MAX_AGE="0.2") as function:
            assert let_in(function, OLD)
            until(lambda: not let_in(function, NEW))  # keys are soon too old here to say no by
            put([NEW, OLD])
            until(lambda: let_in(function, NEW))
            assert let_in(function, OLD)
            put([NEW])
            until(lambda: not let_in(function, OLD))
            assert let_in(function, NEW)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with Issuer() as issuer:
        yield issuer


@pytest.fixture(scope="module")
def of_tokens(issuer: Issuer) -> Iterator[LocalFunction]:
    environment = {
        "RIVULET_AUTH": "jwt",
        "RIVULET_JWT_ISSUER": issuer.url,
        "RIVULET_JWT_AUDIENCE": "https://rivulet.example.com",
        "RIVULET_JWT_SCOPES": "chat",
        "RIVULET_MAX_ATTEMPTS": "1",
    }
    with LocalFunction(pace=IMMEDIATE, environment=environment) as function:
        yield function


@EACH
def test_a_token_lets_its_client_in(of_tokens: LocalFunction, issuer: Issuer, client: str) -> None:
    """A token goes where a key does, with each client; the record says whose it is, and nothing says it."""
    since = len(of_tokens.log)
    token = issuer.token(scope="chat")
    assert asked(CLIENTS[client][0], of_tokens, token) == text()
    record = record_of(of_tokens, since)
    assert (record["caller"], record["auth"]) == ("somebody", "jwt")
    assert token not in "\n".join(of_tokens.log)


@EACH
def test_a_token_that_is_not_enough(of_tokens: LocalFunction, issuer: Issuer, client: str) -> None:
    """One of somebody else's, or that has expired, is 401, and one without the scope 403, as each client has it."""
    refused(client, of_tokens, issuer.token(private_key("RS256", "another"), scope="chat"), 401)
    refused(client, of_tokens, issuer.token(exp=1, scope="chat"), 401)
    refused(client, of_tokens, issuer.token(scope="other"), 403)
