"""The AI SDK's UI message stream (fact 64): server-sent events that ``useChat`` puts together to a message.

A part of the message is open from its ``-start`` to its ``-end``, under an id of its own; a tool call from its
``tool-input-start`` to the ``tool-input-available`` that has its whole input, or the ``tool-input-error`` that says
there is none. Then one ``finish`` or one ``error``, and ``[DONE]``. An image has no pieces in this format, and neither
has what a tool of Bedrock's own answered: these wait for the end of their block.

Reasoning brings its proof in ``providerMetadata``, with which ``useChat`` sends it back. A citation is a source: one on
the web, or one of the caller's documents. For what else Bedrock says the AI SDK has no chunk; it is in transient
``data-bedrock`` parts, which ``onData`` alone gets to see, as ``POST /stream`` has it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from relay import events as e
from relay import strict_json
from relay.formats.base64_pieces import joined
from relay.formats.json_line import dump
from relay.formats.json_objects import describe

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from relay.formats.vercel_ui_messages import Document

# Fact 4. What is not listed is "other".
_FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool-calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "guardrail_intervened": "content-filter",
    "content_filtered": "content-filter",
    "malformed_model_output": "error",
    "malformed_tool_use": "error",
}
_CUT_SHORT = "The tool call was cut short: its input is no whole JSON object."
_IN_A_DOCUMENT = ("documentChar", "documentPage", "documentChunk")


def encode(
    events: Iterable[e.Event], *, documents: Sequence[Document] = (), is_new: bool = True
) -> Iterator[bytes]:
    """Yield the chunks of an answer.

    Args:
        events: those of a stream.
        documents: the caller's, as far as the model can cite them.
        is_new: whether the answer is a UI message of its own, and gets an id. Where it goes on with the last one, that
            keeps its id: ``useChat`` would take another for another message.
    """
    answer = _Answer(documents, is_new=is_new)
    for event in events:
        told = b"".join(b"data: %b\n\n" % dump(chunk) for chunk in answer.chunks(event))
        if isinstance(event, e.Done | e.Failure):
            told += b"data: [DONE]\n\n"
        if told:
            yield told


@dataclass(slots=True)
class _Part:
    """A part that has begun and not ended.

    Attributes:
        kind: ``text``, ``reasoning``, ``tool``, ``result`` (of a tool) or ``image``.
        id: what its chunks are known by.
        about: what they say besides.
        pieces: what means nothing until it is whole, by its name.
    """

    kind: str
    id: str = ""
    about: dict[str, Any] = field(default_factory=dict)
    pieces: dict[str, list[Any]] = field(default_factory=dict)

    def add(self, name: str, *pieces: Any) -> list[Any]:
        """Add pieces to those that have come before, and return them all."""
        all_of_it = self.pieces.setdefault(name, [])
        all_of_it += pieces
        return all_of_it


class _Answer:
    """Makes chunks of events; it knows what is open, by the index of the content block."""

    def __init__(self, documents: Sequence[Document], *, is_new: bool) -> None:
        self._documents = documents
        self._is_new = is_new
        self._request_id = ""
        self._open: dict[int, _Part] = {}
        self._called: set[str] = set()
        self._count = 0

    def chunks(self, event: e.Event) -> Iterator[dict[str, Any]]:  # noqa: C901, PLR0912  # one case an event
        """Yield the chunks that tell an event."""
        match event:
            case e.Start(model, request_id, asked):
                yield from self._start(model, request_id, asked)
            case e.Text(index, text):
                yield from self._say(index, "text", text)
            case e.Reasoning(index, text):
                yield from self._say(index, "reasoning", text)
            case e.ReasoningSignature(index, signature):
                yield from self._prove(index, "signature", signature)
            case e.RedactedReasoning(index, data):
                yield from self._prove(index, "redactedContent", data)
            case e.ToolStart(index, tool):
                yield from self._call(index, tool)
            case e.ToolInput(index, piece) if self._is_open(index, "tool"):
                part = self._open[index]
                part.add("input", piece)
                delta = {"toolCallId": part.id, "inputTextDelta": piece}
                yield {"type": "tool-input-delta", **delta}
            case e.ToolResultStart(index, {"toolUseId": str(called), **more}) if (
                called in self._called
            ):
                yield from self._leave(index)
                self._open[index] = _Part("result", called, more)
            case e.ToolResult(index, list(content)) if self._is_open(index, "result"):
                self._open[index].add("output", *content)
            case e.ImageStart(index, format_):
                yield from self._leave(index)
                self._open[index] = _Part("image", about={"mediaType": f"image/{format_}"})
            case e.Image(index, {"source": {"bytes": str(data)}}) if self._is_open(index, "image"):
                self._open[index].add("bytes", data)
            case e.Citation(_, citation):
                yield self._source(citation) or _aside(event)
            case e.BlockEnd(index, complete):
                yield from self._leave(index, complete=complete)
            case e.Done(stop_reason, usage):
                yield {"type": "finish-step"}
                reason = _FINISH_REASONS.get(stop_reason or "", "other")
                about = _usage(usage) | ({"stopReason": stop_reason} if stop_reason else {})
                yield {"type": "finish", "finishReason": reason, "messageMetadata": about}
            case e.Failure(error, usage):
                if self._request_id:  # or else it would be a message, and an empty one
                    about = {**_usage(usage), "error": error.told()}
                    yield {"type": "message-metadata", "messageMetadata": about}
                yield {"type": "error", "errorText": f"{error.code}: {error.message}"}
            case e.ToolInput() | e.ToolResultStart() | e.ToolResult() | e.Image():
                yield _aside(event)  # which belongs to nothing, or says what no chunk can
            case e.Chunk() | e.Unknown() | e.Forwarded():
                yield _aside(event)

    def _start(self, model: str, request_id: str, asked: str | None) -> Iterator[dict[str, Any]]:
        self._request_id = request_id
        named = {"messageId": f"msg-{request_id}"} if self._is_new else {}
        instead_of = {} if asked is None else {"fallbackFrom": asked}
        about = {"model": model, "requestId": request_id, **instead_of}
        yield {"type": "start", **named, "messageMetadata": about}
        yield {"type": "start-step"}

    def _is_open(self, index: int, kind: str) -> bool:
        part = self._open.get(index)
        return part is not None and part.kind == kind

    def _enter(self, index: int, kind: str) -> Iterator[dict[str, Any]]:
        """Begin a part with the first of its pieces: Bedrock does not announce text and reasoning."""
        if not self._is_open(index, kind):
            yield from self._leave(index)
            part = self._open[index] = _Part(kind, f"{kind}-{self._number()}")
            yield {"type": f"{kind}-start", "id": part.id}

    def _say(self, index: int, kind: str, text: str) -> Iterator[dict[str, Any]]:
        yield from self._enter(index, kind)
        yield {"type": f"{kind}-delta", "id": self._open[index].id, "delta": text}

    def _prove(self, index: int, name: str, piece: str) -> Iterator[dict[str, Any]]:
        """Yield all that proves reasoning to be the model's, as far as it has come: the latest is what is kept."""
        yield from self._enter(index, "reasoning")
        part = self._open[index]
        part.add(name, piece)
        proof = {name: _PROOFS[name](pieces) for name, pieces in part.pieces.items()}
        told = {"id": part.id, "delta": "", "providerMetadata": {"bedrock": proof}}
        yield {"type": "reasoning-delta", **told}

    def _call(self, index: int, tool: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        yield from self._leave(index)
        part = self._open[index] = _Part("tool", str(tool.get("toolUseId")))
        part.about = {"toolCallId": part.id, "toolName": str(tool.get("name"))}
        if tool.get("type") == "server_tool_use":  # which Bedrock runs itself
            part.about["providerExecuted"] = True
        self._called.add(part.id)
        yield {"type": "tool-input-start", **part.about}

    def _leave(self, index: int, *, complete: bool = True) -> Iterator[dict[str, Any]]:
        part = self._open.pop(index, None)
        if part is None:
            return
        if part.kind in {"text", "reasoning"}:
            yield {"type": f"{part.kind}-end", "id": part.id}
        elif part.kind == "tool":
            yield _call_in_whole(part, complete=complete)
        elif complete and part.kind == "result":
            yield _result(part)
        elif complete and part.pieces:
            data = f"data:{part.about['mediaType']};base64,{_joined(part.pieces['bytes'])}"
            yield {"type": "file", **part.about, "url": data}

    def _source(self, citation: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return what a citation points at; nothing where that is neither on the web nor a document of the caller's."""
        told: dict[str, Any] = {"sourceId": f"{self._request_id}-{self._number()}"}
        if isinstance(citation.get("title"), str):
            told["title"] = citation["title"]
        told["providerMetadata"] = {"bedrock": {"citation": citation}}
        location = citation.get("location")
        if not isinstance(location, dict):
            return None
        web = location.get("web")
        if isinstance(web, dict) and isinstance(web.get("url"), str):
            return {"type": "source-url", **told, "url": web["url"]}
        document = self._document(location)
        if document is None:
            return None
        named = {} if document.filename is None else {"filename": document.filename}
        about = {"title": document.filename or "document", **named, **told}
        return {"type": "source-document", **about, "mediaType": document.media_type}

    def _document(self, location: Mapping[str, Any]) -> Document | None:
        for kind in _IN_A_DOCUMENT:
            place = location.get(kind)
            index = place.get("documentIndex", 0) if isinstance(place, dict) else None
            if isinstance(index, int) and 0 <= index < len(self._documents):
                return self._documents[index]
        return None

    def _number(self) -> int:
        self._count += 1
        return self._count


def _call_in_whole(part: _Part, *, complete: bool) -> dict[str, Any]:
    """Return the end of a tool call. A tool is not to run on the input of an answer that failed."""
    text = "".join(part.pieces.get("input", []))
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # halves of a pair
    try:
        value = strict_json.parse(text.encode()) if text.strip() else {}
    except ValueError:
        value = None
    if complete and isinstance(value, dict):
        return {"type": "tool-input-available", **part.about, "input": value}
    return {"type": "tool-input-error", **part.about, "input": text, "errorText": _CUT_SHORT}


def _result(part: _Part) -> dict[str, Any]:
    output = part.pieces.get("output", [])
    told: dict[str, Any] = {"toolCallId": part.id, "providerExecuted": True}
    if isinstance(part.about.get("type"), str):
        told["providerMetadata"] = {"bedrock": {"type": part.about["type"]}}
    if part.about.get("status") == "error":
        return {"type": "tool-output-error", **told, "errorText": dump(output).decode()}
    return {"type": "tool-output-available", **told, "output": output}


def _aside(event: e.Event) -> dict[str, Any]:
    return {"type": "data-bedrock", "data": describe(event), "transient": True}


def _joined(pieces: Sequence[str]) -> str:
    """Return the base64 of bytes that came in pieces; what is none, as it came."""
    whole = joined(pieces)
    return "".join(pieces) if whole is None else whole


_PROOFS = {"signature": "".join, "redactedContent": _joined}


def _usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    """Return Bedrock's counts as the AI SDK has them, whose input tokens are all of them, cached or not."""
    if not usage:
        return {}

    def count(name: str) -> int:
        value = usage.get(name)
        return value if isinstance(value, int) else 0

    fresh, output = count("inputTokens"), count("outputTokens")
    read, written = count("cacheReadInputTokens"), count("cacheWriteInputTokens")
    told = {
        "inputTokens": fresh + read + written,
        "inputTokenDetails": {
            "noCacheTokens": fresh,
            "cacheReadTokens": read,
            "cacheWriteTokens": written,
        },
        "outputTokens": output,
        "outputTokenDetails": {},
        "totalTokens": count("totalTokens") or fresh + read + written + output,
    }
    return {"usage": told}
