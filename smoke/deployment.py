"""The deployment that is checked, and all that is known of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from smoke.caller import Answer, Caller
from smoke.credentials import Credential, Nothing
from smoke.verdicts import Skipped, Wrong

if TYPE_CHECKING:
    from botocore.credentials import Credentials  # noqa: TID251  # for the type alone

    from smoke.aws import Aws

_AWS_HOST = re.compile(
    r".+\.(?P<service>lambda-url|execute-api)\.(?P<region>[a-z0-9-]+)\.(on|amazonaws)\..+"
)
_MAX_TOKENS = re.compile(r"from 1 to (\d+)")
# Bedrock's own name for a model, which says whose it is; aliases stand before these in the list.
_MODEL_ID = re.compile(r"[a-z0-9-]+\.[a-z].*")
_SERVICES = {"lambda-url": "lambda", "execute-api": "execute-api"}


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """A deployment.

    Attributes:
        url: where it is, without a slash at the end.
        auth: how callers prove who they are: the deployment's own choice of that name.
        credential: a caller's that may.
        aws: AWS, about the deployment.
        credentials: the caller's of AWS, where there are any.
        secret: the caller's key or token, where that is how.
        service: what signatures are made for.
        function: its name or ARN, perhaps with a qualifier; empty where it is not known.
        log_group: its log group's name; empty where it is not known.
        role_arn: a role that may call the URL, and that the caller may assume; or empty.
        origin: one whose browsers may call; or empty.
        patience: until when, in seconds of `time.monotonic`, it may not have settled yet.
        log_seconds: how long a line of the log may take to be found.
        answers: all that it has given.
    """

    url: str
    auth: str
    credential: Credential
    aws: Aws
    credentials: Credentials | None = None
    secret: str = ""
    service: str = "lambda"
    function: str = ""
    log_group: str = ""
    role_arn: str = ""
    origin: str = ""
    patience: float = 0.0
    log_seconds: float = 60.0
    answers: list[Answer] = field(default_factory=list)

    @cached_property
    def caller(self) -> Caller:
        """A caller that may."""
        return Caller(self.url, self.credential, self.answers, patience=self.patience)

    @cached_property
    def stranger(self) -> Caller:
        """A caller that proves nothing."""
        return self.as_caller(Nothing())

    def as_caller(self, credential: Credential, *, patience: float = 0.0) -> Caller:
        """Return a caller with another credential."""
        return Caller(self.url, credential, self.answers, patience=patience)

    @cached_property
    def model(self) -> str:
        """The first model that callers may name as Bedrock does; by an alias, if there is none.

        Raises:
            Wrong: the deployment does not tell it.
        """
        answer = self.caller.get("/v1/models")
        try:
            names = [str(model["id"]) for model in answer.json["data"]]
            return next(filter(_MODEL_ID.fullmatch, names), names[0])
        except (LookupError, TypeError):
            raise Wrong(f"GET /v1/models: {answer.status} {answer.error}") from None

    def model_path(self, operation: str) -> str:
        """Return the path of one of Bedrock's operations on that model."""
        return f"/model/{quote(self.model, safe='')}/{operation}"

    def tokens(self, wanted: int, least: int = 1) -> int:
        """Return how many tokens to ask for: as many as are wanted, or as the deployment gives where those are fewer.

        Raises:
            Skipped: it gives fewer than the least that tell anything.
        """
        limit = self._max_tokens
        if limit is None or limit >= wanted:
            return wanted
        if limit < least:
            raise Skipped(f"it takes {least} tokens to tell, and RIVULET_MAX_TOKENS is {limit}")
        return limit

    @cached_property
    def _max_tokens(self) -> int | None:
        """How many tokens a request may ask for, or ``None`` if that is up to the model."""
        try:
            told = str(self.configuration["Environment"]["Variables"].get("RIVULET_MAX_TOKENS", ""))
        except (Skipped, LookupError):
            # No messages and no tokens: refused with the limit where there is one, or else by Bedrock.
            body = {"messages": [], "inferenceConfig": {"maxTokens": 0}}
            refused = _MAX_TOKENS.search(self.caller.post(self.model_path("converse"), body).error)
            told = refused[1] if refused else ""
        return int(told) if told.strip() else None

    @cached_property
    def configuration(self) -> dict[str, Any]:
        """The function's configuration at Lambda.

        Raises:
            Skipped: it is not known which function it is, or Lambda does not tell.
        """
        if not self.function:
            raise Skipped("which function is it? --stack or --function-name")
        return self.aws.configuration(self.function)

    @cached_property
    def known_log_group(self) -> str:
        """The log group's name.

        Raises:
            Skipped: it is not known, and Lambda does not tell.
        """
        if self.log_group:
            return self.log_group
        group = self.configuration.get("LoggingConfig", {}).get("LogGroup")
        if not group:
            raise Skipped("which log group is it? --log-group")
        return str(group)


def told_by_host(url: str) -> tuple[str, str]:
    """Return the service that signatures are made for and the region, as the host's name tells them; or two empty."""
    match = _AWS_HOST.fullmatch(urlsplit(url).hostname or "")
    return (_SERVICES[match["service"]], match["region"]) if match else ("", "")
