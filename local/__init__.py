"""The function at home: Lambda's Runtime API, a function URL and a stand-in for Bedrock on this machine."""

import sys
from pathlib import Path

LAMBDA_SRC = Path(__file__).parent.parent / "lambda_src"
# What is deployed is the root of its own imports: `relay` here is what it is there.
if str(LAMBDA_SRC) not in sys.path:
    sys.path.append(str(LAMBDA_SRC))
