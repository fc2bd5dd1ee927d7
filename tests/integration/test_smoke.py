"""`python -m smoke`: right about a function that is well, and not to be deceived by one that is not."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest
from botocore.credentials import Credentials  # noqa: TID251  # what the checks sign with

from local.configuration import FunctionConfiguration
from local.function import LocalFunction
from local.pace import Pace
from smoke import caller, checks
from smoke.__main__ import main
from smoke.aws import Aws
from smoke.credentials import Credential, Nothing, Secret, Signature
from smoke.deployment import Deployment
from smoke.verdicts import Skipped
from tests.integration.smoke_servers import answering, in_turns, proxy, serving

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

ARN = "arn:aws:lambda:us-east-1:123456789012:function:f"
ORIGIN = "https://app.example.com"
KEY = "key-of-a-caller-0123456789"
TOKEN = "header.claims.signature-of-an-issuer"
MINE = Credentials("mine", "secret-of-a-caller")
BY_NAME = {check.name: check for check in checks.CHECKS}

pytestmark = pytest.mark.xdist_group("smoke")


@pytest.fixture(scope="module")
def function() -> Iterator[LocalFunction]:
    """A function that is well, whose model is slow to begin."""
    with LocalFunction(
        FunctionConfiguration(cors_origins=(ORIGIN,)),
        pace=Pace(0.1, 250),
        environment={"RIVULET_COMMIT_AFTER": "0.02", "RIVULET_HEARTBEAT_INTERVAL": "0.03"},
    ) as function:
        yield function


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody's AWS be asked."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "RIVULET_"))]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


class AtHome(Aws):
    """What AWS says of a function at home: its log is that of CloudWatch."""

    def __init__(self, function: LocalFunction | None = None, **said: Any) -> None:
        self.region = "us-east-1"
        self._function = function
        self._said = said

    def configuration(self, _function: str) -> dict[str, Any]:
        variables = {"RIVULET_MAX_TOKENS": ""}
        said = {"Environment": {"Variables": variables}, "LoggingConfig": {"LogGroup": "logs"}}
        return {"FunctionArn": f"{ARN}:live", **said, **self._said}

    def log_lines(self, group: str, text: str, since: float) -> list[str]:
        assert (group, since < time.time()) == ("logs", True)
        lines = self._said.get("lines") or (self._function.log if self._function else ())
        return [line for line in lines if text in line]

    def narrowed(
        self, role_arn: str, actions: Sequence[str], resources: Sequence[str]
    ) -> Credentials:
        assert resources == (ARN, f"{ARN}:*")
        return Credentials(f"{role_arn}:{'+'.join(actions)}", "x")


def deployment(url: str, auth: str = "public", aws: Aws | None = None, **more: Any) -> Deployment:
    secret = {"api-key": KEY, "jwt": TOKEN}.get(auth, "")
    credential: dict[str, Credential] = {
        "public": Nothing(),
        "iam": Signature(MINE, "lambda", "us-east-1"),
    }
    return Deployment(
        url=url,
        auth=auth,
        credential=credential.get(auth) or Secret(secret),
        secret=secret,
        credentials=MINE if auth == "iam" else None,
        aws=aws or AtHome(),
        function="the-function",
        **{"log_seconds": 5.0, **more},
    )


def seen(name: str, of: Deployment) -> tuple[str, str]:
    """Return the verdict of a check, and what was seen."""
    row = checks.make(BY_NAME[name], of)
    print(row.seen)
    return row.verdict, row.seen


def test_a_function_that_is_well(
    function: LocalFunction, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a function at home nothing fails, and what only AWS has is skipped with the reason."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "at-home")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-nobody")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", function.invoke_url)
    arguments = ["--auth", "public", "--function-name", "rivulet", "--origin", ORIGIN]
    assert main(["--url", f"{function.url}/", *arguments]) == 0
    *lines, rest, total = capsys.readouterr().out.splitlines()
    assert rest == ""
    print("\n".join(lines))
    rows = {line[:18].strip(): line.split()[-1] for line in lines[4:] if line[0] != " "}
    assert list(rows) == list(BY_NAME)
    wanted = ("callers", "both permissions", "a caller leaves", "cold starts")
    assert {name for name, verdict in rows.items() if verdict == "skipped"} == set(wanted)
    assert total == f"{len(BY_NAME) - 4} ok, 0 FAIL, 4 skipped"
    assert "InvokeComplete has ErrorCode Rivulet.invalid_request" in "\n".join(lines)
    assert "lambda:GetFunctionConfiguration: UnknownOperationException" in "\n".join(lines)


def test_streams_are_timed(function: LocalFunction) -> None:
    """A stream that passes each piece on is told from the times of its pieces."""
    verdict, told = seen("piece by piece", deployment(function.url))
    assert (verdict, told.partition(":")[0]) == ("ok", "100 pieces")


@pytest.mark.parametrize(
    ("block", "why"), [(0, "something holds them back"), (4096, "something gathers them")]
)
def test_a_proxy_that_buffers(function: LocalFunction, block: int, why: str) -> None:
    """A proxy that holds an answer back, or sends it on in blocks, fails the check; heartbeats show it, too."""
    with serving(proxy(function.url, block)) as url:
        buffered = deployment(url)
        verdict, told = seen("piece by piece", buffered)
        assert verdict == "FAIL"
        assert why in told
        assert seen("heartbeats", buffered)[0] == "FAIL"


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({"x_amz_cf_id": "a", "x_amz_cf_pop": "FRA56-P5"}, "CloudFront (FRA56-P5)"),
        (
            {"via": "1.1 x.cloudfront.net (CloudFront)", "x_amz_apigw_id": "a"},
            "CloudFront, then API Gateway",
        ),
    ],
)
def test_what_stands_in_between(
    function: LocalFunction, headers: dict[str, str], told: str
) -> None:
    """A front door is known by what it adds to answers."""
    with serving(proxy(function.url, 1, server="", **headers)) as url:
        assert told in seen("in between", deployment(url))[1]


def test_a_function_that_lets_anybody_in(function: LocalFunction) -> None:
    """A URL that asks for no signature is not one with auth iam: at home none is asked for."""
    verdict, told = seen("strangers", deployment(function.url, "iam"))
    assert (verdict, told) == ("FAIL", "wrong secret 400, expected 403")


def gate(status: int, *, both: bool = True) -> Any:
    """Return a server that knows one key."""

    def answer(_what: str, headers: Mapping[str, str]) -> tuple[int, dict[str, str], Any]:
        given = {headers.get("authorization"), both and headers.get("x-api-key")}
        known = bool(given & {f"Bearer {KEY}", KEY, f"Bearer {TOKEN}", TOKEN})
        return (200 if known else status), {"x-request-id": "1"}, {"error": {"code": "x"}}

    return answering(answer)


@pytest.mark.parametrize(
    ("auth", "more"), [("api-key", ""), ("jwt", ", token that says it needs no signature 401")]
)
def test_a_gate_that_is_shut(auth: str, more: str) -> None:
    """Whoever has no credential or a wrong one gets a 401; the right one opens by either header."""
    with serving(gate(401)) as url:
        of = deployment(url, auth)
        told = f"with nothing 401, wrong {auth} 401, the same by x-api-key 401{more}"
        assert seen("strangers", of) == ("ok", told)
        assert seen("callers", of) == ("ok", "by authorization 200, by x-api-key 200")


@pytest.mark.parametrize("status", [200, 403, 500])
def test_a_gate_that_is_not_shut(status: int) -> None:
    """A stranger who gets anything but a 401 fails the check."""
    with serving(gate(status)) as url:
        verdict, told = seen("strangers", deployment(url, "api-key"))
        assert (verdict, told) == ("FAIL", f"wrong api-key {status}, expected 401")


def test_a_gate_with_one_wing() -> None:
    """A credential has to open by either header."""
    with serving(gate(401, both=False)) as url:
        verdict, told = seen("callers", deployment(url, "api-key"))
        assert (verdict, told) == ("FAIL", "by x-api-key 401 x, expected 200")


@pytest.mark.parametrize(
    ("let_in", "verdict"),
    [
        ({"both"}, "ok"),
        ({"both", "url"}, "FAIL"),
        ({"both", "function"}, "FAIL"),
        (set(), "skipped"),
    ],
)
def test_both_permissions(let_in: set[str], verdict: str) -> None:
    """Sessions of a role with either permission alone must be refused, and one with both let in."""

    def answer(_what: str, headers: Mapping[str, str]) -> tuple[int, dict[str, str], Any]:
        signed = headers["authorization"]
        url, function = "InvokeFunctionUrl" in signed, "lambda:InvokeFunction/" in signed
        who = "both" if url and function else "url" if url else "function"
        return (200 if who in let_in else 403), {}, {}

    with serving(answering(answer)) as url:
        assert seen("both permissions", deployment(url, "iam", role_arn="r"))[0] == verdict
        assert seen("both permissions", deployment(url, "iam"))[0] == "skipped"


def test_a_deployment_settles(monkeypatch: pytest.MonkeyPatch) -> None:
    """The 403 of a new URL is asked again, for as long as it may be that; the function's own is an answer."""
    monkeypatch.setattr(caller, "_RETRY_AFTER", 0.01)
    asked: list[str] = []

    def answer(what: str, _headers: object) -> tuple[int, dict[str, str], Any]:
        asked.append(what)
        if len(asked) < 3:
            return 403, {}, {"Message": "Forbidden"}
        return 200, {}, {"status": "ok", "version": "1"}

    with serving(answering(answer)) as url:
        patient = deployment(url, patience=time.monotonic() + 5)
        assert seen("health", patient) == ("ok", "200, version 1, after 2 times 403 as it settled")
        asked.clear()
        assert seen("health", deployment(url)) == ("FAIL", "403 Forbidden")
    with serving(answering(lambda *_: (403, {"x-request-id": "1"}, {}))) as url:
        assert seen("health", deployment(url, patience=time.monotonic() + 5))[0] == "FAIL"


def test_an_answer_to_everything() -> None:
    """A server that says 200 and sets a cookie whatever it is asked fails what has a status or an end."""
    with serving(
        answering(lambda *_: (200, {"set-cookie": "a=1"}, {"data": [{"id": "m"}]}))
    ) as url:
        of = deployment(url, origin=ORIGIN, log_seconds=0.1)
        rows = [checks.make(check, of) for check in checks.CHECKS[1:]]
    verdicts = {row.check: row.verdict for row in rows}
    passed = {name for name, verdict in verdicts.items() if verdict == "ok"}
    assert passed == {"in between", "strangers", "plain text"}
    assert verdicts["cookies"] == "FAIL"


def test_a_stream_that_is_cut() -> None:
    """An answer without its end is none."""
    with serving(in_turns(b'data: {"type":"text","text":"a"}\n\n', 3, 0.01)) as url:
        of = deployment(url)
        assert seen("piece by piece", of) == ("FAIL", "the stream was cut: it has no end")
        assert seen("server-sent events", of)[0] == "FAIL"
        assert seen("plain text", of)[0] == "FAIL"


def test_one_after_the_other() -> None:
    """Two callers who have to queue are seen."""
    with LocalFunction(FunctionConfiguration(concurrency=1), pace=Pace(0.05, 400)) as alone:
        verdict, told = seen("two at once", deployment(alone.url))
    assert (verdict, told) == ("FAIL", "429 Rate Exceeded.")


def test_a_caller_leaves(function: LocalFunction) -> None:
    """The record of an answer that was left tells that the function ran on, as on Lambda (fact 36)."""
    verdict, told = seen("a caller leaves", deployment(function.url, aws=AtHome(function)))
    assert verdict == "ok"
    assert "the record: stop_reason " in told
    assert told.endswith("so the function ran on to the end")
    verdict, told = seen("a caller leaves", deployment(function.url, log_seconds=0, aws=AtHome()))
    assert (verdict, told) == ("skipped", "the log group has no record of it after 0 s")


@pytest.mark.parametrize(
    ("state", "line", "verdict", "told"),
    [
        ("On", "REPORT RequestId: 1\tRestore Duration: 312.55 ms\t", "ok", "with SnapStart: 1 in"),
        ("Off", "REPORT RequestId: 1\tInit Duration: 812.1 ms\t", "ok", "Init Duration 812 to 812"),
        ("On", "REPORT RequestId: 1\tInit Duration: 812.1 ms\t", "skipped", "with SnapStart: no"),
    ],
)
def test_cold_starts(state: str, line: str, verdict: str, told: str) -> None:
    """Of an environment's start the REPORT line tells, after a restore or without SnapStart."""
    aws = AtHome(SnapStart={"OptimizationStatus": state}, lines=[line])
    got, what = seen("cold starts", deployment("http://127.0.0.1:1", aws=aws))
    assert got == verdict
    assert told in what


@pytest.mark.parametrize(
    ("payload", "completed", "verdict"),
    [
        (b'{"type":"error","code":"a"}\n', {"ErrorCode": "Rivulet.a"}, "ok"),
        (b'{"type":"error","code":"a"}\n', {}, "FAIL"),
        (b'{"type":"error","code":"a"}\n', {"ErrorCode": "Unhandled"}, "FAIL"),
        (b'{"type":"done"}\n', {"ErrorCode": "Rivulet.a"}, "FAIL"),
        (b'{"errorMessage":', {"ErrorCode": "Unhandled"}, "FAIL"),
    ],
)
def test_error_trailers(payload: bytes, completed: dict[str, str], verdict: str) -> None:
    """A failed stream has its error in the payload and in the completion, and they agree."""

    class Invoked(AtHome):
        def invoke(self, *_: Any) -> tuple[bytes, dict[str, Any]]:
            return payload, completed

    assert seen("error trailers", deployment("http://127.0.0.1:1", aws=Invoked()))[0] == verdict


def test_nobody_answers(capsys: pytest.CaptureFixture[str]) -> None:
    """Where nobody listens the first check fails and the others are not made; the status is 1."""
    assert main(["--url", "http://127.0.0.1:1", "--auth", "public"]) == 1
    told = capsys.readouterr().out
    assert "no answer: ConnectionRefusedError" in told
    assert told.endswith(f"\n0 ok, 1 FAIL, {len(BY_NAME) - 1} skipped\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "expected --url, or --stack with an output Url; got neither from Rivulet"),
        (["--stack", "Mine"], "--stack Mine: cloudformation:DescribeStacks: NoRegionError"),
        (["--url", "ftp://x"], "--url: expected https://…, got 'ftp://x'"),
        (["--url", "http://[::1"], "--url: expected https://…, got 'http://[::1'"),
        (["--url", "http://x:y"], "--url: expected https://…, got 'http://x:y'"),
        (["--url", "http://"], "--url: expected https://…, got 'http://'"),
        (["--url", "http://x", "--api-key", "a\nb"], "--api-key or RIVULET_API_KEY: not usable"),
        (["--url", "http://x", "--token", "schlüssel"], "--token or RIVULET_TOKEN: not usable"),
        (["--url", "http://x"], "auth iam: expected AWS credentials and a region"),
        (["--url", "http://x", "--auth", "jwt"], "auth jwt: expected --token or RIVULET_TOKEN"),
    ],
)
def test_nothing_to_ask_with(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is missing or not usable is said in one sentence, with exit status 2; a key or token is not printed."""
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert said in told.err
    assert told.err.count("\n") == 1
    assert told.out == ""
    assert not {"a\nb", "schlüssel"} & {word for word in arguments if word in told.err}


def test_a_profile_that_is_not_there(
    function: LocalFunction, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It matters only to who has to sign: others get what AWS does not tell as skipped."""
    monkeypatch.setenv("AWS_PROFILE", "nope")
    assert main(["--url", function.url]) == 2
    why = "AWS cannot be asked: The config profile (nope) could not be found"
    assert f"smoke: auth iam: {why}\n" == capsys.readouterr().err
    chosen = ["--only", "health", "--only", "cold starts"]
    for proof in (["--auth", "public"], ["--api-key", KEY]):
        more = ["--function-name", "rivulet", "--region", "us-east-1"]
        assert main(["--url", function.url, *proof, *more, *chosen]) == 0
        told = capsys.readouterr()
        assert told.err == ""
        assert why in told.out
        assert told.out.endswith("\n1 ok, 0 FAIL, 1 skipped\n")


def test_aws_that_is_not_configured_right(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An endpoint that is no address, or credentials of a process that is not there, are why AWS tells nothing."""
    written = tmp_path / "config"
    written.write_text(f"[default]\ncredential_process = {tmp_path}/nothing\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(written))
    with pytest.raises(Skipped, match="AWS credentials: FileNotFoundError"):
        Aws("us-east-1").credentials()
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "nowhere")
    with pytest.raises(Skipped, match="cloudformation:DescribeStacks: ValueError"):
        Aws("us-east-1").outputs("Rivulet")


def test_no_answers_have_no_cookies(capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing was answered, nothing is told of cookies."""
    assert main(["--url", "http://127.0.0.1:1", "--auth", "public", "--only", "cookies"]) == 0
    told = capsys.readouterr().out
    assert "no answers to look at" in told
    assert told.endswith("\n0 ok, 0 FAIL, 1 skipped\n")


@pytest.mark.parametrize(
    ("auth", "message", "looked_at"),
    [
        (
            "api-key",
            "Credentials cannot be checked at the moment.",
            "secretsmanager:GetSecretValue",
        ),
        ("jwt", "Credentials cannot be checked at the moment.", "RIVULET_JWT_JWKS_URL"),
        ("public", "Budgets cannot be checked at the moment.", "dynamodb:UpdateItem"),
    ],
)
def test_where_to_look(
    auth: str, message: str, looked_at: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """After a 503 of the gate's own the table ends with what to look at, and in which log; otherwise not."""
    error = {"code": "access_unavailable", "message": message}
    proof = {"api-key": ["--api-key", KEY], "jwt": ["--token", TOKEN]}.get(auth, [])
    for status, hinted in ((503, True), (500, False)):
        server = answering(lambda *_, status=status: (status, {}, {"error": error}))
        with serving(server) as url:
            arguments = ["--url", url, "--auth", auth, *proof, "--log-group", "its-log"]
            assert main([*arguments, "--only", "strangers"]) == 1
        told = capsys.readouterr().out
        named = [name in told for name in ("the log group its-log", looked_at)]
        assert named == [hinted, hinted]
        assert sum(line.startswith("- ") for line in told.splitlines()) == hinted


def limited(tokens: int) -> LocalFunction:
    return LocalFunction(
        FunctionConfiguration(),
        pace=Pace(0.01, 250),
        environment={"RIVULET_MAX_TOKENS": str(tokens)},
    )


class Silent(AtHome):
    """AWS, where it tells nothing."""

    def configuration(self, _function: str) -> dict[str, Any]:
        raise Skipped("not told")


@pytest.mark.parametrize(
    ("tokens", "short"),
    [
        (30, {"two at once", "a caller leaves"}),
        (1, {"piece by piece", "two at once", "a caller leaves"}),
    ],
)
def test_a_limit_on_tokens(tokens: int, short: set[str]) -> None:
    """Where requests may have few tokens nothing fails: fewer are asked for, or the check says that they do not do."""
    told = AtHome(Environment={"Variables": {"RIVULET_MAX_TOKENS": str(tokens)}})
    cannot = {"error trailers", "cold starts"}  # not asked of this function
    with limited(tokens) as function:
        for aws in (told, Silent()):
            of = deployment(function.url, aws=aws, log_group="logs")
            rows = [checks.make(each, of) for each in checks.CHECKS if each.name not in cannot]
            print("\n".join(map(str, rows)))
            assert not [row for row in rows if row.verdict == "FAIL"]
            why = f"RIVULET_MAX_TOKENS is {tokens}"
            assert {row.check for row in rows if why in row.seen} == short


def test_who_cannot_be_left() -> None:
    """A caller who gets no stream cannot leave one, which says nothing of what becomes of it."""
    with serving(answering(lambda *_: (429, {}, {"error": {"code": "x"}}))) as url:
        row = seen("a caller leaves", deployment(url))
    assert row == ("skipped", "no stream to leave: 429 x")


def test_no_secret_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """A server that echoes a credential does not get it printed, nor anything that moves the terminal."""

    def echo(_what: str, headers: Mapping[str, str]) -> tuple[int, dict[str, str], Any]:
        return 418, {}, {"error": {"code": "\x1b[31m", "message": headers.get("authorization", "")}}

    with serving(answering(echo)) as url:
        assert main(["--url", url, "--api-key", KEY, "--only", "health"]) == 1
    told = capsys.readouterr().out
    assert "Bearer [secret]" in told
    assert KEY not in told
    assert "\x1b" not in told


def test_whatever_aws_does_not_tell_is_skipped() -> None:
    """Without credentials AWS tells nothing, and each question says which one it was."""
    nobody = Aws("us-east-1")
    assert nobody.credentials() is None
    for ask, action in (
        (lambda: nobody.outputs("Rivulet"), "cloudformation:DescribeStacks"),
        (lambda: nobody.invoke("f", {}), "lambda:InvokeFunction"),
        (lambda: nobody.log_lines("g", "t", 0), "logs:FilterLogEvents"),
        (lambda: nobody.narrowed("arn:aws:iam::1:role/r", ["a"], ["b"]), "sts:AssumeRole"),
    ):
        with pytest.raises(Skipped, match=f"{action}: NoCredentialsError"):
            ask()
