"""Synthesised templates, shared: starting jsii takes seconds, so each configuration is made once."""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from aws_cdk import Stack
    from aws_cdk.assertions import Template

    from infra.dependencies import Target
    from infra.package import Package


class Synthesised(NamedTuple):
    """A stack as the CDK CLI would get it.

    Attributes:
        assembly: where all of it is.
        template: the CloudFormation template.
        warnings: what the CLI would warn of.
        violations: the rules of cdk-nag that it breaks, without a reason why.
        reasons: the rules that it breaks with a reason, by the path of what breaks them.
    """

    assembly: Path
    template: dict[str, Any]
    warnings: list[str]
    violations: list[str]
    reasons: dict[tuple[str, str], str]


@pytest.fixture(scope="session")
def node() -> str:
    """Node.js, on which aws-cdk-lib runs in every language."""
    found = shutil.which("node")
    if not found:
        pytest.skip("node is not installed: aws-cdk-lib runs on it")
    return found


@pytest.fixture(scope="session")
def stand_in(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[Target | None, Collection[str]], Package]:
    """Return what builds the package in no time: another one for another target and other extras."""
    from infra.dependencies import Target
    from infra.package import Package

    directory = tmp_path_factory.mktemp("packages")

    def build(target: Target | None = None, extras: Collection[str] = ()) -> Package:
        built_for = json.dumps([(target or Target()).architecture, sorted(extras)])
        digest = hashlib.sha256(built_for.encode()).hexdigest()
        path = directory / f"{digest}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("built-for.json", built_for)
        return Package(path, digest)

    return build


@pytest.fixture(scope="session")
def synthesise(node: str, stand_in: Any) -> Callable[..., Template]:  # noqa: ARG001  only that it is there
    """Make the template of a configuration, given as `Config` takes it."""
    from aws_cdk import App
    from aws_cdk.assertions import Template

    from infra.config import Config
    from infra.stack import RivuletStack

    @functools.cache
    def synthesise(**choices: Any) -> Template:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("infra.package.build", stand_in)
            return Template.from_stack(RivuletStack(App(), config=Config(**choices)))

    return synthesise


@pytest.fixture(scope="session")
def synthesise_checked(
    check: Callable[[Stack], Synthesised],
    stand_in: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Synthesised]:
    """Synthesise a configuration as a whole app, with cdk-nag's AwsSolutions looking on."""
    from aws_cdk import App

    from infra.config import Config
    from infra.stack import RivuletStack

    @functools.cache
    def synthesise(**choices: Any) -> Synthesised:
        app = App(outdir=str(tmp_path_factory.mktemp("assembly")))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("infra.package.build", stand_in)
            return check(RivuletStack(app, config=Config(**choices)))

    return synthesise


@pytest.fixture(scope="session")
def check(node: str) -> Callable[[Stack], Synthesised]:  # noqa: ARG001  only that it is there
    """Synthesise the app of a stack with cdk-nag's AwsSolutions looking on."""
    from aws_cdk import App, Validations
    from cdk_nag import AwsSolutionsChecks

    def check(stack: Stack) -> Synthesised:
        app = stack.node.root
        assert isinstance(app, App)
        Validations.of(app).add_plugins(AwsSolutionsChecks(app))
        try:
            app.synth()
        except RuntimeError as error:  # which a violation ends in; its words are in the report
            if "ValidationFailed" not in str(error):
                raise
        return read(Path(app.outdir), stack.stack_name)

    return check


def read(assembly: Path, stack_name: str) -> Synthesised:
    report = json.loads((assembly / "validation-report.json").read_text())
    (nag,) = [part for part in report["pluginReports"] if part["pluginName"] == "AwsSolutions"]
    metadata = json.loads((assembly / f"{stack_name}.metadata.json").read_text())
    return Synthesised(
        assembly=assembly,
        template=json.loads((assembly / f"{stack_name}.template.json").read_text()),
        warnings=[
            entry["data"]
            for entries in metadata.values()
            for entry in entries
            if entry["type"] == "aws:cdk:warning"
        ],
        violations=[violation["ruleName"] for violation in nag["violations"]],
        reasons={
            (violation["ruleName"], found["constructPath"]): violation["reason"]
            for violation in nag.get("suppressedViolations", [])
            for found in violation["violatingConstructs"]
        },
    )
