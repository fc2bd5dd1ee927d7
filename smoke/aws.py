"""What AWS itself is asked about a deployment, with the credentials that boto3 finds.

Whatever AWS does not let this caller see is a check that is skipped, with AWS's own word for why.
"""
# ruff: noqa: TID251  # asks AWS from outside of the function

from __future__ import annotations

import json
import os
import time
from contextlib import closing, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from smoke.verdicts import Skipped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_CONFIG = Config(connect_timeout=5, read_timeout=60, retries={"total_max_attempts": 3})
# A configuration that is not right shows as any of these: an endpoint, a process that gives credentials, …
_UNASKED = (BotoCoreError, ResponseParserError, OSError, ValueError)
_SESSION_SECONDS = 900  # the shortest that STS gives


class Aws:
    """AWS, as the machine's own credentials see it.

    Args:
        region: of the deployment; empty for the one that the machine's configuration names.
    """

    def __init__(self, region: str = "") -> None:
        # boto3 itself does not read the variable that all other SDKs do.
        self._region = region or os.environ.get("AWS_REGION")

    @cached_property
    def _session(self) -> boto3.Session:
        try:
            return boto3.Session(region_name=self._region)
        except BotoCoreError as error:  # no such profile, or a file that is no configuration
            raise Skipped(f"AWS cannot be asked: {error}") from error

    @cached_property
    def region(self) -> str:
        """The deployment's, or empty where nothing tells it.

        Raises:
            Skipped: the machine's configuration cannot be read.
        """
        return self._session.region_name or ""

    def credentials(self) -> Credentials | None:
        """Return the caller's own, frozen, or ``None`` where there are none.

        Raises:
            Skipped: there are some, but they cannot be had, such as those of a session that is over.
        """
        try:
            found = self._session.get_credentials()
            return None if found is None else _frozen(found.get_frozen_credentials())
        except (ClientError, *_UNASKED) as error:
            raise Skipped(f"AWS credentials: {type(error).__name__}") from error

    def narrowed(
        self, role_arn: str, actions: Sequence[str], resources: Sequence[str]
    ) -> Credentials:
        """Return a session of a role, which may do no more than these actions of what the role may.

        Raises:
            Skipped: STS gives none.
        """
        statement = {"Effect": "Allow", "Action": list(actions), "Resource": list(resources)}
        policy = {"Version": "2012-10-17", "Statement": [statement]}
        with self._asking("sts", "AssumeRole") as client:
            given = client.assume_role(
                RoleArn=role_arn,
                RoleSessionName="rivulet-smoke",
                DurationSeconds=_SESSION_SECONDS,
                Policy=json.dumps(policy),
            )["Credentials"]
        return Credentials(given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])

    def outputs(self, stack: str) -> dict[str, str]:
        """Return a stack's outputs.

        Raises:
            Skipped: CloudFormation does not tell them.
        """
        with self._asking("cloudformation", "DescribeStacks") as client:
            (found,) = client.describe_stacks(StackName=stack)["Stacks"]
        return {one["OutputKey"]: one["OutputValue"] for one in found.get("Outputs", [])}

    def configuration(self, function: str) -> dict[str, Any]:
        """Return a function's configuration; ``function`` may have a qualifier.

        Raises:
            Skipped: Lambda does not tell it.
        """
        with self._asking("lambda", "GetFunctionConfiguration") as client:
            found: dict[str, Any] = client.get_function_configuration(FunctionName=function)
        return found

    def invoke(self, function: str, event: Any) -> tuple[bytes, dict[str, Any]]:
        """Invoke a function with a response stream; return its payload, and how it was completed.

        Raises:
            Skipped: Lambda does not let this caller.
        """
        payload = b""
        completed: dict[str, Any] = {}
        with self._asking("lambda", "InvokeFunction") as client:
            answer = client.invoke_with_response_stream(
                FunctionName=function, Payload=json.dumps(event).encode()
            )
            with closing(answer["EventStream"]) as stream:
                for part in stream:
                    payload += part.get("PayloadChunk", {}).get("Payload", b"")
                    completed = part.get("InvokeComplete", completed)
        return payload, completed

    def log_lines(self, group: str, text: str, since: float) -> list[str]:
        """Return the lines of a log group, since a time in seconds of the epoch, that have a text in them.

        Raises:
            Skipped: CloudWatch Logs does not tell them.
        """
        with self._asking("logs", "FilterLogEvents") as client:
            pages = client.get_paginator("filter_log_events").paginate(
                logGroupName=group, filterPattern=f'"{text}"', startTime=int(since * 1000)
            )
            return [event["message"] for page in pages for event in page["events"]]

    def wait_for_line(self, group: str, texts: Sequence[str], since: float, seconds: float) -> str:
        """Return the first line that has all these texts in it, once it is there.

        Raises:
            Skipped: there is none after some seconds, or CloudWatch Logs does not tell.
        """
        until = time.monotonic() + seconds
        while True:
            for line in self.log_lines(group, texts[0], since):
                if all(text in line for text in texts):
                    return line
            if time.monotonic() > until:
                raise Skipped(f"the log group has no record of it after {seconds:.0f} s")
            time.sleep(2.0)

    @contextmanager
    def _asking(self, service: str, action: str) -> Iterator[Any]:
        """Give the client for one question; what stands against it is why a check is skipped."""
        try:
            with closing(self._session.client(service, config=_CONFIG)) as client:
                yield client
        except ClientError as error:
            said = error.response["Error"].get("Code", "refused")
            raise Skipped(f"{service}:{action}: {said}") from error
        except _UNASKED as error:
            raise Skipped(f"{service}:{action}: {type(error).__name__}") from error


def _frozen(found: Any) -> Credentials:
    return Credentials(found.access_key, found.secret_key, found.token)
