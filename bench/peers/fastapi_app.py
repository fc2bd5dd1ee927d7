"""The usual way: FastAPI under uvicorn, as it would run behind the Lambda Web Adapter, iterating boto3's own stream."""

# ruff: noqa: TID251  # a peer calls Bedrock itself

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Annotated, Any

import boto3
from fastapi import Body, FastAPI
from fastapi.responses import StreamingResponse

if TYPE_CHECKING:
    from collections.abc import Iterator

app = FastAPI()
bedrock = boto3.client("bedrock-runtime")
model = os.environ["RIVULET_MODEL_IDS"]


@app.post("/stream")
def stream(body: Annotated[dict[str, Any], Body()]) -> StreamingResponse:
    """Stream the text of an answer as server-sent events."""
    messages = [{"role": "user", "content": [{"text": body["prompt"]}]}]
    response = bedrock.converse_stream(modelId=model, messages=messages)

    def events() -> Iterator[str]:
        for event in response["stream"]:
            delta = event.get("contentBlockDelta", {}).get("delta", {})
            if "text" in delta:
                yield f"data: {json.dumps({'type': 'text', 'text': delta['text']})}\n\n"
        yield 'data: {"type": "done"}\n\n'

    return StreamingResponse(events(), media_type="text/event-stream")
