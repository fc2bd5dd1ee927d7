"""The plain way: a handler under awslambdaric alone, which can only return a whole answer."""

# ruff: noqa: TID251  # a peer calls Bedrock itself

from __future__ import annotations

import json
import os
from typing import Any

import boto3

bedrock = boto3.client("bedrock-runtime")
model = os.environ["RIVULET_MODEL_IDS"]


def handle(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Return the text of an answer."""
    prompt = json.loads(event["body"])["prompt"]
    messages = [{"role": "user", "content": [{"text": prompt}]}]
    response = bedrock.converse_stream(modelId=model, messages=messages)
    deltas = (e.get("contentBlockDelta", {}).get("delta", {}) for e in response["stream"])
    text = "".join(delta.get("text", "") for delta in deltas)
    return {"statusCode": 200, "headers": {"content-type": "text/plain"}, "body": text}
