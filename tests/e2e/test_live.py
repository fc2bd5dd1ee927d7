"""The live checks (docs/smoke.md), one test each, against the deployment that RIVULET_URL names.

`RIVULET_SMOKE` has more arguments for `python -m smoke`, such as `--stack rivulet-dev`; secrets come from
`RIVULET_API_KEY` and `RIVULET_TOKEN`, AWS's credentials from where boto3 finds them.
"""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

import pytest

from smoke.__main__ import find, parser
from smoke.checks import CHECKS, OK, SKIPPED, make
from smoke.hints import hints

if TYPE_CHECKING:
    from smoke.checks import Check
    from smoke.deployment import Deployment

URL = os.environ.get("RIVULET_URL", "")

pytestmark = [
    pytest.mark.xdist_group("live"),
    pytest.mark.skipif(not URL, reason="no deployment to ask: RIVULET_URL is not set"),
]


@pytest.fixture(scope="module")
def deployment() -> Deployment:
    more = shlex.split(os.environ.get("RIVULET_SMOKE", ""))
    return find(parser().parse_args(["--url", URL, *more]))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_live(check: Check, deployment: Deployment) -> None:
    """A deployment does what the check says; what this caller cannot see is skipped with the reason."""
    row = make(check, deployment)
    print(row.seen)
    if row.verdict == SKIPPED:
        pytest.skip(row.seen)
    assert row.verdict == OK, "\n".join([row.seen, *hints(deployment)])
