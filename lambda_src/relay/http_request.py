"""An HTTP request, as an event tells it: a function URL's (payload format 2.0), or a REST API's (1.0)."""

from __future__ import annotations

import re
from base64 import b64decode
from dataclasses import dataclass
from json import JSONDecodeError
from typing import TYPE_CHECKING, Any, NoReturn

from relay import strict_json
from relay.errors import RequestError
from relay.shapes import describe, invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

# What a request context holds: function URLs (payload 2.0), REST APIs (payload 1.0), load balancers.
_HTTP_KEYS = frozenset({"http", "httpMethod", "elb"})
# A base URL may end with a slash to which a path is added that begins with one.
_SLASHES = re.compile(r"^/+")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """An HTTP request.

    Attributes:
        method: in upper case.
        path: as Lambda hands it on: perhaps decoded, perhaps not.
        headers: by their names in lower case.
        content: the body as the event has it.
        is_base64: whether that is base64.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    content: str
    is_base64: bool

    @property
    def content_type(self) -> str:
        """The media type of the body, in lower case; empty if there is none."""
        return self.headers.get("content-type", "").split(";")[0].strip().lower()

    def body(self, limit: int) -> bytes:
        """Return the body.

        Raises:
            RequestError: it has more bytes than the limit, or is not what the event says.
        """
        # Nothing shrinks on decoding but base64, to three quarters: what is far too long is not decoded first.
        if len(self.content) > limit * 4 // 3 + 4:
            too_large(limit)
        try:
            content = self.content
            body = b64decode(content, validate=True) if self.is_base64 else content.encode()
        except ValueError:
            expected = "base64, as the event says" if self.is_base64 else "Unicode text"
            raise invalid("", expected, "something else") from None
        if len(body) > limit:
            too_large(limit)
        return body


def is_http(event: Any) -> bool:
    """Tell an HTTP request's event from a direct invocation, where there is no status to answer with."""
    context = event.get("requestContext") if isinstance(event, dict) else None
    return isinstance(context, dict) and not _HTTP_KEYS.isdisjoint(context)


def path_of(event: Any) -> str:
    """Return the path of an HTTP request's event; empty where it has none."""
    path = _path(event) if is_http(event) else None
    return _SLASHES.sub("/", path) if isinstance(path, str) else ""


def read_http(event: Mapping[str, Any]) -> HttpRequest:
    """Return the HTTP request of an event.

    Raises:
        RequestError: it is none that this function knows.
    """
    http = event["requestContext"].get("http")
    method = http.get("method") if isinstance(http, dict) else event.get("httpMethod")
    path = _path(event) or "/"
    headers = headers_of(event)
    body = event.get("body") or ""
    if headers is None or not all(isinstance(value, str) for value in (method, path, body)):
        message = "the event: expected a function URL's or a REST API's, got another"
        raise RequestError(400, "invalid_event", message)
    return HttpRequest(
        method=str(method),
        path=_SLASHES.sub("/", path),
        headers=headers,
        content=body,
        is_base64=bool(event.get("isBase64Encoded")),
    )


def source_ip(event: Mapping[str, Any]) -> str | None:
    """Return the address that an HTTP request came from, as its event tells it; ``None`` where it does not."""
    context = event["requestContext"]
    known = context.get("http") or context.get("identity")
    address = known.get("sourceIp") if isinstance(known, dict) else None
    return address if isinstance(address, str) else None


def headers_of(event: Mapping[str, Any]) -> dict[str, str] | None:
    """Return the headers of an HTTP request's event, by their names in lower case; ``None`` where they are none.

    The values of one that was sent more than once are joined with commas, as payload format 2.0 has them; in 1.0
    ``headers`` has only the last, and ``multiValueHeaders`` all.
    """
    several = event.get("multiValueHeaders") or {}
    single = event.get("headers") or {}
    if not (isinstance(several, dict) and isinstance(single, dict)):
        return None
    headers: dict[str, str] = {}
    for name, values in (several or {name: [value] for name, value in single.items()}).items():
        if not (isinstance(name, str) and isinstance(values, list) and values):
            return None
        for value in values:
            if not isinstance(value, str):
                return None
            key = name.lower()
            headers[key] = f"{headers[key]},{value}" if key in headers else value
    return headers


def _path(event: Mapping[str, Any]) -> Any:
    """Return the path as it was sent; a REST API's is without its stage."""
    return event.get("rawPath") if "http" in event["requestContext"] else event.get("path")


def check_content_type(http: HttpRequest) -> None:
    """Refuse a body that is not said to be JSON; of some nothing is said.

    Raises:
        RequestError: it is said to be something else; 415.
    """
    # The last is what AWS SDKs call a body of which they were told nothing.
    is_json = http.content_type in {"", "application/json", "application/octet-stream"}
    if not is_json and not http.content_type.endswith("+json"):
        message = f"content-type: expected application/json, got {http.content_type[:100]}"
        raise RequestError(415, "unsupported_media_type", message)


def parse_json(body: bytes) -> Any:
    """Return what a body's JSON says.

    Raises:
        RequestError: it is none.
    """
    try:
        return strict_json.parse(body)
    except JSONDecodeError as error:
        got = f"an error at character {error.pos}" if body else "nothing"
    except UnicodeDecodeError as error:
        got = f"what is no UTF-8 at byte {error.start}"
    except strict_json.NotStrict as refusal:
        got = f"something that is {refusal}"
    except ValueError:
        got = "something else"
    raise invalid("", "JSON", got)


def parse_object(body: bytes) -> dict[str, Any]:
    """Return the object that a body's JSON is.

    Raises:
        RequestError: it is none.
    """
    value = parse_json(body)
    if not isinstance(value, dict):
        raise invalid("", "a JSON object", describe(value))
    return value


def too_large(limit: int) -> NoReturn:
    """Refuse a body."""
    raise RequestError(
        413, "payload_too_large", f"the body: expected at most {limit} bytes, got more"
    )
