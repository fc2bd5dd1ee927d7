"""LangChain's clients at a function URL: each makes its calls, and what it saw is printed as one JSON object.

It runs in a process of its own, on the packages that ``make judges`` has put aside. Its arguments say where the
function is and which model to ask, a JSON object on standard input what.
"""

# What it stands on is not among our own packages.
# mypy: disable-error-code="import-not-found,untyped-decorator"

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from botocore.config import Config  # noqa: TID251  # the judge's own
from botocore.exceptions import ClientError  # noqa: TID251
from langchain_aws import ChatBedrock, ChatBedrockConverse
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage
    from langchain_core.runnables import Runnable

THINKING = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
PLACE = {
    "title": "place",
    "description": "Where.",
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


@tool
def get_weather(city: str) -> str:
    """Return the weather of a city."""
    return city


@tool
def get_time(city: str) -> str:
    """Return the time in a city."""
    return city


def clients(
    url: str, model: str, provider: str | None = None, **more: Any
) -> dict[str, tuple[BaseChatModel, BaseChatModel | None]]:
    """Return the clients by name; each with one that reasons, if it shows reasoning.

    Args:
        url: where the function is.
        model: the model's name.
        provider: whose model it is, where its name does not tell: LangChain's clients for AWS want to know.
        more: what they are told besides.
    """
    aws = {
        "model": model,
        "region_name": "us-east-1",
        "aws_access_key_id": "test",
        "aws_secret_access_key": "test",
        "max_tokens": 2000,
        "config": Config(retries={"total_max_attempts": 1}),
        **({"provider": provider} if provider else {}),
        **more,
    }
    openai = {"model": model, "api_key": "test", "max_retries": 0, "stream_usage": True, **more}
    return {
        "ChatBedrockConverse": (
            ChatBedrockConverse(base_url=url, **aws),
            ChatBedrockConverse(base_url=url, additional_model_request_fields=THINKING, **aws),
        ),
        "ChatBedrock": (
            ChatBedrock(endpoint_url=url, **aws),
            ChatBedrock(endpoint_url=url, model_kwargs=THINKING, **aws),
        ),
        "ChatOpenAI": (ChatOpenAI(base_url=f"{url}/v1", **openai), None),
    }


def told(message: AIMessage) -> dict[str, Any]:
    """Return what the client made of an answer."""
    return {
        "text": str(message.text),
        "content": message.content,
        "content_blocks": message.content_blocks,
        "tool_calls": message.tool_calls,
        "invalid_tool_calls": message.invalid_tool_calls,
        "usage": message.usage_metadata,
        "response_metadata": message.response_metadata,
    }


def added(chunks: Iterable[Any]) -> tuple[Any, int]:
    """Return what a stream adds up to, as LangChain adds, and in how many pieces the text came."""
    whole, pieces = None, 0
    for chunk in chunks:
        whole = chunk if whole is None else whole + chunk
        pieces += bool(chunk.text)
    return whole, pieces


def streamed(model: Runnable[Any, Any], question: Any) -> dict[str, Any]:
    """Return what came as a stream."""
    whole, pieces = added(model.stream(question))
    return {**told(whole), "pieces": pieces}


def invoked(model: Runnable[Any, Any], question: Any) -> dict[str, Any]:
    """Return what came whole."""
    return told(model.invoke(question))


def answered(model: Runnable[Any, Any], question: str, result: str) -> dict[str, Any]:
    """Return what comes of the results of tools, which are handed in after the calls that a stream brought."""
    calls, _ = added(model.stream(question))
    results = [ToolMessage(result, tool_call_id=call["id"]) for call in calls.tool_calls]
    return streamed(model, [HumanMessage(question), calls, *results])


def broken(model: Runnable[Any, Any], question: Any) -> dict[str, Any]:
    """Return what came of a stream before it failed, and how it failed."""
    text = ""
    try:
        for chunk in model.stream(question):
            text += chunk.text
    except Exception as error:  # noqa: BLE001  # which one it is, is the question
        return {"text": text, **failure(error)}
    return {"text": text}


def failure(error: Exception) -> dict[str, Any]:
    """Return what a program can tell an error by."""
    code = getattr(error, "code", None)  # openai's
    if isinstance(error, ClientError):
        code = error.response["Error"]["Code"]
    return {
        "error": [base.__name__ for base in type(error).__mro__],
        "code": code,
        "message": str(error),
    }


def attempt(call: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """Make a call; an error is its outcome."""
    try:
        return call(*arguments)
    except Exception as error:  # noqa: BLE001  # it is told, and judged by the test
        return failure(error)


def document(client: str, data: str) -> dict[str, Any]:
    """Return a document in LangChain's terms, or in Anthropic's own where the client knows no others."""
    if client == "ChatBedrock":
        source = {"type": "base64", "media_type": "application/pdf", "data": data}
        return {"type": "document", "source": source}
    named = {"mime_type": "application/pdf", "filename": "report.pdf", "name": "report"}
    return {"type": "file", "base64": data, **named}


def main() -> None:
    """Ask everything of everyone."""
    url, model = sys.argv[1:]
    ask = json.load(sys.stdin)
    image = {"type": "image", "base64": ask["image"], "mime_type": "image/png"}
    # Of a model by another name ChatBedrockConverse does not know that it streams.
    by_alias = clients(url, ask["alias"], "anthropic", disable_streaming=False)
    not_allowed = clients(url, "other-model", "anthropic", disable_streaming=False)
    short = clients(url, model, max_tokens=3)
    seen: dict[str, dict[str, Any]] = {}
    for name, (plain, reasoning) in clients(url, model).items():
        tools = plain.bind_tools([get_weather, get_time])
        shown = [{"type": "text", "text": f"What does {name} show?"}, image]
        about = {"type": "text", "text": f"What does the report say to {name}?"}
        written = [about, document(name, ask["pdf"])]
        seen[name] = {
            "stream": attempt(streamed, plain, ask["question"]),
            "invoke": attempt(invoked, plain, ask["question"]),
            "tools stream": attempt(streamed, tools, ask["tools"]),
            "tools invoke": attempt(invoked, tools, ask["tools"]),
            "tools answered": attempt(answered, tools, ask["tools"], ask["result"]),
            "image": attempt(invoked, plain, [HumanMessage(content=shown)]),
            "document": attempt(invoked, plain, [HumanMessage(content=written)]),
            "short stream": attempt(streamed, short[name][0], ask["question"]),
            "short invoke": attempt(invoked, short[name][0], ask["question"]),
            "alias": attempt(streamed, by_alias[name][0], ask["question"]),
            "not allowed": attempt(streamed, not_allowed[name][0], ask["question"]),
            "blank": attempt(streamed, plain, " "),
            "refused": attempt(streamed, plain, ask["refused"]),
            "silent": attempt(streamed, plain, ask["silent"]),
            "cached stream": attempt(streamed, plain, ask["cached"]),
            "cached invoke": attempt(invoked, plain, ask["cached"]),
            "broken": attempt(broken, plain, ask["broken"]),
            "cut": attempt(broken, plain, ask["cut"]),
            "throttled stream": attempt(streamed, plain, ask["throttled"]),
            "throttled invoke": attempt(invoked, plain, ask["throttled"]),
        }
        if reasoning is not None:
            seen[name]["reasoning stream"] = attempt(streamed, reasoning, ask["question"])
            seen[name]["reasoning invoke"] = attempt(invoked, reasoning, ask["question"])
            both = reasoning.bind_tools([get_weather, get_time])
            question = f"{ask['tools']} {name} thinks."
            seen[name]["reasoning answered"] = attempt(answered, both, question, ask["result"])
        else:
            seen[name]["reasoning stream"] = attempt(streamed, plain, ask["reasoning"])
    for name in ("ChatBedrockConverse", "ChatOpenAI"):
        plain, _ = clients(url, model)[name]
        inside = plain.with_structured_output(PLACE, method="json_schema", include_raw=True)
        attempt(inside.invoke, f"Where is that, in JSON, {name}?")
    homes = {name: sys.modules[name].__file__ for name in ("boto3", "openai", "pydantic")}
    print(json.dumps({"seen": seen, "homes": homes}))


if __name__ == "__main__":
    main()
