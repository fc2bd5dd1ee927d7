"""The configuration of a function at home, in Lambda's terms, and the variables that its processes see."""

from __future__ import annotations

import os
import secrets
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from local import LAMBDA_SRC
from local.runtime_api import Limits

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# What the machine's own environment gives on; everything else would not be there in Lambda. Whoever measures coverage
# does not measure this process: a tracer's locks, taken when the watchdog interrupts it, would never be given back.
_PASSED_ON = ("PATH", "TMPDIR")


@dataclass(frozen=True, slots=True)
class FunctionConfiguration:
    """A function's configuration, in Lambda's terms.

    Attributes:
        task_root: the directory that is deployed.
        handler: ``module.function``.
        command: what starts the runtime; by default the bootstrap as Lambda's exec wrapper starts it.
        environment: its variables, over the ones that Lambda sets.
        inherit: whether it sees all of the machine's variables, as it must to find the user's own credentials.
        timeout: seconds that an invocation may take.
        init_timeout: seconds that the start may take.
        memory: megabytes; told, not enforced.
        name: its name.
        region: where it says it is.
        account: whose it says it is.
        concurrency: how many environments there may be at once.
        provisioned_concurrency: how many of them are started beforehand; 0 makes the first invocation a cold start.
        invoke_mode: of its function URL.
        cors_origins: those whose browsers may call the URL.
        limits: of its answers.
    """

    task_root: Path = LAMBDA_SRC
    handler: str = "handler.handle"
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    inherit: bool = False
    timeout: float = 300.0
    init_timeout: float = 10.0
    memory: int = 256
    name: str = "rivulet"
    region: str = "us-east-1"
    account: str = "123456789012"
    concurrency: int = 10
    provisioned_concurrency: int = 1
    invoke_mode: Literal["RESPONSE_STREAM", "BUFFERED"] = "RESPONSE_STREAM"
    cors_origins: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)

    @property
    def arn(self) -> str:
        """Its ARN."""
        return f"arn:aws:lambda:{self.region}:{self.account}:function:{self.name}"

    @property
    def start_command(self) -> tuple[str, ...]:
        """What starts the runtime."""
        return self.command or (
            str(self.task_root / "bootstrap"),
            sys.executable,
            "/var/runtime/bootstrap.py",
        )

    def variables(self, runtime_api: str) -> dict[str, str]:
        """Return the environment of a process, as Lambda sets it."""
        stream = f"{time.strftime('%Y/%m/%d', time.gmtime())}/[$LATEST]{secrets.token_hex(16)}"
        return {
            **{k: v for k, v in os.environ.items() if self.inherit or k in _PASSED_ON},
            "AWS_DEFAULT_REGION": self.region,
            "AWS_EXECUTION_ENV": f"AWS_Lambda_python{sys.version_info.major}.{sys.version_info.minor}",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(self.memory),
            "AWS_LAMBDA_FUNCTION_NAME": self.name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{self.name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": stream,
            "AWS_LAMBDA_RUNTIME_API": runtime_api,
            "AWS_REGION": self.region,
            "LAMBDA_RUNTIME_DIR": "/var/runtime",
            "LAMBDA_TASK_ROOT": str(self.task_root),
            "LANG": "en_US.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "TZ": ":UTC",
            "_HANDLER": self.handler,
            **self.environment,
        }
