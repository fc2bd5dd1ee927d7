"""awslambdaric's Runtime API client, taught to stream: the one place that touches awslambdaric's insides.

``awslambdaric.bootstrap.run`` owns the loop and asks its client for three things: the next invocation, to post a
result, to post an error. When the handler has opened a response stream, the result ends that stream instead of posting
a body, and an error ends it with the error trailers.
"""

# ruff: noqa: TID251  # this is the file for awslambdaric
# ruff: noqa: E402  # the native module must be out of the way before awslambdaric is imported

from __future__ import annotations

import json
import logging
import math
import sys
import time
from typing import TYPE_CHECKING, Any

# awslambdaric's own HTTP is a native module for Linux, with curl inside. It is not used here, so not loaded either:
# None is how the import system is told that a module is absent.
sys.modules["runtime_client"] = None  # type: ignore[assignment]

from awslambdaric import __version__
from awslambdaric.lambda_runtime_client import (
    ERROR_TYPE_HEADER,
    InvocationRequest,
    LambdaRuntimeClient,
    LambdaRuntimeClientError,
)
from awslambdaric.lambda_runtime_marshaller import to_json

from streaming_runtime.errors import ResponseStarted
from streaming_runtime.runtime_api import RuntimeApi, StreamedBody

del sys.modules["runtime_client"]  # the name is the function's to use

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streaming_runtime.exchange import Answer

_USER_AGENT = f"aws-lambda-python/{sys.version.split()[0]}-{__version__} streaming-runtime/1"
# Seconds that a handler has left for its last words, once a reader who takes nothing has been given up.
_LAST_WORDS = 1.0
# Larger causes are left out, as awslambdaric does: servers refuse such headers.
_XRAY_CAUSE_LIMIT = 1024 * 1024


class StreamingCalls:
    """What the loop asks of its client, over ``RuntimeApi``; mixed into awslambdaric's client classes.

    The subclasses' ``handle_exception`` decides what an unanswered call means: the end of the process in a standard
    environment, a warning on managed instances.
    """

    def __init__(self, runtime_api_address: str) -> None:
        super().__init__(runtime_api_address)  # type: ignore[call-arg]  # awslambdaric's class comes next
        self._api = RuntimeApi(runtime_api_address, _USER_AGENT)
        self._invocation_headers: dict[str, str] = {}
        self._request_id = ""
        self._body: StreamedBody | None = None
        self._deadline = math.inf

    def open_response(self, *, over_http: bool) -> StreamedBody:
        """Open the streamed response to the invocation in hand.

        Raises:
            ResponseStarted: it has one already, with bytes on their way.
        """
        if self._body is not None and self._body.started:
            raise ResponseStarted("a response was started; expected one an invocation")
        self._body = self._api.open_response(
            self._request_id,
            self._invocation_headers,
            over_http=over_http,
            deadline=self._deadline,
        )
        return self._body

    def wait_next_invocation(self) -> Any:
        """Return the next invocation in awslambdaric's terms."""
        try:
            answer = self._get_next()
        except Exception as error:  # noqa: BLE001  # whatever it is, the subclass decides
            answer = self.handle_exception(error, self._get_next, use_backoff=True)  # type: ignore[attr-defined]
        headers = answer.headers
        self._body = None
        deadline_ms = int(headers.get("Lambda-Runtime-Deadline-Ms", 0))
        remaining = deadline_ms / 1000 - time.time()
        # One that has passed is an emulator's way to say that there is none.
        self._deadline = time.monotonic() + remaining - _LAST_WORDS if remaining > 0 else math.inf
        self._request_id = headers.get("Lambda-Runtime-Aws-Request-Id", "")
        invocation_id = headers.get("Lambda-Runtime-Invocation-Id")
        self._invocation_headers = (
            {"Lambda-Runtime-Invocation-Id": invocation_id} if invocation_id else {}
        )
        return InvocationRequest(
            invoke_id=self._request_id,
            x_amzn_trace_id=headers.get("Lambda-Runtime-Trace-Id"),
            invoked_function_arn=headers.get("Lambda-Runtime-Invoked-Function-Arn", ""),
            deadline_time_in_ms=deadline_ms,
            client_context=_utf8(headers.get("Lambda-Runtime-Client-Context")),
            cognito_identity=_utf8(headers.get("Lambda-Runtime-Cognito-Identity")),
            tenant_id=headers.get("Lambda-Runtime-Aws-Tenant-Id"),
            # Lambda always says application/json; an emulator that says nothing means the same.
            content_type=headers.get("Content-Type", "application/json"),
            event_body=answer.body,
            invocation_id=invocation_id,
        )

    def post_invocation_result(
        self,
        invoke_id: str,
        result_data: str | bytes,
        content_type: str = "application/json",
        invocation_id: str | None = None,  # noqa: ARG002  # kept from the invocation itself
    ) -> None:
        """End the response stream, or post the result where none was opened."""
        if self._body is not None:
            self._finish(self._body)
        else:
            body = result_data if isinstance(result_data, bytes) else result_data.encode()
            self._post(
                f"/runtime/invocation/{invoke_id}/response", body, {"Content-Type": content_type}
            )

    def post_invocation_error(
        self,
        invoke_id: str,
        error_response_data: str,
        xray_fault: str,
        invocation_id: str | None = None,  # noqa: ARG002  # kept from the invocation itself
    ) -> None:
        """End a response that has begun with the error trailers, or post the error (fact 34)."""
        error = json.loads(error_response_data)
        if self._body is not None and self._body.started:
            self._body.fail_with(error)
            self._finish(self._body)
        else:
            headers = {
                "Content-Type": "application/json",
                ERROR_TYPE_HEADER: str(error["errorType"]),
            }
            if len(xray_fault.encode()) < _XRAY_CAUSE_LIMIT:
                headers["Lambda-Runtime-Function-XRay-Error-Cause"] = xray_fault
            path = f"/runtime/invocation/{invoke_id}/error"
            self._post(path, error_response_data.encode(), headers)

    def call_rapid(
        self,
        http_method: str,
        endpoint: str,
        expected_http_code: int,  # noqa: ARG002  # any success will do: emulators differ
        payload: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Make the rarer calls: init errors, and SnapStart's restore."""
        body = None if http_method == "GET" else to_json(payload).encode()
        answer = self._api.request(http_method, endpoint.removeprefix("/2018-06-01"), body, headers)
        if answer.status >= 300:
            raise LambdaRuntimeClientError(endpoint, answer.status, answer.body)

    def _get_next(self) -> Answer:
        answer = self._api.request("GET", "/runtime/invocation/next")
        if answer.status != 200:
            raise LambdaRuntimeClientError("/runtime/invocation/next", answer.status, answer.body)
        return answer

    def _post(self, path: str, body: bytes, headers: Mapping[str, str]) -> None:
        try:
            answer = self._api.request("POST", path, body, {**self._invocation_headers, **headers})
            self._check(path, answer.status)
        except Exception as error:  # noqa: BLE001  # whatever it is, the subclass decides
            self.handle_exception(error)  # type: ignore[attr-defined]

    def _finish(self, body: StreamedBody) -> None:
        try:
            self._check("streamed response", body.finish())
        except LambdaRuntimeClientError as error:
            self.handle_exception(error)  # type: ignore[attr-defined]

    def _check(self, what: str, status: int | None) -> None:
        """Go on after a refusal, which concerns one invocation; an error of Lambda's own ends the process.

        Lambda refuses with 400 when the caller left and 413 when the response grew too large; 500 is documented as
        "non-recoverable state: the runtime should exit promptly".
        """
        if status is not None and status >= 500:
            raise LambdaRuntimeClientError(what, status, b"")
        if status is None or status >= 300:
            outcome = "gave no answer" if status is None else f"answered {status}"
            logging.getLogger().warning("Lambda %s to the %s", outcome, what.rpartition("/")[2])


class StreamingRuntimeClient(StreamingCalls, LambdaRuntimeClient):  # type: ignore[misc]  # awslambdaric is untyped
    """The client of a standard environment: one invocation at a time."""


def _utf8(header: str | None) -> str | None:
    """Undo the reading of a header as Latin-1: Lambda sends JSON in UTF-8 here."""
    return header.encode("latin-1").decode(errors="replace") if header else None
