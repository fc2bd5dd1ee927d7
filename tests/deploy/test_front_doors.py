"""CloudFront and API Gateway in front: what CloudFormation is asked for, and the code that callers need."""

from __future__ import annotations

import hashlib
import json
import os
import re
import ssl
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import trustme

from infra.cloudfront import MOVE_CREDENTIAL
from infra.config_rules import LONGEST_SILENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from aws_cdk.assertions import Template

    Synthesise = Callable[..., Template]

pytestmark = pytest.mark.xdist_group("synth")

PAGE = (Path(__file__).parents[2] / "docs" / "front-doors.md").read_text()
CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/0a1b"
WEB_ACL = "arn:aws:wafv2:us-east-1:123456789012:global/webacl/shop/0a1b"
CLOUDFRONT = {"auth": "api-key", "front_door": "cloudfront"}
REST_API = {"front_door": "api-gateway"}


def properties(template: Template, kind: str) -> dict[str, Any]:
    (resource,) = template.find_resources(kind).values()
    return dict(resource["Properties"])


def distribution(template: Template) -> dict[str, Any]:
    return dict(properties(template, "AWS::CloudFront::Distribution")["DistributionConfig"])


def methods(template: Template) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the REST API's methods, by their paths and verbs."""
    paths = {
        name: "/" + found["Properties"]["PathPart"]
        for name, found in template.find_resources("AWS::ApiGateway::Resource").items()
    }
    return {
        (paths.get(found["ResourceId"].get("Ref"), "/"), found["HttpMethod"]): found
        for found in (
            method["Properties"]
            for method in template.find_resources("AWS::ApiGateway::Method").values()
        )
    }


def test_cloudfront_hands_everything_on(synthesise: Synthesise) -> None:
    """CloudFront keeps nothing, compresses nothing, changes nothing but the host, and takes every method."""
    config = distribution(synthesise(**CLOUDFRONT))
    behaviour = config["DefaultCacheBehavior"]
    assert behaviour["Compress"] is False
    assert behaviour["CachePolicyId"] == "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"  # CachingDisabled
    # AllViewerExceptHostHeader
    assert behaviour["OriginRequestPolicyId"] == "b689b0a8-53d0-40ab-baf2-68738e2966ac"
    assert {"GET", "POST", "OPTIONS"} <= set(behaviour["AllowedMethods"])
    assert behaviour["ViewerProtocolPolicy"] == "https-only"
    assert config["HttpVersion"] == "http2and3"
    assert "CacheBehaviors" not in config


def test_cloudfront_waits_as_long_as_it_gets(synthesise: Synthesise) -> None:
    """It waits for the silence that the configuration is checked against, and for Lambda's whole time."""
    (origin,) = distribution(synthesise(**CLOUDFRONT))["Origins"]
    assert origin["CustomOriginConfig"]["OriginReadTimeout"] == LONGEST_SILENCE["cloudfront"] == 120
    assert origin["ResponseCompletionTimeout"] > 900
    assert origin["CustomOriginConfig"]["OriginProtocolPolicy"] == "https-only"
    (short,) = distribution(synthesise(**CLOUDFRONT, timeout_seconds=10))["Origins"]
    assert short["ResponseCompletionTimeout"] >= 120  # CloudFront's own rule


def test_cloudfront_signs(synthesise: Synthesise) -> None:
    """It signs every request, as a function URL understands it, and it alone may call the URL."""
    template = synthesise(**CLOUDFRONT)
    control = properties(template, "AWS::CloudFront::OriginAccessControl")
    config = control["OriginAccessControlConfig"]
    assert (config["SigningBehavior"], config["SigningProtocol"]) == ("always", "sigv4")
    assert config["OriginAccessControlOriginType"] == "lambda"
    # CloudFront is one for all regions: a name is to be had once in an account.
    assert {"Ref": "AWS::Region"} in config["Name"]["Fn::Join"][1]
    (control_id,) = template.find_resources("AWS::CloudFront::OriginAccessControl")
    (origin,) = distribution(template)["Origins"]
    assert origin["OriginAccessControlId"] == {"Fn::GetAtt": [control_id, "Id"]}
    assert properties(template, "AWS::Lambda::Url")["AuthType"] == "AWS_IAM"
    (made,) = template.find_resources("AWS::CloudFront::Distribution")
    permissions = [
        found["Properties"] for found in template.find_resources("AWS::Lambda::Permission").values()
    ]
    assert {found["Action"] for found in permissions} == {
        "lambda:InvokeFunction",
        "lambda:InvokeFunctionUrl",
    }
    for found in permissions:
        assert found["Principal"] == "cloudfront.amazonaws.com"
        assert {"Ref": made} in found["SourceArn"]["Fn::Join"][1]


@pytest.mark.parametrize("auth", ["api-key", "public"])
def test_cloudfront_moves_what_it_would_replace(synthesise: Synthesise, auth: str) -> None:
    """Where callers bring a credential, it is moved out of the signature's way; where none do, nothing runs."""
    template = synthesise(auth=auth, front_door="cloudfront")
    functions = template.find_resources("AWS::CloudFront::Function")
    associated = distribution(template)["DefaultCacheBehavior"].get("FunctionAssociations", [])
    if auth == "public":
        assert not functions
        assert not associated
        return
    ((name, function),) = functions.items()
    assert function["Properties"]["FunctionCode"] == MOVE_CREDENTIAL.read_text()
    assert len(function["Properties"]["FunctionCode"].encode()) <= 10_240  # CloudFront's limit
    assert function["Properties"]["FunctionConfig"]["Runtime"] == "cloudfront-js-2.0"
    assert associated == [
        {"EventType": "viewer-request", "FunctionARN": {"Fn::GetAtt": [name, "FunctionARN"]}}
    ]


def test_cloudfront_with_what_somebody_has(synthesise: Synthesise) -> None:
    """A domain brings its certificate and the least TLS version, a web ACL is the distribution's."""
    own = {
        "domain_name": "chat.example.com",
        "certificate_arn": CERTIFICATE,
        "web_acl_arn": WEB_ACL,
    }
    template = synthesise(**CLOUDFRONT, **own)
    config = distribution(template)
    assert config["Aliases"] == ["chat.example.com"]
    assert config["ViewerCertificate"]["AcmCertificateArn"] == CERTIFICATE
    assert config["ViewerCertificate"]["MinimumProtocolVersion"] == "TLSv1.2_2021"
    assert config["WebACLId"] == WEB_ACL
    outputs = template.find_outputs("*")
    (made,) = template.find_resources("AWS::CloudFront::Distribution")
    assert outputs["DomainTarget"]["Value"] == {"Fn::GetAtt": [made, "DomainName"]}
    without = distribution(synthesise(**CLOUDFRONT))
    assert not {"Aliases", "ViewerCertificate", "WebACLId"} & set(without)


CREDENTIALS = {
    "a bearer's": ({"authorization": "Bearer abc.DEF-1"}, "abc.DEF-1"),
    "in another case": ({"authorization": "bearer  abc "}, "abc"),
    "a key": ({"x-api-key": "abc"}, "abc"),
    "the same twice": ({"authorization": "Bearer abc", "x-api-key": "abc"}, "abc"),
    "two": ({"authorization": "Bearer abc", "x-api-key": "def"}, "def, abc"),
    "a signature": ({"authorization": "AWS4-HMAC-SHA256 Credential=a"}, None),
    "a signature and a key": ({"authorization": "AWS4-HMAC-SHA256 a", "x-api-key": "a"}, "a"),
    "two words": ({"authorization": "Bearer a b"}, None),
    "none": ({}, None),
}


def test_the_edge_function_moves_credentials(node: str) -> None:
    """A bearer's credential becomes `x-api-key`; two that differ become one that is none; all else stays."""
    events = {
        name: {
            "request": {
                "method": "POST",
                "uri": "/stream",
                "headers": {key: {"value": text} for key, text in {**headers, "a": "b"}.items()},
            }
        }
        for name, (headers, _) in CREDENTIALS.items()
    }
    program = (
        f"{MOVE_CREDENTIAL.read_text()}\n"
        f"const events = {json.dumps(events)};\n"
        "console.log(JSON.stringify(Object.fromEntries(\n"
        "  Object.entries(events).map(([name, event]) => [name, handler(event)]))));"
    )
    moved = json.loads(subprocess.check_output([node, "-e", program], text=True, timeout=60))
    several = {"value": "Bearer a", "multiValue": [{"value": "Bearer a"}, {"value": "Bearer b"}]}
    event = json.dumps({"request": {"headers": {"authorization": several}}})
    twice = f"{MOVE_CREDENTIAL.read_text()}\nconsole.log(JSON.stringify(handler({event})))"
    request = json.loads(subprocess.check_output([node, "-e", twice], text=True, timeout=60))
    assert "x-api-key" not in request["headers"]
    for name, (headers, key) in CREDENTIALS.items():
        request = moved[name]
        assert (request["method"], request["uri"]) == ("POST", "/stream")
        found = {header: value["value"] for header, value in request["headers"].items()}
        expected = {**headers, "a": "b"} | ({"x-api-key": key} if key else {})
        assert found == expected, name


@pytest.mark.parametrize("auth", ["iam", "api-key"])
def test_rest_api_streams(synthesise: Synthesise, auth: str) -> None:
    """Every path and method goes to the function, streaming, for as long as Lambda may take."""
    template = synthesise(**REST_API, auth=auth, timeout_seconds=900)
    found = methods(template)
    assert set(found) == {("/", "ANY"), ("/{proxy+}", "ANY")}
    for method in found.values():
        integration = method["Integration"]
        assert integration["Type"] == "AWS_PROXY"
        assert integration["ResponseTransferMode"] == "STREAM"
        assert integration["TimeoutInMillis"] == 900_000
        uri = "".join(part for part in integration["Uri"]["Fn::Join"][1] if isinstance(part, str))
        assert ":lambda:path/2021-11-15/functions/" in uri
        assert uri.endswith("/response-streaming-invocations")
        assert method["AuthorizationType"] == ("AWS_IAM" if auth == "iam" else "NONE")
    api = properties(template, "AWS::ApiGateway::RestApi")
    assert api["EndpointConfiguration"]["Types"] == ["REGIONAL"]
    assert "BinaryMediaTypes" not in api
    assert api["DisableExecuteApiEndpoint"] is False


def test_rest_api_alone_may_call(synthesise: Synthesise) -> None:
    """API Gateway may call the function for this API's own stage and methods; its test console may not."""
    template = synthesise(**REST_API)
    permissions = [
        found["Properties"] for found in template.find_resources("AWS::Lambda::Permission").values()
    ]
    assert len(permissions) == 2
    (api,) = template.find_resources("AWS::ApiGateway::RestApi")
    (stage,) = template.find_resources("AWS::ApiGateway::Stage")
    for found in permissions:
        assert found["Action"] == "lambda:InvokeFunction"
        assert found["Principal"] == "apigateway.amazonaws.com"
        assert {"Ref": api} in found["SourceArn"]["Fn::Join"][1]
        assert {"Ref": stage} in found["SourceArn"]["Fn::Join"][1]


@pytest.mark.parametrize("auth", ["iam", "api-key"])
def test_rest_api_lets_browsers_ask(synthesise: Synthesise, auth: str) -> None:
    """A preflight, which never has a signature, gets to the function; all else needs one as before."""
    origins = ("https://app.example.com",)
    template = synthesise(**REST_API, auth=auth, cors_origins=origins)
    found = methods(template)
    asked = {key: method["AuthorizationType"] for key, method in found.items()}
    if auth == "iam":
        assert asked == {
            ("/", "ANY"): "AWS_IAM",
            ("/", "OPTIONS"): "NONE",
            ("/{proxy+}", "ANY"): "AWS_IAM",
            ("/{proxy+}", "OPTIONS"): "NONE",
        }
    else:
        assert asked == {("/", "ANY"): "NONE", ("/{proxy+}", "ANY"): "NONE"}
    variables = properties(template, "AWS::Lambda::Function")["Environment"]["Variables"]
    assert variables["RIVULET_CORS_ORIGINS"] == "https://app.example.com"
    own_answers = template.find_resources("AWS::ApiGateway::GatewayResponse").values()
    told = {one["Properties"]["ResponseType"]: one["Properties"] for one in own_answers}
    assert told.keys() == {"DEFAULT_4XX", "DEFAULT_5XX"}
    for properties_of in told.values():
        name = "gatewayresponse.header.Access-Control-Allow-Origin"
        assert properties_of["ResponseParameters"] == {name: "'*'"}
    assert not synthesise(**REST_API).find_resources("AWS::ApiGateway::GatewayResponse")


@pytest.mark.parametrize(
    "path",
    ["/stream", "/v1/chat/completions", "/v1/messages", "/ui/chat", "/model/a.b/converse-stream"],
)
def test_what_browsers_may_ask_reaches_no_model(path: str) -> None:
    """Whatever is sent with the method that needs no signature, the function calls nothing for it."""
    from relay.model_call import Reply
    from relay.request import read_request
    from relay.settings import Settings

    event = {
        "requestContext": {"httpMethod": "OPTIONS", "stage": "live"},
        "httpMethod": "OPTIONS",
        "path": path,
        "headers": {"content-type": "application/json"},
        "body": '{"prompt": "a", "messages": [{"role": "user", "content": "a"}], "model": "a.b"}',
    }
    settings = Settings.from_environment({"RIVULET_MODEL_IDS": "a.b"})
    shapes: Any = None  # which reading a call would take
    answer = read_request(event, settings, shapes)
    assert isinstance(answer, Reply)
    assert (answer.status, answer.body) == (204, None)


def test_rest_api_logs_traces_and_throttles(synthesise: Synthesise) -> None:
    """The stage is logged, traced and throttled; its log has no address, credential, ARN or path in it."""
    stage = properties(synthesise(**REST_API), "AWS::ApiGateway::Stage")
    assert stage["TracingEnabled"] is True
    (settings,) = stage["MethodSettings"]
    assert (settings["HttpMethod"], settings["ResourcePath"]) == ("*", "/*")
    assert (settings["ThrottlingRateLimit"], settings["ThrottlingBurstLimit"]) == (100, 1000)
    assert settings["DataTraceEnabled"] is False
    logged = set(json.loads(stage["AccessLogSetting"]["Format"]).values())
    assert "$context.status" in logged
    assert "$context.requestId" in logged
    secret = re.compile(r"identity|authorizer|sourceIp|userArn|\.path$|error\.message|accountId")
    assert not [name for name in logged if secret.search(name)]
    # A burst is of requests that come, not of streams that run.
    few = properties(synthesise(**REST_API, reserved_concurrency=7), "AWS::ApiGateway::Stage")
    assert few["MethodSettings"][0]["ThrottlingBurstLimit"] == 1000


def test_rest_api_without_access_logs(synthesise: Synthesise) -> None:
    """Without access logs nothing is set for the whole account, and there is no log group but the function's."""
    template = synthesise(**REST_API, access_logs=False)
    assert "AccessLogSetting" not in properties(template, "AWS::ApiGateway::Stage")
    assert not template.find_resources("AWS::ApiGateway::Account")
    assert len(template.find_resources("AWS::Logs::LogGroup")) == 1
    (role,) = template.find_resources("AWS::IAM::Role").values()
    assert role["Properties"]["AssumeRolePolicyDocument"]["Statement"][0]["Principal"] == {
        "Service": "lambda.amazonaws.com"
    }
    assert synthesise(**REST_API).find_resources("AWS::ApiGateway::Account")


@pytest.mark.usefixtures("node")
def test_rest_api_needs_no_url(stand_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind API Gateway there is no second way in: no function URL, and granting it says what to grant instead."""
    monkeypatch.setattr("infra.package.build", stand_in)
    from aws_cdk import App, Stack
    from aws_cdk import aws_iam as iam
    from aws_cdk.assertions import Template

    from infra.config import Config
    from infra.function import BedrockStreamFunction

    stack = Stack(App(), "Shop")
    stream = BedrockStreamFunction(stack, "Stream", config=Config(front_door="api-gateway"))
    caller = iam.Role(stack, "Caller", assumed_by=iam.ServicePrincipal("ec2.amazonaws.com"))
    assert stream.url is None
    with pytest.raises(ValueError, match=r"^expected a function URL, .*RestApiDoor\.grant_invoke"):
        stream.grant_invoke_url(caller)
    assert not Template.from_stack(stack).find_resources("AWS::Lambda::Url")


def test_rest_api_with_what_somebody_has(synthesise: Synthesise) -> None:
    """A domain is the only address, with its certificate; a web ACL is put before the stage."""
    certificate = CERTIFICATE.replace("us-east-1", "eu-west-1")
    web_acl = WEB_ACL.replace("us-east-1", "eu-west-1").replace("global", "regional")
    own = {
        "domain_name": "chat.example.com",
        "certificate_arn": certificate,
        "web_acl_arn": web_acl,
    }
    template = synthesise(**REST_API, **own)
    domain = properties(template, "AWS::ApiGateway::DomainName")
    assert domain["DomainName"] == "chat.example.com"
    assert domain["RegionalCertificateArn"] == certificate
    assert domain["SecurityPolicy"] == "TLS_1_2"
    assert properties(template, "AWS::ApiGateway::RestApi")["DisableExecuteApiEndpoint"] is True
    (stage,) = template.find_resources("AWS::ApiGateway::Stage")
    assert properties(template, "AWS::ApiGateway::BasePathMapping")["Stage"] == {"Ref": stage}
    association = properties(template, "AWS::WAFv2::WebACLAssociation")
    assert association["WebACLArn"] == web_acl
    assert {"Ref": stage} in association["ResourceArn"]["Fn::Join"][1]
    outputs = template.find_outputs("*")
    (name,) = template.find_resources("AWS::ApiGateway::DomainName")
    assert outputs["DomainTarget"]["Value"] == {"Fn::GetAtt": [name, "RegionalDomainName"]}


def test_rest_api_tells_its_address(synthesise: Synthesise) -> None:
    """The address ends in the stage and in no slash, so that paths can be added to it."""
    url = synthesise(**REST_API).find_outputs("*")["Url"]["Value"]["Fn::Join"][1]
    assert url[0] == "https://"
    assert url[2] == ".execute-api."
    assert url[-1] == "/live"


@pytest.mark.usefixtures("node")
def test_the_page_makes_a_stack(stand_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stack of one's own synthesises as it stands on the page, and lets those call whom it grants it."""
    monkeypatch.setattr("infra.package.build", stand_in)
    from aws_cdk import aws_iam as iam
    from aws_cdk.assertions import Template

    names = run(code("python", "RestApiDoor"), {})
    stack, door = names["stack"], names["door"]
    caller = iam.Role(stack, "Caller", assumed_by=iam.ServicePrincipal("ec2.amazonaws.com"))
    door.grant_invoke(caller)
    template = Template.from_stack(stack)
    (granted,) = template.find_resources(
        "AWS::IAM::Policy", {"Properties": {"Roles": [stack.resolve(caller.role_name)]}}
    ).values()
    (statement,) = granted["Properties"]["PolicyDocument"]["Statement"]
    assert statement["Action"] == "execute-api:Invoke"
    parts = statement["Resource"]["Fn::Join"][1]
    assert parts[-1] == "/live/*/*"


# The code for callers, run against a server that is as strict about the hash as Lambda.


class Call(NamedTuple):
    """A request that was let in."""

    path: str
    headers: Mapping[str, str]
    body: bytes


ANSWERS = {
    "/v1/chat/completions": {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": "Hello"},
            }
        ],
    },
    "/v1/messages": {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "Hello"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    },
    "/model/m/converse": {
        "output": {"message": {"role": "assistant", "content": [{"text": "Hello"}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2},
        "metrics": {"latencyMs": 1},
    },
    "/stream": {"type": "text", "text": "Hello"},
}


@contextmanager
def strict_server(certified: ssl.SSLContext | None = None) -> Iterator[tuple[str, list[Call]]]:
    """Serve as a function URL behind CloudFront does: what comes without its body's hash gets 403."""
    calls: list[Call] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            is_signed = headers.get("x-amz-content-sha256") == hashlib.sha256(body).hexdigest()
            if is_signed:
                calls.append(Call(self.path, headers, body))
            answer = ANSWERS[self.path] if is_signed else {"message": "Forbidden"}
            self.send_response(200 if is_signed else 403)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if certified:
            server.socket = certified.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"{'https' if certified else 'http'}://127.0.0.1:{server.server_port}", calls
        finally:
            server.shutdown()
            thread.join()


def code(language: str, part: str) -> str:
    """Return the page's code in a language that has a part in it."""
    found = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    (text,) = [text for text in found if part in text]
    return str(text)


def run(text: str, names: dict[str, Any]) -> dict[str, Any]:
    exec(text, names)
    return names


def test_curl_sends_the_hash() -> None:
    """The page's curl command is let in."""
    with strict_server() as (url, calls):
        environment = {**os.environ, "URL": url, "KEY": "abc", "NO_PROXY": "*"}
        said = subprocess.check_output(
            ["sh", "-c", code("sh", "curl")], env=environment, text=True, timeout=60
        )
    assert "Hello" in said
    assert json.loads(calls[0].body) == {"prompt": "Why is the sky blue?"}
    assert calls[0].headers["x-api-key"] == "abc"


def test_python_clients_send_the_hash() -> None:
    """OpenAI's and Anthropic's clients are let in with the page's hook, and refused without it."""
    import anthropic
    import openai

    question: Any = {"model": "m", "messages": [{"role": "user", "content": "Hi, grüß dich"}]}
    with strict_server() as (url, calls):
        names = run(code("python", "openai"), {"URL": url, "KEY": "abc"})
        chat = names["openai_client"].chat.completions.create(**question)
        message = names["anthropic_client"].messages.create(max_tokens=9, **question)
        unhooked = openai.OpenAI(base_url=f"{url}/v1", api_key="abc", max_retries=0)
        with pytest.raises(openai.PermissionDeniedError):
            unhooked.chat.completions.create(**question)
        unhooked.close()
        bare = anthropic.Anthropic(base_url=url, api_key="abc", max_retries=0)
        with pytest.raises(anthropic.PermissionDeniedError):
            bare.messages.create(max_tokens=9, **question)
        bare.close()
        names["openai_client"].close()
        names["anthropic_client"].close()
    assert chat.choices[0].message.content == message.content[0].text == "Hello"
    assert [call.headers["authorization"] for call in calls] == ["Bearer abc"] * 2


def test_boto3_sends_the_hash(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """boto3 is let in with the page's hook, its key being a bearer's, for which it wants TLS."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certified = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(certified)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "abc")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with strict_server(certified) as (url, calls):
        client = run(code("python", "before-send"), {"URL": url})["client"]
        answer = client.converse(
            modelId="m", messages=[{"role": "user", "content": [{"text": "Hi"}]}]
        )
        client.close()
    assert answer["output"]["message"]["content"][0]["text"] == "Hello"
    assert calls[0].headers["authorization"] == "Bearer abc"


def test_javascript_sends_the_hash(node: str, tmp_path: Path) -> None:
    """The page's `fetch` is let in, with a text, with bytes and with a whole request."""
    program = tmp_path / "fetch.mjs"
    program.write_text(
        f"{code('js', 'fetchWithHash')}\n"
        "const url = process.argv[2] + '/stream';\n"
        "const init = { method: 'POST', headers: { 'x-api-key': 'abc' }, body: '{\"a\": \"ü\"}' };\n"
        "for (const [input, options] of [\n"
        "  [url, init],\n"
        "  [new URL(url), { ...init, body: new TextEncoder().encode('{}') }],\n"
        "  [new Request(url, init), undefined],\n"
        "]) {\n"
        "  const response = await fetchWithHash(input, options);\n"
        "  console.log(response.status, await response.text());\n"
        "}\n"
    )
    with strict_server() as (url, calls):
        said = subprocess.check_output([node, str(program), url], text=True, timeout=60)
    assert said.splitlines() == ['200 {"type": "text", "text": "Hello"}'] * 3
    assert [call.body.decode() for call in calls] == ['{"a": "ü"}', "{}", '{"a": "ü"}']
    assert {call.headers["x-api-key"] for call in calls} == {"abc"}
