from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from access import Caller, Gate
from relay.settings import Settings
from tests.unit.access.requests import bearer, refused, request

if TYPE_CHECKING:
    from tests.unit.access.issuer import Issuer
    from tests.unit.access.json_server import SecretsManager

KEY = "a-key-0123456789"


def settings_of(auth: str) -> Settings:
    return Settings.from_environment(
        {"RIVULET_MODEL_IDS": "m", "RIVULET_AUTH": auth, "RIVULET_API_KEYS_SECRET": "keys"}
    )


@pytest.fixture
def gate(secrets_manager: SecretsManager) -> Gate:
    secrets_manager.secret = json.dumps({"web": KEY})
    return Gate(settings_of("api-key"))


def test_each_way_in(gate: Gate, issuer: Issuer) -> None:
    """The settings choose who is let in, and the caller says by which way they came."""
    arn = "arn:aws:sts::123456789012:assumed-role/Shop/s"
    signed = request()
    signed["requestContext"]["authorizer"] = {"iam": {"userArn": arn}}
    token = issuer.token()
    assert Gate(settings_of("iam")).admit(signed) == Caller("Shop", "iam")
    assert Gate(settings_of("public")).admit(request()) == Caller("public", "public")
    assert gate.admit(bearer(KEY)) == Caller("web", "api-key")
    assert Gate(issuer.settings()).admit(bearer(token)) == Caller("somebody", "jwt")
    refused(401, gate.admit, signed)
    refused(401, gate.admit, bearer(token))


@pytest.mark.parametrize("event", [{"prompt": "hi"}, {}, {"headers": {"x-api-key": KEY}}, None, []])
def test_a_direct_invocation_needs_no_credential(gate: Gate, event: Any) -> None:
    """Whoever may invoke the function itself has shown that to IAM."""
    assert gate.admit(event) == Caller("direct", "direct")


def test_keys_are_read_before_somebody_waits(
    gate: Gate, issuer: Issuer, secrets_manager: SecretsManager
) -> None:
    """At the start of an environment, not within its first request."""
    assert secrets_manager.asked == ["keys"]
    Gate(issuer.settings())
    assert len(issuer.asked) == 2
    gate.admit(bearer(KEY))
    assert secrets_manager.asked == ["keys"]


def test_no_key_is_in_a_snapshot(
    secrets_manager: SecretsManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With SnapStart keys are read after the snapshot, and forgotten where it is told to begin anew."""
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")
    secrets_manager.secret = json.dumps({"web": KEY})
    gate = Gate(settings_of("api-key"))
    assert secrets_manager.asked == []
    gate.admit(bearer(KEY))
    secrets_manager.secret = "{}"
    gate.renew()
    refused(401, gate.admit, bearer(KEY))
    Gate(settings_of("public")).renew()  # there is nothing to forget


def test_a_start_without_keys_is_a_start(secrets_manager: SecretsManager) -> None:
    """What cannot be read at the start is read with the first request."""
    gate = Gate(settings_of("api-key"))
    gate.renew()
    secrets_manager.secret = json.dumps({"web": KEY})
    assert gate.admit(bearer(KEY)).name == "web"


FORKS = """
import os, sys
from access import Gate
from relay.settings import Settings

gate = Gate(Settings.from_environment(os.environ))
lock = gate._keys._keys._lock
lock.acquire()  # as in a thread that is reading when the process is copied
child = os.fork()
if child == 0:
    renewed = gate._keys._keys._value is None and gate._keys._keys._lock is not lock
    os._exit(0 if renewed else 1)
_, status = os.waitpid(child, 0)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_a_forked_worker_begins_anew(secrets_manager: SecretsManager) -> None:
    """It has neither its parent's keys, nor its connection, nor a lock that nobody will ever give back."""
    secrets_manager.secret = json.dumps({"web": KEY})
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("AWS_")},
        "PYTHONPATH": str(Path(__file__).parents[3] / "lambda_src"),
        "RIVULET_MODEL_IDS": "m",
        "RIVULET_AUTH": "api-key",
        "RIVULET_API_KEYS_SECRET": "keys",
        "POWERTOOLS_TRACE_DISABLED": "true",
        "AWS_ENDPOINT_URL_SECRETS_MANAGER": secrets_manager.url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
    }
    done = subprocess.run(
        [sys.executable, "-c", FORKS], env=environment, check=False, timeout=60, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    assert secrets_manager.asked == ["keys"]


@pytest.mark.parametrize("auth", ["iam", "public"])
def test_a_way_that_needs_no_keys_costs_no_import(auth: str) -> None:
    """Neither Powertools' parameters nor PyJWT nor cryptography is loaded for a way that is not theirs."""
    source = (
        "import sys; from access import Gate; from relay.settings import Settings;"
        "Gate(Settings.from_environment({'RIVULET_MODEL_IDS': 'm', 'RIVULET_AUTH': sys.argv[1]}));"
        "print(*(set(sys.modules) & {'jwt', 'cryptography', 'boto3', 'access.kept',"
        " 'aws_lambda_powertools.utilities.parameters'}))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "lambda_src")}
    done = subprocess.run(
        [sys.executable, "-c", source, auth],
        env=environment,
        check=True,
        timeout=60,
        capture_output=True,
    )
    assert done.stdout.strip() == b""
