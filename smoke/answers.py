"""Answers that need no model: health, statuses, browsers on other origins, what stands in between."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from smoke.verdicts import Skipped, Wrong

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smoke.caller import Answer
    from smoke.deployment import Deployment

_ELSEWHERE = "https://elsewhere.invalid"


def health(deployment: Deployment) -> str:
    """It is up."""
    answer = deployment.caller.get("/health")
    said = answer.json if isinstance(answer.json, dict) else {}
    if answer.status != 200 or said.get("status") != "ok":
        raise Wrong(f"{answer.status} {answer.error}")
    retried = f", after {answer.retries} times 403 as it settled" if answer.retries else ""
    return f"200, version {said.get('version')}{retried}"


def front_door(deployment: Deployment) -> str:
    """What callers talk to."""
    between = what_stands_in_between(deployment.caller.get("/health").headers)
    return between or "nothing that shows itself"


def what_stands_in_between(headers: Mapping[str, str]) -> str:
    """Tell by an answer's headers what it went through; empty where nothing shows itself."""
    told = []
    if "x-amz-cf-id" in headers or "(cloudfront)" in headers.get("via", "").lower():
        place = headers.get("x-amz-cf-pop")
        told.append(f"CloudFront ({place})" if place else "CloudFront")
    if "x-amz-apigw-id" in headers or "apigw-requestid" in headers:
        told.append("API Gateway")
    server = headers.get("server", "")
    if server and not re.match(r"(?i)cloudfront|amazon", server):
        told.append(f"a server that calls itself {server[:40]}")
    return ", then ".join(told)


def statuses(deployment: Deployment) -> str:
    """What is wrong with a request is told by its status, and by the name of what is wrong."""
    caller = deployment.caller
    plain = {"content-type": "text/plain"}
    seen = [
        _expect(caller.post("/stream", {"prompt": ""}), 400, "prompt"),
        _expect(caller.post("/stream", {"prompt": "x", "modelId": "no.model"}), 404, "modelId"),
        _expect(caller.get("/nowhere"), 404, "/nowhere"),
        _expect(caller.get("/stream"), 405, "POST"),
        _expect(caller.post("/stream", {"prompt": "x"}, {"accept": "image/png"}), 406, "accept"),
        _expect(caller.post("/stream", {"prompt": "x"}, plain), 415, "content-type"),
    ]
    return ", ".join(seen)


def preflight(deployment: Deployment) -> str:
    """Browsers on an allowed origin may call, and none on others; each header is there once (fact 44)."""
    if not deployment.origin:
        raise Skipped("--origin: one of cors_origins")
    asked = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    answer = _options(deployment, {"origin": deployment.origin, **asked})
    allowed = answer.headers.get("access-control-allow-origin", "nobody")
    if answer.status not in {200, 204} or allowed not in {deployment.origin, "*"}:
        raise Wrong(f"preflight {answer.status}, allows {allowed}")
    for name in ("authorization", "content-type"):
        if name not in answer.headers.get("access-control-allow-headers", "").lower():
            raise Wrong(f"preflight {answer.status}, does not allow the header {name}")
    told = deployment.caller.get("/health", {"origin": deployment.origin}).headers
    if told.get("access-control-allow-origin") != allowed:
        raise Wrong(f"the answer itself allows {told.get('access-control-allow-origin', 'nobody')}")
    elsewhere = _options(deployment, {"origin": _ELSEWHERE, **asked}).headers
    if allowed != "*" and elsewhere.get("access-control-allow-origin") in {_ELSEWHERE, "*"}:
        raise Wrong(f"{_ELSEWHERE} is allowed, too")
    return f"preflight {answer.status}, allows {allowed}, as the answer itself does, once"


def cookies(deployment: Deployment) -> str:
    """No answer of any check has set a cookie."""
    answers = deployment.answers
    if not answers:
        raise Skipped("no answers to look at: it takes another check that gets some")
    setting = sum(1 for answer in answers if answer.cookies)
    if setting:
        raise Wrong(f"{setting} of {len(answers)} answers set some")
    return f"none in {len(answers)} answers"


def _options(deployment: Deployment, headers: Mapping[str, str]) -> Answer:
    # As browsers send it: without any credential.
    return deployment.stranger.call("OPTIONS", "/stream", headers=headers)


def _expect(answer: Answer, status: int, named: str) -> str:
    told = f"{answer.error} {answer.headers.get('allow', '')}"
    if answer.status != status or named not in told:
        raise Wrong(f"{answer.status} {answer.error}, expected {status} that names {named}")
    return f"{status} names {named}"
