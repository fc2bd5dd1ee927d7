"""Every wire format answers, and ends as it should. Each asks for one word."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import TYPE_CHECKING, Any

from botocore.eventstream import EventStreamBuffer  # noqa: TID251  # the reader of AWS's SDKs

from smoke.verdicts import Skipped, Wrong

if TYPE_CHECKING:
    from smoke.caller import Answer
    from smoke.deployment import Deployment

_PROMPT = "Say the word: stream."
_TOKENS = 64  # enough for a model that reasons first to have come to its word
_TURN = {"role": "user", "content": _PROMPT}
_BLOCKS = {"role": "user", "content": [{"text": _PROMPT}]}


def server_sent_events(deployment: Deployment) -> str:
    """`POST /stream` in server-sent events."""
    return _own_events(deployment, "text/event-stream")


def ndjson(deployment: Deployment) -> str:
    """`POST /stream` in NDJSON."""
    return _own_events(deployment, "application/x-ndjson")


def plain_text(deployment: Deployment) -> str:
    """`POST /stream` in plain text, which says an error in a last line."""
    answer = _ask(deployment, "/stream", _own(deployment), "text/plain")
    last = answer.body.decode(errors="replace").rstrip("\n").rpartition("\n")[2]
    if not answer.whole or (last.startswith("[") and last.endswith("]") and ": " in last):
        raise Wrong(f"it ends with {last[:100]!r}")
    return f"{len(answer.body)} bytes of text"


def converse_stream(deployment: Deployment) -> str:
    """Bedrock's ConverseStream, as AWS's SDKs read it."""
    answer = _ask(deployment, deployment.model_path("converse-stream"), _converse(deployment))
    events = _frames(answer)
    if not events or events[-1][0] != "metadata":
        raise Wrong(f"its frames end with {events[-1][0] if events else 'none'}, expected metadata")
    return f"{len(events)} frames, the last is metadata"


def converse(deployment: Deployment) -> str:
    """Bedrock's Converse."""
    answer = _ask(deployment, deployment.model_path("converse"), _converse(deployment))
    if not isinstance(answer.json, dict) or not answer.json.get("stopReason"):
        raise Wrong(f"no stopReason in it: {answer.error}")
    return f"stopReason {answer.json['stopReason']}"


def invoke_stream(deployment: Deployment) -> str:
    """Bedrock's InvokeModelWithResponseStream, in the model's own words."""
    body = _models_own(deployment)
    if body is None:
        raise Skipped(
            "no words of this model's own are known here; see its page of Bedrock's guide"
        )
    path = deployment.model_path("invoke-with-response-stream")
    events = _frames(_ask(deployment, path, body, "application/vnd.amazon.eventstream"))
    if not events or b"amazon-bedrock-invocationMetrics" not in _chunk(events[-1][1]):
        raise Wrong(f"{len(events)} frames, the last without amazon-bedrock-invocationMetrics")
    return f"{len(events)} frames, the last has the metrics"


def chat_completions(deployment: Deployment) -> str:
    """OpenAI's Chat Completions."""
    body = {
        **_named(deployment),
        "messages": [_TURN],
        "max_completion_tokens": deployment.tokens(_TOKENS),
    }
    said = _ask(deployment, "/v1/chat/completions", body).said()
    if said[-1:] != ["[DONE]"]:
        raise Wrong(f"ends with {said[-1:]}, expected [DONE]")
    finished = [choice for text in said[:-1] for choice in json.loads(text).get("choices", [])]
    return f"{len(said)} events, finish_reason {finished[-1].get('finish_reason')}, [DONE]"


def responses(deployment: Deployment) -> str:
    """OpenAI's Responses."""
    body = {**_named(deployment), "input": _PROMPT, "max_output_tokens": deployment.tokens(_TOKENS)}
    return _typed(deployment, "/v1/responses", body, {"response.completed", "response.incomplete"})


def messages(deployment: Deployment) -> str:
    """Anthropic's Messages."""
    body = {**_named(deployment), "messages": [_TURN], "max_tokens": deployment.tokens(_TOKENS)}
    return _typed(deployment, "/v1/messages", body, {"message_stop"})


def ui_chat(deployment: Deployment) -> str:
    """The AI SDK's UI message stream."""
    parts = [{"type": "text", "text": _PROMPT}]
    body = {"id": "smoke", "messages": [{"id": "1", "role": "user", "parts": parts}]}
    said = _ask(deployment, "/ui/chat", body).said()
    if said[-1:] != ["[DONE]"] or not any('"type":"finish"' in text for text in said):
        raise Wrong(f"ends with {said[-2:]}, expected finish and [DONE]")
    return f"{len(said)} events, finish, [DONE]"


def _own_events(deployment: Deployment, accept: str) -> str:
    events = [event for _, event in _ask(deployment, "/stream", _own(deployment), accept).events()]
    if not events or events[-1].get("type") != "done":
        raise Wrong(f"ends with {events[-1] if events else 'nothing'}, expected done")
    return f"{len(events)} events, done: {events[-1].get('stop_reason')}"


def _typed(deployment: Deployment, path: str, body: Any, ends: set[str]) -> str:
    types = [event.get("type") for _, event in _ask(deployment, path, body).events()]
    if not types or types[-1] not in ends:
        raise Wrong(f"ends with {types[-1] if types else 'nothing'}, expected {' or '.join(ends)}")
    return f"{len(types)} events, the last is {types[-1]}"


def _ask(deployment: Deployment, path: str, body: Any, accept: str = "*/*") -> Answer:
    answer = deployment.caller.post(path, body, {"accept": accept})
    if answer.status != 200:
        raise Wrong(f"{answer.status} {answer.error}")
    return answer


def _own(deployment: Deployment) -> dict[str, Any]:
    return {"prompt": _PROMPT, "inferenceConfig": {"maxTokens": deployment.tokens(_TOKENS)}}


def _converse(deployment: Deployment) -> dict[str, Any]:
    return {"messages": [_BLOCKS], "inferenceConfig": {"maxTokens": deployment.tokens(_TOKENS)}}


def _named(deployment: Deployment) -> dict[str, Any]:
    return {"model": deployment.model, "stream": True}


def _models_own(deployment: Deployment) -> dict[str, Any] | None:
    model, tokens = deployment.model, deployment.tokens(_TOKENS)
    if "anthropic." in model:
        version = "bedrock-2023-05-31"
        return {"anthropic_version": version, "max_tokens": tokens, "messages": [_TURN]}
    if "amazon.nova" in model:
        return {"messages": [_BLOCKS], "inferenceConfig": {"maxTokens": tokens}}
    return None


def _frames(answer: Answer) -> list[tuple[str, bytes]]:
    """Return the events of an AWS event stream, without heartbeats: their types and payloads."""
    buffer = EventStreamBuffer()
    buffer.add_data(answer.body)
    named = [(event.headers.get(":event-type", "an exception"), event.payload) for event in buffer]
    return [(name, payload) for name, payload in named if name != "ping"]


def _chunk(payload: bytes) -> bytes:
    return b64decode(json.loads(payload).get("bytes", ""))
