"""Converse's request, as far as all APIs that are turned into it have the same to say.

Converse wants the roles to take turns, bytes in base64, the results of tools in the turn after their calls, and
reasoning asked for in the model's own words.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from json import JSONDecodeError
from typing import TYPE_CHECKING, Any

from relay import strict_json
from relay.models import family
from relay.shapes import describe, invalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from relay.errors import RequestError

_DATA_URL = re.compile(r"data:([\w.+/-]*)(?:;[\w=.\"+-]+)*?;base64,(.*)", re.DOTALL)
_IMAGES = {"image/png": "png", "image/jpeg": "jpeg", "image/jpg": "jpeg", "image/gif": "gif"}
_IMAGES["image/webp"] = "webp"
DOCUMENTS = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9()\[\]-]+")  # of a document: become a space each
# Claude up to 4.5 is given a budget to think with; later ones are told how hard to think, and refuse a budget.
_BY_BUDGET = re.compile(r"claude-(?:3|(?:haiku|opus|sonnet)-4-(?:\d{8}|1-|5-)|instant|v2)")
# Tokens that an Anthropic model may think with, by how hard it is to think.
_BUDGETS = {
    "minimal": 1024,
    "low": 2048,
    "medium": 8192,
    "high": 24576,
    "xhigh": 32000,
    "max": 32000,
}


class Conversation:
    """Messages in Converse's terms.

    Attributes:
        messages: those of one role that follow one another are one.
        system: what is said by nobody in the conversation.
    """

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.system: list[dict[str, Any]] = []

    def add(self, role: str, blocks: Iterable[Mapping[str, Any]]) -> None:
        """Add content blocks of the ``user``'s or the ``assistant``'s."""
        content = list(blocks)
        if not content:
            return
        if self.messages and self.messages[-1]["role"] == role:
            self.messages[-1]["content"].extend(content)
        else:
            self.messages.append({"role": role, "content": content})

    @property
    def speaks_of_tools(self) -> bool:
        """Whether a tool has been called: then Converse wants to know the tools."""
        return any(
            "toolUse" in block or "toolResult" in block
            for message in self.messages
            for block in message["content"]
        )

    def request(self) -> dict[str, Any]:
        """Return the part of a Converse request that this is."""
        self._tell_documents_apart()
        return {"messages": self.messages} | ({"system": self.system} if self.system else {})

    def _tell_documents_apart(self) -> None:
        """Number the documents that have the same name: Bedrock refuses two of them in one conversation."""
        latest: dict[str, int] = {}
        for document in self._documents():
            name, key = document["name"][:190], document["name"].lower()
            number = latest.get(key, 0)
            while document["name"].lower() in latest:  # also where somebody has named one so
                number += 1
                document["name"] = f"{name} ({number})"
            latest[key] = max(number, 1)
            latest.setdefault(document["name"].lower(), 1)

    def _documents(self) -> Iterator[dict[str, Any]]:
        for message in self.messages:
            for block in message["content"]:
                for inner in (block, *block.get("toolResult", {}).get("content", ())):
                    if "document" in inner:
                        yield inner["document"]


def text_blocks(text: str) -> list[dict[str, Any]]:
    """Return the block of a text; none of one that is blank, which Bedrock refuses."""
    return [{"text": text}] if text.strip() else []


def media_block(url: str, field: str, name: str = "document") -> dict[str, Any]:
    """Return the image or the document that a data URL holds. Nothing is ever fetched.

    Args:
        url: the data URL.
        field: its path, for messages.
        name: a document's.

    Raises:
        RequestError: it is another kind of URL, or holds something else.
    """
    match = _DATA_URL.fullmatch(url)
    if match is None:
        scheme = url.partition(":")[0][:20] if ":" in url[:20] else ""
        got = f"a URL with {scheme}:, which is never fetched" if scheme else describe(url)
        raise invalid(field, "a data URL in base64", got)
    return base64_block(match[1].lower(), match[2], field, name)


def base64_data(data: str, field: str) -> str:
    """Return bytes in base64, as they are.

    Raises:
        RequestError: they are none. Afterwards only Converse's path for them would be known.
    """
    data = "".join(data.split())  # some encoders break lines
    try:
        if b64decode(data, validate=True):
            return data
    except ValueError:
        pass
    raise invalid(field, "bytes in base64", describe(data))


def base64_block(media_type: str, data: str, field: str, name: str = "document") -> dict[str, Any]:
    """Return an image or a document of a media type; its bytes are in base64.

    Raises:
        RequestError: Converse has no such kind, or they are none.
    """
    if media_type in _IMAGES:
        source = {"bytes": base64_data(data, field)}
        return {"image": {"format": _IMAGES[media_type], "source": source}}
    if media_type in DOCUMENTS:
        told = document_name(name.rpartition(".")[0] or name)
        document = {"format": DOCUMENTS[media_type], "name": told}
        return {"document": {**document, "source": {"bytes": base64_data(data, field)}}}
    known = ", ".join([*_IMAGES, *DOCUMENTS])
    raise invalid(field, f"one of {known}", media_type[:100] or "no media type")


def document_name(title: str) -> str:
    """Return a name that Bedrock takes for a document with this title."""
    return _NOT_IN_A_NAME.sub(" ", title).strip()[:200] or "document"


def file_block(data: str, field: str, name: str) -> dict[str, Any]:
    """Return the document that a file holds: in a data URL, or in base64, of the kind that its name ends with."""
    if data.startswith("data:"):
        return media_block(data, field, name)
    ending = name.rpartition(".")[2].lower()
    media_type = next((kind for kind, format_ in DOCUMENTS.items() if format_ == ending), "")
    return base64_block(media_type, data, field, name)


def tool_use(tool_id: str, name: str, arguments: str, field: str) -> dict[str, Any]:
    """Return the block of a tool call whose input is written as JSON text.

    Raises:
        RequestError: it is not the text of a JSON object.
    """
    try:
        value = strict_json.parse(arguments.encode()) if arguments.strip() else {}
    except (JSONDecodeError, ValueError):
        raise invalid(field, "the text of a JSON object", describe(arguments)) from None
    if not isinstance(value, dict):
        raise invalid(field, "the text of a JSON object", f"that of {describe(value)}")
    return {"toolUse": {"toolUseId": tool_id, "name": name, "input": value}}


def tool_spec(
    name: str, description: str | None, schema: Any, *, strict: bool | None = None
) -> dict[str, Any]:
    """Return a tool in Converse's terms. A tool without a schema takes nothing."""
    spec: dict[str, Any] = {"name": name}
    if description:
        spec["description"] = description
    spec["inputSchema"] = {"json": schema or {"type": "object", "properties": {}}}
    if strict:
        spec["strict"] = True
    return {"toolSpec": spec}


def json_schema_output(name: str, description: str | None, schema: Any) -> dict[str, Any]:
    """Return Converse's ``outputConfig`` for an answer that fits a JSON Schema. Bedrock refuses it for other models."""
    definition = {"schema": json.dumps(schema), "name": name}
    if description:
        definition["description"] = description
    structure = {"jsonSchema": definition}
    return {"textFormat": {"type": "json_schema", "structure": structure}}


def reasoning(
    model: str, effort: str, max_tokens: int | None, field: str, asked: str | None = None
) -> dict[str, Any]:
    """Return the ``additionalModelRequestFields`` that make a model think harder or less hard.

    Args:
        model: its id.
        effort: ``none``, ``minimal``, ``low``, ``medium``, ``high``, ``xhigh`` or ``max``.
        max_tokens: those that the whole answer may have, where the caller says.
        field: the path of what asks for it, for messages.
        asked: what it says there, if that is not the effort.

    Raises:
        RequestError: the model has no such choice, or not with that limit.
    """
    whose = family(model)
    if whose == "openai":
        if effort == "none":
            raise invalid(field, "low, medium or high, for this model always reasons", effort)
        return {"reasoning_effort": _three(effort)}
    if effort == "none":
        return {}
    if whose == "anthropic" and not _BY_BUDGET.search(model):
        effort = {"minimal": "low", "xhigh": "high"}.get(effort, effort)
        return {"thinking": {"type": "adaptive"}, "output_config": {"effort": effort}}
    if whose == "anthropic":
        budget = _BUDGETS[effort]
        if max_tokens is not None:
            budget = min(budget, max_tokens - 1)
            if budget < _BUDGETS["minimal"]:
                raise _too_few_to_think(field, max_tokens)
        return {"thinking": {"type": "enabled", "budget_tokens": budget}}
    if whose == "amazon.nova":
        if _three(effort) == "high" and max_tokens is not None:
            raise invalid(
                field, "low or medium, as this model takes no limit on tokens beside it", effort
            )
        return {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": _three(effort)}}
    raise invalid(field, "nothing, for this model has no such choice", asked or effort)


def _too_few_to_think(field: str, max_tokens: int) -> RequestError:
    least = _BUDGETS["minimal"] + 1
    return invalid(field, f"none, or room for at least {least} tokens", f"room for {max_tokens}")


def _three(effort: str) -> str:
    return {"minimal": "low", "xhigh": "high", "max": "high"}.get(effort, effort)
