"""Writes the transcripts: what each conversation of Bedrock's becomes in every wire format. README.md says more.

.venv/bin/python -m tests.transcripts.transcribe
"""

from __future__ import annotations

import json
import textwrap
from base64 import b64decode
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import local  # noqa: F401  # it finds lambda_src
from relay import formats
from relay.errors import transport_error
from relay.events import Failure, Start
from relay.eventstream import FrameCut, read_frames
from relay.grammar import well_formed
from relay.lanes import lane_of
from tests.frames import chunk, event, exception

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from relay.errors import RelayError
    from relay.events import Event
    from relay.eventstream import Frame
    from relay.formats import Format

FOLDER = Path(__file__).parent
CONVERSATIONS = sorted(path.parent for path in FOLDER.glob("*/bedrock.jsonl"))
_CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
_NOVA = "us.amazon.nova-pro-v1:0"
REQUEST_ID = "8c1f2a52-5f0e-4c57-9d3f-6d2f4c1b7a90"
_CREATED = 1_770_000_000
_SUFFIXES = {
    "text/event-stream": "sse",
    "application/x-ndjson": "ndjson",
    "text/plain": "txt",
    "application/vnd.amazon.eventstream": "eventstream",
    "application/json": "json",
}
_MESSAGES: Any = [{"role": "user", "content": "hi"}]


class _Asked(NamedTuple):
    """A request to one of the APIs that are turned into Bedrock's.

    Attributes:
        name: the API's, in the names of its transcripts.
        path: the API's.
        model: the one that is asked.
        body: the least that there is to say, without a word on whether to stream.
        streamed: what more says that the answer is to be streamed.
        whole: what more says that it is not; nothing, where the API only streams.
    """

    name: str
    path: str
    model: str
    body: Mapping[str, Any]
    streamed: Mapping[str, Any] = {"stream": True}
    whole: Mapping[str, Any] | None = {}


# Anthropic's own models are asked in their own words; any other shows how its answer is put into these.
_ANTHROPIC = _Asked(
    "anthropic-messages", "/v1/messages", _NOVA, {"max_tokens": 100, "messages": _MESSAGES}
)
_ANTHROPICS_OWN = _ANTHROPIC._replace(model=_CLAUDE, whole=None)
_CONVERSED = (
    _ANTHROPIC,
    _Asked(
        "openai-chat",
        "/v1/chat/completions",
        _CLAUDE,
        {"messages": _MESSAGES},
        streamed={"stream": True, "stream_options": {"include_usage": True}},
    ),
    _Asked("openai-responses", "/v1/responses", _CLAUDE, {"input": "hi"}),
    _Asked(
        "ui-chat",
        "/ui/chat",
        _CLAUDE,
        {"messages": [{"id": "1", "role": "user", "parts": [{"type": "text", "text": "hi"}]}]},
        streamed={},
        whole=None,
    ),
)


def transcribe(conversation: Path) -> dict[str, bytes]:
    """Return the transcripts of a conversation by file name."""
    lines = _lines(conversation)
    wire = b"".join(map(_frame, lines))
    documents = [line["chunk"]["document"] for line in _lines(conversation) if "chunk" in line]
    if not documents:
        frames = {"application/vnd.amazon.eventstream": formats.CONVERSE_FRAMES}
        transcripts = _of_table({**formats.CONVERSE, **frames}, wire, "ConverseStream")
        return transcripts | _of_apis(_CONVERSED, wire)
    transcripts = _of_table(formats.INVOKE, wire, "InvokeModelWithResponseStream")
    is_anthropics = "message_start" in str(documents[0])
    return transcripts | (_of_apis([_ANTHROPICS_OWN], wire) if is_anthropics else {})


def _of_table(table: Mapping[str, Format], wire: bytes, operation: str) -> dict[str, bytes]:
    """Return the transcripts in Rivulet's formats and Bedrock's own."""
    transcripts = {}
    for media_type, chosen in table.items():
        written = b"".join(chosen.encode(_events(wire, operation, chosen)))
        suffix = _SUFFIXES[media_type]
        readable = _annotated(written) if suffix == "eventstream" else written
        transcripts[f"answer.{suffix}"] = readable
    return transcripts


def _of_apis(all_asked: Iterable[_Asked], wire: bytes) -> dict[str, bytes]:
    """Return the transcripts in the formats of other APIs."""
    transcripts = {}
    for asked in all_asked:
        for more in (asked.streamed, asked.whole):
            if more is not None:
                suffix, written = _of_api(asked, more, wire)
                transcripts[f"answer.{asked.name}.{suffix}"] = written
    return transcripts


def _of_api(asked: _Asked, more: Mapping[str, Any], wire: bytes) -> tuple[str, bytes]:
    """Return what an API answers, and its suffix; for a failure that is told by a status, the body beside that."""
    api = formats.APIS[asked.path]
    operation, _, chosen = api.read({**asked.body, **more}, asked.model, {})
    events = list(_events(wire, operation, chosen, asked.model))
    written = b"".join(chosen.encode(events))
    end = events[-1]
    if isinstance(end, Failure) and not written:
        written = _refusal(asked.path, end.error)
    return _SUFFIXES[chosen.headers["content-type"].partition(";")[0]], written


def _refusal(path: str, error: RelayError) -> bytes:
    return json.dumps(formats.APIS[path].refuse(error, REQUEST_ID, {}).body).encode()


def eventstream_bytes(annotated: bytes) -> bytes:
    """Return the bytes that an annotated event stream shows."""
    lines = annotated.decode().split("\n")
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


def _events(wire: bytes, operation: str, chosen: Format, model: str = _CLAUDE) -> Iterator[Event]:
    """Yield the events as the handler does, to a caller who stays and has room for them."""
    usage: dict[str, Any] = {}
    lane = lane_of(operation, is_bedrocks=chosen.is_bedrocks)
    events = lane(_frames(wire), Start(model, REQUEST_ID, created=_CREATED), usage)
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
