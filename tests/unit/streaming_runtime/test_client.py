from __future__ import annotations

import base64
import json
import math
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from streaming_runtime import ResponseStarted
from streaming_runtime.client import StreamingRuntimeClient
from streaming_runtime.exchange import NO_ANSWER
from tests.unit.streaming_runtime.scripted_api import TRACE_ID, ScriptedRuntimeApi

from awslambdaric.bootstrap import create_lambda_context  # noqa: TID251  # isort: skip  # after client.py
from awslambdaric.lambda_runtime_client import LambdaRuntimeClientError  # noqa: TID251  # isort: skip

if TYPE_CHECKING:
    from collections.abc import Iterator

ERROR = json.dumps({"errorMessage": "é\n", "errorType": "LookupError", "stackTrace": []})


@pytest.fixture
def scripted() -> Iterator[ScriptedRuntimeApi]:
    with ScriptedRuntimeApi() as scripted:
        yield scripted


@pytest.fixture
def client(scripted: ScriptedRuntimeApi) -> StreamingRuntimeClient:
    return StreamingRuntimeClient(scripted.address)


def _context(request: Any) -> Any:
    return create_lambda_context(
        request.client_context,
        request.cognito_identity,
        request.deadline_time_in_ms,
        request.invoke_id,
        request.invoked_function_arn,
        request.tenant_id,
    )


def test_next_invocation(scripted: ScriptedRuntimeApi, client: StreamingRuntimeClient) -> None:
    """Every header of an invocation reaches the context, tenant and UTF-8 included."""
    scripted.invoke(
        {"a": "é"},
        "id-1",
        Trace_Id=TRACE_ID,
        Aws_Tenant_Id="blue",
        Client_Context=json.dumps(
            {"custom": {"name": "Zoë €"}, "client": {"app_title": "t"}, "w3c": {"traceparent": "00-1"}},
            ensure_ascii=False,
        ).encode(),
        Cognito_Identity=json.dumps(
            {"cognitoIdentityId": "i", "cognitoIdentityPoolId": "p"}
        ),
        Invocation_Id="inv-1",
        Deadline_Ms="1800000000000",
    )  # fmt: skip
    request = client.wait_next_invocation()
    assert json.loads(request.event_body) == {"a": "é"}
    assert request.content_type == "application/json"
    assert (request.x_amzn_trace_id, request.invocation_id) == (TRACE_ID, "inv-1")
    context = _context(request)
    assert context.aws_request_id == "id-1"
    assert context.invoked_function_arn == "arn:aws:lambda:eu-west-1:123456789012:function:f"
    assert context.tenant_id == "blue"
    assert context.client_context.custom == {"name": "Zoë €"}
    assert context.client_context.client.app_title == "t"
    assert context.w3c() == {"traceparent": "00-1"}
    assert context.identity.cognito_identity_id == "i"
    assert context.identity.cognito_identity_pool_id == "p"
    assert context._epoch_deadline_time_in_ms == 1_800_000_000_000
    assert isinstance(context.get_remaining_time_in_millis(), int)


def test_next_invocation_without_optional_headers(
    scripted: ScriptedRuntimeApi, client: StreamingRuntimeClient
) -> None:
    """An emulator may leave all but the request id out, the content type included."""
    scripted.invoke([1], "id-2", Content_Type=None, Deadline_Ms=None, Invoked_Function_Arn=None)
    request = client.wait_next_invocation()
    assert request.content_type == "application/json"
    assert request.x_amzn_trace_id is None
    context = _context(request)
    assert context.aws_request_id == "id-2"
    assert context.get_remaining_time_in_millis() == 0
    assert (context.tenant_id, context.client_context) == (None, None)


@pytest.mark.parametrize("milliseconds", [None, "0", "600000"])
def test_a_deadline_that_is_none(
    milliseconds: str | None, scripted: ScriptedRuntimeApi, client: StreamingRuntimeClient
) -> None:
    """An emulator that names no deadline, or one of long ago, has none: its readers are waited for."""
    scripted.invoke({}, Deadline_Ms=str(round(time.time() * 1000) + 60_000))
    client.wait_next_invocation()
    assert client.open_response(over_http=True)._deadline < math.inf
    scripted.invoke({}, Deadline_Ms=milliseconds)
    client.wait_next_invocation()
    assert client.open_response(over_http=True)._deadline == math.inf


def test_a_response_is_given_up_before_the_deadline(
    scripted: ScriptedRuntimeApi, client: StreamingRuntimeClient
) -> None:
    """Lambda's clock is the wall's, ours is not; a second is left for what the handler has to say."""
    before = time.monotonic()
    scripted.invoke({}, Deadline_Ms=str(math.floor(time.time() * 1000) + 60_000))
    client.wait_next_invocation()
    deadline = client.open_response(over_http=True)._deadline
    assert before + 58.9 <= deadline <= time.monotonic() + 59.0


def test_a_client_context_that_is_not_utf8(
    scripted: ScriptedRuntimeApi, client: StreamingRuntimeClient
) -> None:
    """A header that is not UTF-8 concerns one invocation, and does not end the process."""
    scripted.invoke({}, Client_Context=b'{"custom": {"x": "\xff"}}')
    assert _context(client.wait_next_invocation()).client_context.custom == {"x": "\ufffd"}


@pytest.mark.parametrize("status", [400, 403, 500])
def test_next_refused(
    status: int, scripted: ScriptedRuntimeApi, client: StreamingRuntimeClient
) -> None:
    """Without a next invocation there is no loop: the error ends the process."""
    scripted.refuse_next(status)
    with pytest.raises(LambdaRuntimeClientError, match=str(status)):
        client.wait_next_invocation()


def test_next_broken(scripted: ScriptedRuntimeApi, client: StreamingRuntimeClient) -> None:
    """So does a connection that ends instead of an answer."""
    scripted.hang_up_next()
    with pytest.raises(NO_ANSWER):
        client.wait_next_invocation()


@pytest.mark.parametrize(
    ("result", "content_type"),
    [
        ('{"a": "é"}', "application/json"),
        (b"\0\xff", "application/unknown"),
        ("", "application/json"),
    ],
)
def test_a_result_without_a_stream(
    result: Any, content_type: str, scripted: ScriptedRuntimeApi, client: StreamingRuntimeClient
) -> None:
    """A handler that opened no response has its return value posted, as ever."""
    scripted.invoke({}, "id-3", Invocation_Id="inv-3")
    client.wait_next_invocation()
    client.post_invocation_result("id-3", result, content_type, "inv-3")
    call = scripted.call()
    assert call.path == "/2018-06-01/runtime/invocation/id-3/response"
    assert call.body == (result if isinstance(result, bytes) else result.encode())
    assert call.headers["content-type"] == content_type
    assert call.headers["lambda-runtime-invocation-id"] == "inv-3"
    assert call.headers["user-agent"].startswith(f"aws-lambda-python/{sys.version.split()[0]}-")
    assert "lambda-runtime-function-response-mode" not in call.headers


def test_a_result_ends_the_stream(
    scripted: ScriptedRuntimeApi, client: StreamingRuntimeClient
) -> None:
    """A handler that opened a response has it ended, and nothing else posted; the next starts afresh."""
    for request_id in ("id-4", "id-5"):
        scripted.invoke({}, request_id, Invocation_Id=f"inv-{request_id}")
        client.wait_next_invocation()
        body = client.open_response(over_http=True)
        body.start(200, {}, [])
        body.send(b"piece")
        client.post_invocation_result(request_id, "null")
        call = scripted.call()
        assert call.path == f"/2018-06-01/runtime/invocation/{request_id}/response"
        assert call.headers["lambda-runtime-invocation-id"] == f"inv-{request_id}"
        assert (call.payload, call.trailers) == ((b"piece",), {})
    scripted.invoke({}, "id-6")
    client.wait_next_invocation()
    client.post_invocation_result("id-6", "null")
    call = scripted.call()
    assert (call.path.split("/")[-2], call.body) == ("id-6", b"null")
    assert "lambda-runtime-invocation-id" not in call.headers


@pytest.mark.parametrize("opened", [False, True])
def test_an_error_before_the_first_byte(
    *, opened: bool, scripted: ScriptedRuntimeApi, client: StreamingRuntimeClient
) -> None:
    """Before the first byte an error is posted whole, with X-Ray's cause (fact 34)."""
    scripted.invoke({}, "id-7", Invocation_Id="inv-7")
    client.wait_next_invocation()
    if opened:
        client.open_response(over_http=True)
    client.post_invocation_error("id-7", ERROR, '{"exceptions": ["é"]}', "inv-7")
    call = scripted.call()
    assert call.path == "/2018-06-01/runtime/invocation/id-7/error"
    assert call.body == ERROR.encode()
    assert call.headers["content-type"] == "application/json"
    assert call.headers["lambda-runtime-function-error-type"] == "LookupError"
    assert call.headers["lambda-runtime-function-xray-error-cause"] == '{"exceptions": ["é"]}'
    assert call.headers["lambda-runtime-invocation-id"] == "inv-7"
    assert scripted.calls.empty()


def test_an_error_after_the_first_byte(
    scripted: ScriptedRuntimeApi, client: StreamingRuntimeClient
) -> None:
    """After the first byte it is told in the trailers, and only there."""
    scripted.invoke({}, "id-8")
    client.wait_next_invocation()
    client.open_response(over_http=True).start(200, {}, [])
    client.post_invocation_error("id-8", ERROR, "{}")
    call = scripted.call()
    assert call.path == "/2018-06-01/runtime/invocation/id-8/response"
    assert call.trailers["lambda-runtime-function-error-type"] == "LookupError"
    body = base64.b64decode(call.trailers["lambda-runtime-function-error-body"])
    assert json.loads(body) == json.loads(ERROR)
    assert scripted.calls.empty()


@pytest.mark.parametrize(("size", "sent"), [(1024 * 1024 - 1, True), (1024 * 1024, False)])
def test_a_large_cause(
    size: int, *, sent: bool, scripted: ScriptedRuntimeApi, client: StreamingRuntimeClient
) -> None:
    """A cause too large for a header is left out, by its size in bytes."""
    cause = "é" * (size // 2) + "x" * (size % 2)
    client.post_invocation_error("id", ERROR, cause)
    assert ("lambda-runtime-function-xray-error-cause" in scripted.call().headers) == sent


@pytest.mark.parametrize("status", [400, 403, 404, 413])
@pytest.mark.parametrize("kind", ["result", "error", "stream"])
def test_a_refusal_concerns_one_invocation(
    kind: str,
    status: int,
    scripted: ScriptedRuntimeApi,
    client: StreamingRuntimeClient,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A refused answer is logged, and the loop goes on."""
    _answer(kind, status, scripted, client)
    [record] = caplog.records
    assert (record.levelname, f"answered {status}" in record.getMessage()) == ("WARNING", True)


@pytest.mark.parametrize("kind", ["result", "error", "stream"])
def test_lambdas_own_error_ends_the_process(
    kind: str, scripted: ScriptedRuntimeApi, client: StreamingRuntimeClient
) -> None:
    """500 is Lambda's word for a state that cannot be recovered: the runtime should exit."""
    with pytest.raises(LambdaRuntimeClientError):
        _answer(kind, 500, scripted, client)


def test_a_stream_without_an_answer(
    scripted: ScriptedRuntimeApi, client: StreamingRuntimeClient, caplog: pytest.LogCaptureFixture
) -> None:
    """A stream whose connection broke is logged: whether there is a next invocation will show."""
    scripted.refuse_early("response", None, then_close=True)
    client.open_response(over_http=True).start(200, {}, [])
    client.post_invocation_result("id", "null")
    assert "gave no answer" in caplog.text


def test_one_response_an_invocation(
    scripted: ScriptedRuntimeApi, client: StreamingRuntimeClient
) -> None:
    """A second response is refused once the first has begun, and replaces it before that."""
    scripted.invoke({}, "id-9")
    client.wait_next_invocation()
    client.open_response(over_http=True)
    client.open_response(over_http=True).start(200, {}, [])
    with pytest.raises(ResponseStarted, match="expected one an invocation"):
        client.open_response(over_http=True)
    client.post_invocation_result("id-9", "null")
    assert scripted.call().complete


@pytest.mark.parametrize("status", [200, 202])
def test_init_error(
    status: int, scripted: ScriptedRuntimeApi, client: StreamingRuntimeClient
) -> None:
    """An init error is posted with its type; emulators differ in which success they answer."""
    scripted.refuse("error", status)
    client.post_init_error({"errorType": "Ошибка", "errorMessage": "é"})
    call = scripted.call()
    assert call.path == "/2018-06-01/runtime/init/error"
    assert call.headers["lambda-runtime-function-error-type"] == "Ошибка"
    assert json.loads(call.body) == {"errorType": "Ошибка", "errorMessage": "é"}


def test_init_error_refused(scripted: ScriptedRuntimeApi, client: StreamingRuntimeClient) -> None:
    """A refused init error is an error itself."""
    scripted.refuse("error", 403)
    with pytest.raises(LambdaRuntimeClientError, match="403"):
        client.post_init_error({"errorType": "X"})


def test_restore(scripted: ScriptedRuntimeApi, client: StreamingRuntimeClient) -> None:
    """SnapStart's calls: restore is waited for with a GET, its failure posted."""
    client.restore_next()
    call = scripted.call()
    assert (call.method, call.path, call.body) == ("GET", "/2018-06-01/runtime/restore/next", b"")
    client.report_restore_error({"errorType": "X"})
    call = scripted.call()
    assert (call.method, call.path) == ("POST", "/2018-06-01/runtime/restore/error")
    assert call.headers["lambda-runtime-function-error-type"] == "Runtime.AfterRestoreError"


def test_the_native_client_is_left_alone() -> None:
    """The native module is not loaded, and its name is the function's to use afterwards."""
    script = (
        "import sys; import streaming_runtime.client; import awslambdaric.lambda_runtime_client as c;"
        "print(c.runtime_client, 'runtime_client' in sys.modules)"
    )
    told = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": "lambda_src"},
    )
    assert told.stdout.split() == ["None", "False"]


def _answer(
    kind: str, status: int, scripted: ScriptedRuntimeApi, client: StreamingRuntimeClient
) -> None:
    scripted.refuse("error" if kind == "error" else "response", status)
    if kind == "stream":
        client.open_response(over_http=True).start(200, {}, [])
    if kind == "error":
        client.post_invocation_error("id", ERROR, "{}")
    else:
        client.post_invocation_result("id", "null")
