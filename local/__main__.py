"""``python -m local run``, ``serve`` and ``faults``: the function at home, from the command line."""

from __future__ import annotations

import argparse
import errno
import json
import os
import re
import signal
import sys
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from local.caller import ask
from local.configuration import FunctionConfiguration
from local.fault_script import HEADER, listing
from local.function import MODEL_IDS, LocalFunction, StartError
from local.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_DEFAULT_PROMPT = "Why do streams feel faster than answers that come whole?"

_SERVING = """\
The function is up at {url} {backend}. Ctrl-C ends it. To try, in another terminal:

  server-sent events
    curl -N {url}/stream -H 'content-type: application/json' -d '{{"prompt": "How does a token travel?"}}'
  NDJSON
    curl -N {url}/stream -H 'content-type: application/json' -H 'accept: application/x-ndjson' \\
      -d '{{"prompt": "What happens when a stream fails?"}}'
  plain text
    curl -N {url}/stream -H 'content-type: application/json' -H 'accept: text/plain' \\
      -d '{{"prompt": "What does a stream cost?"}}'
  the model's own schema, as server-sent events
    curl -N {url}/model/{model}/invoke-with-response-stream -H 'content-type: application/json' \\
      -H 'accept: text/event-stream' -d '{body}'
  OpenAI's Chat Completions; its clients take {url}/v1 as their base URL, Anthropic's {url}
    curl -N {url}/v1/chat/completions -H 'content-type: application/json' \\
      -d '{{"model": "{model}", "stream": true, "messages": [{{"role": "user", "content": "Why stream?"}}]}}'
  is it well?
    curl {url}/health

  Bedrock, for AWS SDKs: endpoint {url}; they want a region and credentials all the same, any will do
    boto3.client("bedrock-runtime", endpoint_url="{url}", region_name="us-east-1",
                 aws_access_key_id="any", aws_secret_access_key="any")
  InvokeWithResponseStream, for AWS SDKs: endpoint {invoke_url}, function {name}
"""
_SERVING_FAULTS = """
  what goes wrong at Bedrock is yours to choose: here, its connection breaks (docs/faults.md)
    curl -N {url}/stream -H 'content-type: application/json' \\
      -d '{{"prompt": "How does a token travel? [fault: cut after=9]"}}'
  all that can go wrong
    {python} -m local faults

  the stand-in for Bedrock, for AWS SDKs: endpoint {bedrock_url}, faults in the header {header}
"""
# Why nothing can listen on a port, and what to do.
_PORTS = {
    errno.EADDRINUSE: "is taken: end what listens there, or choose another",
    errno.EACCES: "is for the system's own services: choose one from 1024 on",
}
_CHOOSE_PORT = "with --port (PORT= of make)"
_ANTHROPIC_BODY = {
    "anthropic_version": "bedrock-2023-05-31",
    "max_tokens": 500,
    "messages": [{"role": "user", "content": "Hello!"}],
}
_NOVA_BODY = {"messages": [{"role": "user", "content": [{"text": "Hello!"}]}]}


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments say; return the exit status."""
    options = _parser().parse_args(arguments)
    # A terminal that hangs up or a supervisor that ends it: leave as with Ctrl-C, so that no process stays behind.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    try:
        command: Callable[[argparse.Namespace], int] = options.command
        return command(options)
    except KeyboardInterrupt:
        return 130
    except StartError as error:
        print(f"the function did not start: {error}", file=sys.stderr)
    except BrokenPipeError:
        _fall_silent()
    except OSError as error:
        if error.errno not in _PORTS or not options.port:
            raise
        print(f"port {options.port} {_PORTS[error.errno]} {_CHOOSE_PORT}", file=sys.stderr)
    return 1


def run(options: argparse.Namespace) -> int:
    """Start everything, ask the prompt and print the answer while it comes."""
    with _function(options, on_log=None) as function:
        print(f"> {options.prompt}\n", flush=True)
        problem = ask(function.url, options.prompt)
    if problem is not None:
        print(f"\nfailed: {problem}", file=sys.stderr)
        print("\n".join(["the function's log:", *function.log]), file=sys.stderr)
        return 1
    return 0


def serve(options: argparse.Namespace) -> int:
    """Stay up until someone ends it; what the function says goes to the terminal."""
    with _function(options, on_log=_say) as function:
        model = options.model or MODEL_IDS[0]
        text = _SERVING if options.real else _SERVING + _SERVING_FAULTS
        _say(
            text.format(
                url=function.url,
                invoke_url=function.invoke_url,
                name=FunctionConfiguration().name,
                backend="with the real Bedrock" if options.real else "with a stand-in for Bedrock",
                model=model,
                body=json.dumps(_ANTHROPIC_BODY if "anthropic" in model else _NOVA_BODY),
                python=sys.executable,
                bedrock_url=function.bedrock.url,
                header=HEADER,
            )
        )
        threading.Event().wait()
    return 0


def faults(_: argparse.Namespace) -> int:
    """Print what can go wrong at the stand-in for Bedrock if a caller says so."""
    print(listing())
    return 0


def _function(options: argparse.Namespace, on_log: Callable[[str], None] | None) -> LocalFunction:
    configuration = FunctionConfiguration(
        timeout=options.timeout, cors_origins=tuple(options.cors_origin)
    )
    if options.real:
        configuration = replace(configuration, region=_region(options.region))
        print(
            f"With the real Bedrock in {configuration.region}, on your AWS credentials: tokens cost money.",
            flush=True,
        )
    return LocalFunction(
        configuration,
        # What is set for the function in this shell is meant for it.
        environment={
            k: v for k, v in os.environ.items() if k.startswith(("RIVULET_", "POWERTOOLS_"))
        },
        pace=Pace(options.time_to_first_token, options.tokens_per_second),
        model_ids=(options.model,) if options.model else MODEL_IDS,
        real=options.real,
        port=options.port,
        on_log=on_log,
    )


def _region(chosen: str | None) -> str:
    """Return the chosen region, or the one that the user's own AWS configuration names."""
    chosen = chosen or os.environ.get("AWS_REGION")
    if chosen:
        return chosen
    import botocore.session  # noqa: PLC0415, TID251  # it knows the other places; no call is made

    region = botocore.session.get_session().get_config_variable("region")
    return str(region or FunctionConfiguration().region)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local", description=__doc__)
    commands = parser.add_subparsers(required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--real", action="store_true", help="talk to Bedrock itself, with your AWS credentials"
    )
    common.add_argument("--region", help="with --real: the AWS region")
    common.add_argument("--model", metavar="ID", help="the model, or inference profile, to use")
    common.add_argument(
        "--time-to-first-token", metavar="S", type=float, default=Pace().time_to_first_token
    )
    common.add_argument(
        "--tokens-per-second", metavar="N", type=float, default=Pace().tokens_per_second
    )
    common.add_argument(
        "--timeout", metavar="S", type=float, default=FunctionConfiguration().timeout
    )
    common.add_argument(
        "--cors-origin",
        metavar="ORIGIN",
        action="append",
        default=[],
        help="let browsers on this origin call the URL; may be repeated",
    )
    one = commands.add_parser("run", parents=[common], help=run.__doc__)
    one.add_argument("--prompt", default=_DEFAULT_PROMPT)
    one.set_defaults(command=run, port=0)
    many = commands.add_parser("serve", parents=[common], help=serve.__doc__)
    many.add_argument("--port", type=_port, default=8080)
    many.set_defaults(command=serve)
    all_faults = commands.add_parser("faults", help=faults.__doc__)
    all_faults.set_defaults(command=faults, port=0)
    return parser


def _port(text: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", text) or int(text) > 65535:
        sys.exit(f"port {text} is none: choose one from 0 to 65535 {_CHOOSE_PORT}")
    return int(text)


def _say(line: str) -> None:
    try:
        print(line, flush=True)
    except BrokenPipeError:  # nobody listens any more, but the function goes on
        _fall_silent()


def _fall_silent() -> None:
    """Let what is still to be printed go nowhere, so that the interpreter's end does not trip over it: nobody reads."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _leave(number: int, _frame: object) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
