"""Writes the transcripts: what each conversation of Bedrock's becomes in every wire format. README.md says more.

.venv/bin/python -m tests.transcripts.transcribe
"""

from __future__ import annotations

import json
import textwrap
from base64 import b64decode
from pathlib import Path
from typing import TYPE_CHECKING, Any

import local  # noqa: F401  # it finds lambda_src
from relay import formats
from relay.errors import transport_error
from relay.events import Start
from relay.eventstream import FrameCut, read_frames
from relay.grammar import well_formed
from relay.lanes import lane_of
from tests.frames import chunk, event, exception

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay.events import Event
    from relay.eventstream import Frame
    from relay.formats import Format

FOLDER = Path(__file__).parent
CONVERSATIONS = sorted(path.parent for path in FOLDER.glob("*/bedrock.jsonl"))
_MODEL = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
_REQUEST_ID = "8c1f2a52-5f0e-4c57-9d3f-6d2f4c1b7a90"
_CREATED = 1_770_000_000
_SUFFIXES = {
    "text/event-stream": "sse",
    "application/x-ndjson": "ndjson",
    "text/plain": "txt",
    "application/vnd.amazon.eventstream": "eventstream",
}


def transcribe(conversation: Path) -> dict[str, bytes]:
    """Return the transcripts of a conversation by file name."""
    wire = b"".join(map(_frame, _lines(conversation)))
    invoke = any("chunk" in line for line in _lines(conversation))
    operation = "InvokeModelWithResponseStream" if invoke else "ConverseStream"
    table = formats.INVOKE if invoke else formats.CONVERSE
    transcripts = {}
    for media_type, chosen in table.items():
        written = b"".join(chosen.encode(_events(wire, operation, chosen)))
        suffix = _SUFFIXES[media_type]
        readable = _annotated(written) if suffix == "eventstream" else written
        transcripts[f"answer.{suffix}"] = readable
    return transcripts


def eventstream_bytes(annotated: bytes) -> bytes:
    """Return the bytes that an annotated event stream shows."""
    lines = annotated.decode().splitlines()
    return bytes.fromhex("".join(line for line in lines if not line.startswith("#")))


def main() -> None:
    """Write all transcripts anew."""
    for conversation in CONVERSATIONS:
        for name, data in transcribe(conversation).items():
            (conversation / name).write_bytes(data)
            print(f"{conversation.name}/{name}: {len(data)} bytes")


def _lines(conversation: Path) -> list[dict[str, Any]]:
    lines = (conversation / "bedrock.jsonl").read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line]


def _frame(line: dict[str, Any]) -> bytes:
    ((name, body),) = line.items()
    match name:
        case "half of":
            data = _frame(body)
            return data[: len(data) // 2]
        case "chunk":
            return chunk(_json(body.pop("document")), **body)
        case _ if name.endswith("Exception"):
            return exception(name, _json(body))
        case _:
            return event(name, _json(body))


def _json(body: Any) -> bytes:
    """Return a body as Bedrock writes it; one in quotes is the JSON itself, where its very escapes matter."""
    if isinstance(body, str):
        return body.encode()
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _events(wire: bytes, operation: str, chosen: Format) -> Iterator[Event]:
    """Yield the events as the handler does, to a caller who stays and has room for them."""
    usage: dict[str, Any] = {}
    lane = lane_of(operation, is_bedrocks=chosen.is_bedrocks)
    events = lane(_frames(wire), Start(_MODEL, _REQUEST_ID, created=_CREATED), usage)
    return well_formed(events, usage, has_room=lambda: True, passing=BrokenPipeError)


def _frames(wire: bytes) -> Iterator[Frame]:
    """Yield the frames as ``relay.bedrock`` does."""
    try:
        yield from read_frames([wire])
    except FrameCut as error:
        raise transport_error("truncated") from error


def _annotated(data: bytes) -> bytes:
    """Return an event stream in hexadecimal, each frame under what it says."""
    lines = []
    for frame in read_frames([data]):
        headers = ", ".join(f"{name}: {value}" for name, value in frame.headers.items())
        lines += [f"# {headers}", f"# {frame.payload.decode()}"]
        if frame.headers.get(":event-type") == "chunk":
            document = b64decode(json.loads(frame.payload)["bytes"]).decode()
            lines += [f"# bytes: {document!r}"]
        lines += [*textwrap.wrap(frame.data.hex(), 96), "#"]
    return "\n".join([*lines, ""]).encode()


if __name__ == "__main__":
    main()
