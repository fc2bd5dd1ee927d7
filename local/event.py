"""An HTTP request as the event that a function URL makes of it: payload format 2.0."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from collections.abc import Iterable

    from local.http1 import Request

URL_ID = "local"
# The body of every other content type, and of none, arrives in base64.
_TEXT_TYPES = {"application/json", "application/javascript", "application/xml"}


def to_event(
    request: Request, body: bytes, *, region: str, request_id: str, trace_id: str, port: int
) -> bytes:
    """Return the event as JSON."""
    domain = f"{URL_ID}.lambda-url.{region}.on.aws"
    headers = {
        **_joined(pair for pair in request.headers if pair[0] != "cookie"),
        "x-amzn-trace-id": trace_id.partition(";")[0],
        "x-forwarded-for": request.peer,
        "x-forwarded-port": str(port),
        "x-forwarded-proto": "http",
    }
    now = time.time()
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": request.path,
        "rawQueryString": request.query,
        "headers": headers,
        "requestContext": {
            "accountId": "anonymous",  # as with AuthType NONE
            "apiId": URL_ID,
            "domainName": domain,
            "domainPrefix": URL_ID,
            "http": {
                "method": request.method,
                "path": request.path,
                "protocol": f"HTTP/{request.http_version}",
                "sourceIp": request.peer,
                "userAgent": headers.get("user-agent", ""),
            },
            "requestId": request_id,
            "routeKey": "$default",
            "stage": "$default",
            "time": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now)),
            "timeEpoch": int(now * 1000),
        },
        "isBase64Encoded": False,
    }
    cookies = [
        c.strip() for k, v in request.headers if k == "cookie" for c in v.split(";") if c.strip()
    ]
    if cookies:
        event["cookies"] = cookies
    if request.query:
        event["queryStringParameters"] = _joined(parse_qsl(request.query, keep_blank_values=True))
    if body:
        event["body"], event["isBase64Encoded"] = _encoded(body, headers.get("content-type", ""))
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def _joined(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the pairs as a mapping, the values of a repeated name joined with commas."""
    joined: dict[str, str] = {}
    for name, value in pairs:
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined


def _encoded(body: bytes, content_type: str) -> tuple[str, bool]:
    """Return the body as text, and whether it is in base64."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type in _TEXT_TYPES or media_type.startswith("text/"):
        try:
            return body.decode(), False
        except UnicodeDecodeError:
            pass  # no text after all
    return b64encode(body).decode(), True
