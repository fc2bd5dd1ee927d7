"""``python -m smoke``: asks a deployment what only a deployment can show, and prints a table of what was seen.

Exit status: 0 if nothing failed, 1 if something did, 2 if nothing could be asked.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from smoke.aws import Aws
from smoke.checks import CHECKS, make_all
from smoke.credentials import Credential, Nothing, Secret, Signature
from smoke.deployment import Deployment, told_by_host
from smoke.hints import hints
from smoke.report import Report
from smoke.verdicts import Skipped

if TYPE_CHECKING:
    from collections.abc import Sequence

_AUTH = ("iam", "api-key", "jwt", "public")
_SENDABLE = re.compile(r"[!-~]+")  # what a header takes
_STACK = "Rivulet"  # as deployed without another name


class Unusable(Exception):
    """What is given is not enough to ask anything; the message says what is missing."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the checks; return the exit status."""
    options = parser().parse_args(arguments)
    try:
        deployment = find(options)
    except Unusable as error:
        sys.stderr.write(f"smoke: {error}\n")
        return 2
    credentials = deployment.credentials
    mine = (credentials.secret_key, credentials.token) if credentials else ()
    report = Report(sys.stdout, [secret for secret in (deployment.secret, *mine) if secret])
    report.head(deployment.url, deployment.auth)
    chosen = [check for check in CHECKS if not options.only or check.name in options.only]
    for seen in make_all(chosen, deployment):
        report.add(seen)
    return report.end(hints(deployment))


def find(options: argparse.Namespace) -> Deployment:
    """Find out what the arguments leave open.

    Raises:
        Unusable: there is no telling where the deployment is, or how to call it.
    """
    url = _address(options.url)
    service, region = told_by_host(url)
    aws = Aws(options.region or region)
    outputs = _outputs(aws, options.stack, url)
    url = url or _address(outputs.get("Url", ""))
    if not url:
        raise Unusable(
            f"expected --url, or --stack with an output Url; got neither from {options.stack or _STACK}"
        )
    service = options.service or told_by_host(url)[0] or _service_behind(url)
    function = options.function_name or outputs.get("FunctionArn", "")
    secret = options.api_key or options.token
    auth = options.auth or _auth(aws, function, options)
    return Deployment(
        url=url,
        auth=auth,
        credential=_credential(auth, secret, aws, service),
        aws=aws,
        credentials=aws.credentials() if auth == "iam" else None,
        secret=secret if auth in {"api-key", "jwt"} else "",
        service=service,
        function=function,
        log_group=options.log_group,
        role_arn=options.role_arn,
        origin=options.origin,
        patience=time.monotonic() + options.settle,
        log_seconds=options.log_wait,
    )


def _address(url: str) -> str:
    """Return a URL without a slash at its end; or nothing, as it is."""
    try:
        parts = urlsplit(url)
        there = (parts.hostname or "").encode("idna") and parts.port != 0
        written = parts.path.isascii() and url.isprintable() and " " not in url
        usable = parts.scheme in {"http", "https"} and there and written
    except ValueError:  # half an address, a port that is none
        usable = False
    if url and not usable:
        raise Unusable(f"--url: expected https://…, got {url!r}")
    return url.rstrip("/")


def _outputs(aws: Aws, stack: str, url: str) -> dict[str, str]:
    """Return a stack's outputs; of one that was not named, only if they are about this URL."""
    try:
        outputs = aws.outputs(stack or _STACK)
    except Skipped as why:
        if stack:
            raise Unusable(f"--stack {stack}: {why}") from None
        return {}
    return outputs if stack or not url or outputs.get("Url", "").rstrip("/") == url else {}


def _service_behind(url: str) -> str:
    """Return what to sign for where the host does not tell: function URLs have no names of their owner's (fact 45)."""
    at_home = url.startswith("http://")
    return "lambda" if at_home else "execute-api"


def _auth(aws: Aws, function: str, options: argparse.Namespace) -> str:
    if options.api_key:
        return "api-key"
    if options.token:
        return "jwt"
    if function:
        try:
            variables = aws.configuration(function).get("Environment", {}).get("Variables", {})
        except Skipped:
            return "iam"
        return str(variables.get("RIVULET_AUTH", "iam"))
    return "iam"


def _credential(auth: str, secret: str, aws: Aws, service: str) -> Credential:
    match auth:
        case "public":
            return Nothing()
        case "iam":
            try:
                credentials = aws.credentials()
            except Skipped as why:
                raise Unusable(f"auth iam: {why}") from None
            if credentials is None or not aws.region:
                raise Unusable(
                    "auth iam: expected AWS credentials and a region, as boto3 finds them; got none"
                )
            return Signature(credentials, service, aws.region)
        case _:
            where = (
                "--api-key or RIVULET_API_KEY" if auth == "api-key" else "--token or RIVULET_TOKEN"
            )
            if not secret:
                raise Unusable(f"auth {auth}: expected {where}, got nothing")
            if not _SENDABLE.fullmatch(secret):
                raise Unusable(
                    f"{where}: not usable: expected visible characters of ASCII, got others or spaces"
                )
            return Secret(secret)


def parser() -> argparse.ArgumentParser:
    """Return what reads the arguments."""
    made = argparse.ArgumentParser(
        prog="python -m smoke",
        description="Ask a deployment what only a deployment can show. docs/smoke.md explains each check.",
    )
    environment = os.environ.get
    add = made.add_argument
    add("--url", default="", help="where it is; by default the stack's output")
    add(
        "--stack",
        default="",
        help=f"the CloudFormation stack that tells the rest; by default {_STACK}, if its URL is this one",
    )
    add(
        "--auth",
        choices=_AUTH,
        help="the deployment's; by default what the function's configuration or the credential given says",
    )
    add(
        "--api-key",
        default=environment("RIVULET_API_KEY", ""),
        help="for auth api-key; better in RIVULET_API_KEY",
    )
    add(
        "--token",
        default=environment("RIVULET_TOKEN", ""),
        help="for auth jwt; better in RIVULET_TOKEN",
    )
    add("--region", default="", help="by default the URL's own, or the one that boto3 finds")
    add(
        "--service",
        choices=("lambda", "execute-api"),
        help="what signatures are made for; by default the URL tells",
    )
    add(
        "--function-name",
        default="",
        metavar="NAME",
        help="or ARN, with the alias behind the URL if there is one",
    )
    add(
        "--log-group",
        default="",
        metavar="NAME",
        help="by default the function's configuration tells",
    )
    add(
        "--role-arn",
        default="",
        metavar="ARN",
        help="a role that may call the URL and that you may assume, to take its permissions away one by one",
    )
    add("--origin", default="", help="one of the deployment's cors_origins")
    add(
        "--settle",
        type=float,
        default=20.0,
        metavar="S",
        help="seconds for which a 403 may be that of a new deployment (default: %(default)s)",
    )
    add(
        "--log-wait",
        type=float,
        default=60.0,
        metavar="S",
        help="seconds that a line of the log may take (default: %(default)s)",
    )
    add(
        "--only",
        action="append",
        choices=[check.name for check in CHECKS],
        metavar="CHECK",
        help="this check; may be repeated",
    )
    return made


if __name__ == "__main__":
    sys.exit(main())
