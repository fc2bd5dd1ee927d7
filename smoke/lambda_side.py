"""What only Lambda's own side shows: invocations without the URL, and how environments start."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING

from smoke.verdicts import Skipped, Wrong

if TYPE_CHECKING:
    from smoke.deployment import Deployment

_RECENTLY = 3600.0  # seconds
_START = re.compile(r"(?P<what>Init|Restore) Duration: (?P<ms>[\d.]+) ms")
_NO_PROMPT = {"prompt": ""}  # costs no tokens


def error_trailers(deployment: Deployment) -> str:
    """Callers of InvokeWithResponseStream are told why a stream failed, beside the stream (fact 35)."""
    if not deployment.function:
        raise Skipped("which function is it? --stack or --function-name")
    payload, completed = deployment.aws.invoke(deployment.function, _NO_PROMPT)
    code = completed.get("ErrorCode")
    try:
        last = json.loads(payload.splitlines()[-1])
    except (ValueError, IndexError):
        raise Wrong(f"the payload is no NDJSON: {payload[:80]!r}") from None
    if last.get("type") != "error":
        raise Wrong(f"the payload ends with {last.get('type')}, expected an error")
    if code != f"Rivulet.{last['code']}":
        raise Wrong(f"InvokeComplete has ErrorCode {code}, expected Rivulet.{last['code']}")
    return f"InvokeComplete has ErrorCode {code}, the payload's last line says the same"


def cold_starts(deployment: Deployment) -> str:
    """How long environments take to start: from a snapshot where the deployment says so."""
    snap_start = deployment.configuration.get("SnapStart", {})
    wanted = "Restore" if snap_start.get("OptimizationStatus") == "On" else "Init"
    lines = deployment.aws.log_lines(
        deployment.known_log_group, f"{wanted} Duration", time.time() - _RECENTLY
    )
    found = [match for line in lines if "REPORT" in line and (match := _START.search(line))]
    times = [float(match["ms"]) for match in found if match["what"] == wanted]
    named = "with SnapStart" if wanted == "Restore" else "without SnapStart"
    if not times:
        raise Skipped(f"{named}: no REPORT line with {wanted} Duration in the last hour")
    return f"{named}: {len(times)} in the last hour, {wanted} Duration {min(times):.0f} to {max(times):.0f} ms"
