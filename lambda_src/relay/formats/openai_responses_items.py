"""The items of an answer of OpenAI's Responses API, each with the events that tell of it."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, TypeAlias

from relay.formats.base64_pieces import joined
from relay.formats.openai_responses_input import seal

if TYPE_CHECKING:
    from collections.abc import Mapping

# An event's type, and its members but for that and its number.
Told: TypeAlias = tuple[str, dict[str, Any]]


class Item(ABC):
    """An item of the output, as it grows.

    Args:
        answer: whose it is.
        place: in the output.
        start: what Bedrock says of it at its start, if it has one.

    Attributes:
        value: the item, as callers know it.
        prefix: of its id.
        unfinished: its status when it is over and not complete.
        asks: whether callers do what it says, so that they are told of its end only if it is complete.
        shows_its_end: whether one that was cut can be told from one that was not.
    """

    prefix = ""
    unfinished = "incomplete"
    asks = False
    shows_its_end = False

    def __init__(self, answer: str, place: int, start: Mapping[str, Any]) -> None:
        self.value = {"id": f"{self.prefix}_{answer}_{place}", **self._new(start)}
        self.value["status"] = "in_progress"
        self._place = place
        self._pieces: list[str] = []

    def begin(self) -> list[Told]:
        """Return the events that introduce it."""
        return [self._item("added"), *self._begun()]

    def add(self, piece: str) -> list[Told]:
        """Take a piece of it; return what there is to tell."""
        self._pieces.append(piece)
        return self._added(piece)

    def end(self, *, complete: bool) -> list[Told]:
        """Return the events that conclude it."""
        told = self._ended(complete=complete)
        is_whole = complete and self._is_whole()
        self.value["status"] = "completed" if is_whole else self.unfinished
        return [] if self.asks and not complete else [*told, self._item("done")]

    def cut(self) -> None:
        """Learn, after its end, that the answer broke off here; what tells itself that it is whole stays so."""
        if not (self.shows_its_end and self._is_whole()):
            self.value["status"] = self.unfinished

    @property
    def _text(self) -> str:
        return "".join(self._pieces)

    @abstractmethod
    def _new(self, start: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the item is when it begins."""

    def _begun(self) -> list[Told]:
        return []

    def _added(self, piece: str) -> list[Told]:  # noqa: ARG002  # items that are told in pieces want it
        return []

    @abstractmethod
    def _ended(self, *, complete: bool) -> list[Told]:
        """Put what has come into the value; return what there is to tell before that."""

    def _is_whole(self) -> bool:
        return True

    def _item(self, what: str) -> Told:
        members = {"output_index": self._place, "item": dict(self.value)}
        return f"response.output_item.{what}", members

    def _event(self, type_: str, **members: Any) -> Told:
        whose = {"item_id": self.value["id"], "output_index": self._place}
        return f"response.{type_}", {**whose, **members}


class Message(Item):
    """Text, in one part."""

    prefix = "msg"

    def __init__(self, answer: str, place: int, start: Mapping[str, Any]) -> None:
        super().__init__(answer, place, start)
        self._pages: list[dict[str, Any]] = []

    def cite(self, citation: Mapping[str, Any]) -> None:
        """Keep a web page until it is known how far the text goes that rests on it: its block's."""
        location = citation.get("location")
        web = location.get("web") if isinstance(location, dict) else None
        if isinstance(web, dict) and isinstance(web.get("url"), str):
            title = citation.get("title") or web.get("domain") or web["url"]
            self._pages.append({"type": "url_citation", "title": title, "url": web["url"]})

    def _new(self, start: Mapping[str, Any]) -> dict[str, Any]:
        return {"type": "message", "role": "assistant", "content": [], **start}

    def _begun(self) -> list[Told]:
        return [self._told("content_part.added", part=self._part([]))]

    def _added(self, piece: str) -> list[Told]:
        return [self._told("output_text.delta", delta=piece, logprobs=[])]

    def _ended(self, *, complete: bool) -> list[Told]:  # noqa: ARG002  # what has come is told
        span = {"start_index": 0, "end_index": len(self._text)}
        annotations = [{**page, **span} for page in self._pages]
        part = self._part(annotations)
        self.value["content"] = [part]
        return [
            *(
                self._told("output_text.annotation.added", annotation_index=n, annotation=one)
                for n, one in enumerate(annotations)
            ),
            self._told("output_text.done", text=self._text, logprobs=[]),
            self._told("content_part.done", part=part),
        ]

    def _part(self, annotations: list[dict[str, Any]]) -> dict[str, Any]:
        text = {"type": "output_text", "text": self._text}
        return {**text, "annotations": annotations, "logprobs": []}

    def _told(self, type_: str, **members: Any) -> Told:
        return self._event(type_, content_index=0, **members)


class Reasoning(Item):
    """The model's reasoning, with what proves it.

    Attributes:
        signature: of its text.
        redacted: the pieces of what is not to be read, in base64.
    """

    prefix = "rs"

    def __init__(self, answer: str, place: int, start: Mapping[str, Any]) -> None:
        super().__init__(answer, place, start)
        self.signature = ""
        self.redacted: list[str] = []

    def _new(self, start: Mapping[str, Any]) -> dict[str, Any]:
        return {"type": "reasoning", "summary": [], "encrypted_content": None, **start}

    def _added(self, piece: str) -> list[Told]:
        is_first = len(self._pieces) == 1
        begun = [self._told("part.added", part=_summary(""))] if is_first else []
        return [*begun, self._told("text.delta", delta=piece)]

    def _ended(self, *, complete: bool) -> list[Told]:  # noqa: ARG002  # what has come is told
        text = self._text
        self.value["encrypted_content"] = seal(text, self.signature, self.redacted)
        if not text:
            return []
        self.value["summary"] = [_summary(text)]
        done = self._told("text.done", text=text)
        return [done, self._told("part.done", part=_summary(text))]

    def _told(self, what: str, **members: Any) -> Told:
        return self._event(f"reasoning_summary_{what}", summary_index=0, **members)


class Call(Item):
    """A call of one of the caller's tools."""

    prefix = "fc"
    asks = True
    shows_its_end = True

    def _new(self, start: Mapping[str, Any]) -> dict[str, Any]:
        called = {"call_id": start.get("toolUseId", ""), "name": start.get("name", "")}
        return {"type": "function_call", **called, "arguments": ""}

    def _added(self, piece: str) -> list[Told]:
        return [self._event("function_call_arguments.delta", delta=piece)]

    def _ended(self, *, complete: bool) -> list[Told]:
        nothing = self.add("{}") if complete and not self._text.strip() else []
        self.value["arguments"] = self._text
        done = {"name": self.value["name"], "arguments": self._text}
        return [*nothing, self._event("function_call_arguments.done", **done)]

    def _is_whole(self) -> bool:
        # A limit on tokens cuts the input short, and lets the block end as if nothing had happened (fact 7).
        try:
            json.loads(self._text)
        except (ValueError, RecursionError):
            return False
        return True


class Image(Item):
    """An image that the model has made."""

    prefix = "ig"
    unfinished = "failed"
    shows_its_end = True

    def _new(self, start: Mapping[str, Any]) -> dict[str, Any]:
        return {"type": "image_generation_call", "result": None, **start}

    def _begun(self) -> list[Told]:
        return [self._event("image_generation_call.in_progress")]

    def _ended(self, *, complete: bool) -> list[Told]:
        self.value["result"] = (joined(self._pieces) or None) if complete else None
        return [self._event("image_generation_call.completed")] if self._is_whole() else []

    def _is_whole(self) -> bool:
        return self.value["result"] is not None


def _summary(text: str) -> dict[str, Any]:
    return {"type": "summary_text", "text": text}
