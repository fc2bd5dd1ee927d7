"""The real CDK CLI and the app, without network or account: synthesis, and what it says of a wrong choice."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from tests.deploy.ministack import ROOT, bare_environment, cdk, needs_cdk

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.xdist_group("cdk")


def offline() -> list[str]:
    """Return what starts a command without any network, or skip."""
    command = ["unshare", "--map-root-user", "--net"]
    if not shutil.which("unshare") or subprocess.run([*command, "true"], check=False).returncode:
        pytest.skip("unshare cannot take the network away here")
    return command


@pytest.mark.usefixtures("node")
def test_app_synthesises_offline(tmp_path: Path) -> None:
    """Without network, account, credentials or region the app synthesises a stack that belongs to none."""
    from infra import package

    package.build()  # what `make install` does: the dependencies are fetched once, before
    subprocess.run(
        [*offline(), sys.executable, "app.py"],
        cwd=ROOT,
        env=bare_environment(CDK_OUTDIR=str(tmp_path)),
        check=True,
        timeout=120,
    )
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    stack = manifest["artifacts"]["Rivulet"]
    assert stack["environment"] == "aws://unknown-account/unknown-region"
    assert "missing" not in manifest  # nothing to look up


@pytest.mark.usefixtures("node")
@pytest.mark.parametrize(
    ("context", "message"),
    [
        ({"memory_mb": "64"}, "memory_mb: expected a whole number from 128 to 10240; got '64'"),
        ({"memory": "512"}, "unknown context key: got 'memory'; did you mean memory_mb?"),
    ],
    ids=["value", "key"],
)
def test_app_refuses_in_one_sentence(context: dict[str, str], message: str, tmp_path: Path) -> None:
    """A wrong choice fails with one sentence that says which, and no traceback."""
    done = subprocess.run(
        [sys.executable, "app.py"],
        cwd=ROOT,
        env=bare_environment(CDK_OUTDIR=str(tmp_path), CDK_CONTEXT_JSON=json.dumps(context)),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1
    assert f"rivulet: {message}\n" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.judge
@needs_cdk
@pytest.mark.usefixtures("node")
def test_cli_synthesises(tmp_path: Path) -> None:
    """`cdk synth` finds the Python that has the app's requirements, and takes choices typed with `-c`."""
    cdk(
        *("synth", "--quiet", "-c", "stack_name=rivulet-dev"),
        *(
            "-c",
            "model_ids=amazon.nova-lite-v1:0,eu.amazon.nova-pro-v1:0",
            "-c",
            "log_content=true",
        ),
        "--output",
        str(tmp_path),
        environment=bare_environment(),
    )
    template = json.loads((tmp_path / "rivulet-dev.template.json").read_text())
    (function,) = of_type(template, "AWS::Lambda::Function")
    variables = function["Environment"]["Variables"]
    assert variables["RIVULET_MODEL_IDS"] == "amazon.nova-lite-v1:0,eu.amazon.nova-pro-v1:0"
    assert variables["RIVULET_LOG_CONTENT"] == "true"
    (code,) = tmp_path.glob("asset.*.zip")
    with zipfile.ZipFile(code) as archive:
        assert {"bootstrap", "handler.py"} <= set(archive.namelist())


def of_type(template: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    resources = template["Resources"].values()
    return [resource["Properties"] for resource in resources if resource["Type"] == kind]
