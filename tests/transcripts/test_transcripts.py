# ruff: noqa: TID251  # botocore is the judge

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import httpx
import pytest
from botocore.eventstream import EventStreamBuffer
from httpx_sse import EventSource

from relay.eventstream import read_frames
from tests.transcripts.transcribe import (
    CONVERSATIONS,
    FOLDER,
    REQUEST_ID,
    eventstream_bytes,
    transcribe,
)

if TYPE_CHECKING:
    from pathlib import Path

    from httpx_sse import ServerSentEvent


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=lambda path: path.name)
def test_the_transcripts_are_true(conversation: Path) -> None:
    """Each file is, byte for byte, what the relay makes of Bedrock's frames today, and there is no other file."""
    kept = {
        path.name: path.read_bytes()
        for path in conversation.iterdir()
        if path.name != "bedrock.jsonl"
    }
    assert kept == transcribe(conversation)


def _paths(*patterns: str) -> list[Path]:
    return sorted(path for pattern in patterns for path in FOLDER.glob(f"*/{pattern}"))


def _id(path: Path) -> str:
    return f"{path.parent.name}{path.name.removeprefix('answer')}"


@pytest.mark.parametrize("path", _paths("answer.sse", "answer.ndjson"), ids=_id)
def test_each_answer_has_one_end(path: Path) -> None:
    """However Bedrock's stream went, its last event, and only that, is ``done`` or ``error``."""
    lines = path.read_text(encoding="utf-8").split("\n")
    types = [json.loads(line.removeprefix("data: "))["type"] for line in lines if line]
    assert types[0] == "start"
    assert [t for t in types if t in {"done", "error"}] == [types[-1]]


FAILED = ("throttled", "truncated", "invoke-failed", "invoke-nova")
# How each API's stream begins and ends: where it is complete, and where it failed.
ENDS = {
    "anthropic-messages": (["message_start"], ["message_stop"], ["error"]),
    "openai-chat": (["chat.completion.chunk"], ["chat.completion.chunk", "[DONE]"], ["error"]),
    "openai-responses": (["response.created"], ["response.completed"], ["response.failed"]),
    "ui-chat": (["start"], ["finish", "[DONE]"], ["error", "[DONE]"]),
}


def _kind(event: ServerSentEvent) -> str:
    if event.data == "[DONE]":
        return event.data
    said = json.loads(event.data)
    kind = said.get("type") or said.get("object") or next(iter(said))
    assert event.event in {"message", kind}
    return str(kind)


@pytest.mark.parametrize("path", _paths("answer.*.sse"), ids=_id)
def test_each_apis_answer_has_its_end(path: Path) -> None:
    """Each stream begins as its API's do, and has one end: that of a complete answer, or of a failure."""
    headers = {"content-type": "text/event-stream"}
    response = httpx.Response(200, headers=headers, content=path.read_bytes())
    kinds = [_kind(event) for event in EventSource(response).iter_sse()]
    begin, complete, failed = ENDS[path.name.split(".")[1]]
    end = failed if path.parent.name in FAILED else complete
    if path.name == "answer.openai-responses.sse" and path.parent.name == "everything":
        end = [
            "response.incomplete"
        ]  # why its model stopped is not among the reasons of a complete one
    assert kinds[: len(begin)] == begin
    assert kinds[-len(end) :] == end
    only_ends = {*complete, *failed} - {"chat.completion.chunk"}
    assert not only_ends & set(kinds[: -len(end)])


@pytest.mark.parametrize("path", _paths("answer.*.json"), ids=_id)
def test_a_whole_answer_is_one_document_or_refused(path: Path) -> None:
    """A whole answer is one JSON document, and one that would be a part of it is an error instead."""
    said = json.loads(path.read_bytes())
    assert bool(said.get("error")) == (path.parent.name in FAILED)
    assert ("id" in said) == (path.parent.name not in FAILED)
    assert REQUEST_ID in str(said)


@pytest.mark.parametrize("path", _paths("answer.*.sse", "answer.*.json"), ids=_id)
def test_no_transcript_names_an_account(path: Path) -> None:
    """Bedrock's words have an account's id in them; no transcript does."""
    assert b"123456789012" not in path.read_bytes()


@pytest.mark.parametrize("path", _paths("answer.eventstream"), ids=_id)
def test_botocore_reads_the_event_streams(path: Path) -> None:
    """The bytes that the annotated hexadecimal shows are whole frames to botocore, all of them."""
    data = eventstream_bytes(path.read_bytes())
    judge = EventStreamBuffer()
    judge.add_data(data)
    payloads = [message.payload for message in judge]
    assert payloads == [frame.payload for frame in read_frames([data])]
    assert len(payloads) > 1


def test_every_conversation_is_described() -> None:
    """The README's table names each folder."""
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(f"| `{conversation.name}` |" in readme for conversation in CONVERSATIONS)
    _, _, described = readme.partition("| conversation |")
    assert described.count("\n| `") == len(CONVERSATIONS)
