"""Synthesised templates, shared: starting jsii takes seconds, so each configuration is made once."""

from __future__ import annotations

import functools
import shutil
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from aws_cdk.assertions import Template


@pytest.fixture(scope="session")
def node() -> str:
    """Node.js, on which aws-cdk-lib runs in every language."""
    found = shutil.which("node")
    if not found:
        pytest.skip("node is not installed: aws-cdk-lib runs on it")
    return found


@pytest.fixture(scope="session")
def synthesise(node: str) -> Callable[..., Template]:  # noqa: ARG001  only that it is there
    """Make the template of a configuration, given as `Config` takes it."""
    from aws_cdk import App
    from aws_cdk.assertions import Template

    from infra.config import Config
    from infra.stack import RivuletStack

    @functools.cache
    def synthesise(**choices: Any) -> Template:
        return Template.from_stack(RivuletStack(App(), config=Config(**choices)))

    return synthesise
