"""What a deployment allows a request to ask for: how many messages, how many tokens, which tools and files of AWS's.

Converse has one field for the tokens, which is filled in where a request leaves it out. InvokeModel's bodies are in the
schemas of their models and go out as they came: each must name its own limit, under one of the names that models have
for it.

Tools of Bedrock's own and files in S3 take permissions, which the function's role has by choice alone. Any other is the
caller's mistake and refused here, or else Bedrock would, as if the deployment were broken.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from relay.shapes import describe, invalid

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from relay.settings import Settings

_MAX_TOKENS = frozenset(
    {
        "max_tokens",  # Anthropic, Mistral AI, DeepSeek, Qwen, Cohere
        "maxTokens",  # Amazon Nova, AI21
        "max_new_tokens",  # Amazon Nova
        "maxTokenCount",  # Amazon Titan
        "max_gen_len",  # Meta
        "max_completion_tokens",  # OpenAI
        "max_tokens_to_sample",  # Anthropic's text completions
        "max_output_tokens",  # OpenAI's Responses
        "maxOutputTokens",  # TwelveLabs
    }
)

SCHEMAS = frozenset({"json_schema", "metadata", "properties", "schema"})
"""What names things of the caller's own, in a request to any model."""
# And in a conversation: to a model it is text, whatever is in it.
_CALLERS_OWN = SCHEMAS | {
    *("arguments", "inputSchema", "input_examples", "input_schema", "json", "outputs", "parameters")
}
THINKING = "budget_tokens"
"""The limit on thinking: with some betas it comes on top of the other."""
# Where a family of models reads it. What stands elsewhere is checked, but does not count.
_READ_BY = {
    "ai21.": {"max_tokens"},
    "amazon.nova": {"inferenceConfig.maxTokens", "inferenceConfig.max_new_tokens"},
    "amazon.titan": {"textGenerationConfig.maxTokenCount"},
    "anthropic.": {"max_tokens", "max_tokens_to_sample"},
    "cohere.": {"max_tokens"},
    "meta.": {"max_gen_len"},
    "mistral.": {"max_tokens"},
    "openai.": {"max_tokens", "max_completion_tokens"},
    "twelvelabs.pegasus": {"maxOutputTokens"},
}
_READ_BY_OTHERS = frozenset({"max_tokens", "max_completion_tokens"})
_GENERATES_NO_TEXT = re.compile(r"embed|rerank|canvas|reel|stability\.|image|upscale")
# Where any model may that an ARN does not name.
_PLACES = frozenset({"", "inferenceConfig", "textGenerationConfig"})
# How many answers of that length there are to be: OpenAI, Cohere, AI21.
_ANSWERS = frozenset(
    {"n", "best_of", "num_completions", "num_generations", "num_return_sequences", "numResults"}
)
# The names of things that take a permission.
_OF_PERMISSIONS = frozenset({"systemTool", "s3Location"})
# What models call the messages.
_CONVERSATIONS = ("messages", "chat_history")


def limited_converse(
    parameters: Mapping[str, Any], settings: Settings, field: str = "inferenceConfig.maxTokens"
) -> dict[str, Any]:
    """Return a ConverseStream request that keeps to the limits.

    Args:
        parameters: the request.
        settings: the limits.
        field: what the caller calls the limit on tokens.

    Raises:
        RequestError: it asks for more.
    """
    _check_messages(parameters.get("messages"), settings)
    check_reach(parameters, settings)
    limit = settings.max_tokens
    if limit is None:
        return dict(parameters)
    inference = parameters.get("inferenceConfig", {})
    _check_tokens(field, inference.get("maxTokens", limit), limit)
    extra = parameters.get("additionalModelRequestFields")
    for name, value in token_limits(extra):
        _check_tokens(f"additionalModelRequestFields.{name}", value, limit)
    _check_answers(extra, "additionalModelRequestFields.")
    return {**parameters, "inferenceConfig": {"maxTokens": limit, **inference}}


def limited_json(data: bytes, body: Mapping[str, Any], settings: Settings) -> bytes:
    """Return Bedrock's own request to Converse, so that it keeps to the limits; as it came, where it does.

    Args:
        data: the request's JSON.
        body: what it says.
        settings: the limits.

    Raises:
        RequestError: it asks for more.
    """
    limit = settings.max_tokens
    check_no_name_twice(data, {"messages"} if limit is None else None)
    inference = body.get("inferenceConfig", {})
    if limit is not None and not isinstance(inference, dict):
        raise invalid("inferenceConfig", "an object", describe(inference))
    limited = limited_converse(body, settings)
    if limited == body:
        return data
    return to_json(limited)


def check_messages(body: Mapping[str, Any], settings: Settings) -> None:
    """Refuse a request to another API that has too many messages, before they become fewer of Bedrock's.

    Raises:
        RequestError: it has.
    """
    for name in ("messages", "input"):
        _check_messages(body.get(name), settings, name)


def check_reach(request: Any, settings: Settings) -> None:
    """Refuse a tool of Bedrock's own or a file in S3, but for those that the deployment allows.

    Raises:
        RequestError: the request names one, wherever it does.
    """
    for field, name in _named("systemTool", "name", request):
        if name not in settings.system_tools:
            allowed = ", ".join(settings.system_tools) or "none"
            expected = f"one of the system tools that this deployment allows ({allowed})"
            raise invalid(field, expected, name[:200])
    for field, uri in _named("s3Location", "uri", request):
        if not uri.startswith(settings.s3_uris):
            raise invalid(field, "a URI under one of those that this deployment allows", "another")


def is_callers_own(name: str, within: Mapping[str, Any]) -> bool:
    """Tell whether what a member of an object holds is the caller's own, such as the input of a tool."""
    return name in _CALLERS_OWN or (name == "input" and "name" in within)


def to_json(value: Any) -> bytes:
    """Return JSON in UTF-8; with escapes, where half a surrogate pair leaves no other way."""
    try:
        return json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(value).encode()


def check_invoke(model: str, body: Any, data: bytes, settings: Settings) -> None:
    """Refuse an InvokeModel request that asks for more than the limits.

    Args:
        model: the model's id.
        body: what its JSON says.
        data: the JSON itself.
        settings: the limits.

    Raises:
        RequestError: it does.
    """
    limit = settings.max_tokens
    check_no_name_twice(data, _CONVERSATIONS if limit is None else None)
    for name in _CONVERSATIONS:
        _check_messages(body.get(name) if isinstance(body, dict) else None, settings, name)
    check_reach(body, settings)
    if limit is None:
        return
    found = dict(token_limits(body))
    for name, value in found.items():
        _check_tokens(name, value, limit)
    _check_answers(body)
    if _GENERATES_NO_TEXT.search(model):
        return
    by_default = None if model.startswith("arn:") else _READ_BY_OTHERS
    names = next((names for family, names in _READ_BY.items() if family in model), by_default)
    if names is not None and names.isdisjoint(found):
        raise invalid(" or ".join(sorted(names)), f"from 1 to {limit}", "nothing")
    if not any(_counts(name) for name in found):
        expected = f"from 1 to {limit}, under the name that the model has for it"
        raise invalid("max_tokens", expected, "nothing")


def _counts(path: str) -> bool:
    """Tell whether a limit stands where some model reads it."""
    place, _, name = path.rpartition(".")
    return place in _PLACES and name in _MAX_TOKENS


def _named(kind: str, by: str, value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield each thing of a kind that a request names, by its path. What is malformed is Bedrock's to refuse."""
    if isinstance(value, list):
        for number, item in enumerate(value):
            if isinstance(item, dict | list):
                yield from _named(kind, by, item, f"{path}[{number}]")
    elif isinstance(value, dict):
        for name, member in value.items():
            if isinstance(member, dict | list) and not is_callers_own(name, value):
                where = f"{path}.{name}" if path else name
                if name == kind and isinstance(member, dict) and isinstance(member.get(by), str):
                    yield f"{where}.{by}", member[by]
                yield from _named(kind, by, member, where)


def _check_messages(messages: Any, settings: Settings, field: str = "messages") -> None:
    if isinstance(messages, list) and len(messages) > settings.max_messages:
        raise invalid(field, f"at most {settings.max_messages}", f"{len(messages)}")


def _check_tokens(field: str, value: Any, limit: int) -> None:
    # Not below 1 either: some take 0 or -1 for no limit at all.
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= limit:
        raise invalid(field, f"from 1 to {limit}", describe(value))


def _check_answers(body: Any, prefix: str = "") -> None:
    """Refuse to have more than one answer made: each would have as many tokens as are allowed."""
    for name in _ANSWERS & body.keys() if isinstance(body, dict) else ():
        if body[name] != 1 or body[name] is True:
            raise invalid(f"{prefix}{name}", "1", describe(body[name]))


def token_limits(body: Any) -> Iterator[tuple[str, Any]]:
    """Yield the limits that a body names, at its top or in the objects within; what is in lists is not asked for."""
    if not isinstance(body, dict):
        return
    for name, value in body.items():
        if name in _MAX_TOKENS or name == THINKING:
            yield name, value
        elif isinstance(value, dict) and name not in SCHEMAS:
            yield from ((f"{name}.{path}", limit) for path, limit in token_limits(value))


def check_no_name_twice(data: bytes, limited: Collection[str] | None) -> None:
    """Refuse a name, of these or of any, that comes twice in an object: each reader may take another for it.

    Of any, where the request may speak of what not everybody is allowed.

    Raises:
        RequestError: one does.
    """
    twice: set[str] = set()
    may_hide = False

    def look(members: list[tuple[str, Any]]) -> None:
        nonlocal may_hide
        names = [name for name, _ in members]
        may_hide = may_hide or not _OF_PERMISSIONS.isdisjoint(names)
        if len(set(names)) < len(names):
            twice.update(name for name, times in Counter(names).items() if times > 1)

    json.loads(data, object_pairs_hook=look)
    if twice and (may_hide or limited is None or not twice.isdisjoint(limited)):
        raise invalid("", "each name once in an object", "one twice")
