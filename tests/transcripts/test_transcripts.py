# ruff: noqa: TID251  # botocore is the judge

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from botocore.eventstream import EventStreamBuffer

from relay.eventstream import read_frames
from tests.transcripts.transcribe import CONVERSATIONS, FOLDER, eventstream_bytes, transcribe

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=lambda path: path.name)
def test_the_transcripts_are_true(conversation: Path) -> None:
    """Each file is, byte for byte, what the relay makes of Bedrock's frames today, and there is no other file."""
    kept = {
        path.name: path.read_bytes()
        for path in conversation.iterdir()
        if path.name != "bedrock.jsonl"
    }
    assert kept == transcribe(conversation)


@pytest.mark.parametrize(
    "path", sorted(FOLDER.glob("*/answer.*")), ids=lambda p: p.parent.name + p.suffix
)
def test_each_answer_has_one_end(path: Path) -> None:
    """However Bedrock's stream went, its last event, and only that, is ``done`` or ``error``."""
    if path.suffix not in {".sse", ".ndjson"}:
        return
    lines = path.read_text(encoding="utf-8").split("\n")
    types = [json.loads(line.removeprefix("data: "))["type"] for line in lines if line]
    assert types[0] == "start"
    assert [t for t in types if t in {"done", "error"}] == [types[-1]]


@pytest.mark.parametrize(
    "path", sorted(FOLDER.glob("*/answer.eventstream")), ids=lambda p: p.parent.name
)
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
    assert readme.count("\n| `") == len(CONVERSATIONS)
