"""CDK's tokens: what stands in a text for what only CloudFormation knows, as an ARN of the same app's.

Most choices are passed on as they are. Where a value's form matters, something of the form that it will
have stands in for the token, and gives way to it once all is computed: `bedrock_access` needs no CDK.
"""

from __future__ import annotations

import re

TOKEN = re.compile(r"\$\{Token\[([^\]]+)\]\}")
# As long as any, so that what is computed of lengths is not too little.
_PROFILE = "arn:aws-iso-b:bedrock:us-isob-central-1:123456789012:application-inference-profile/"
_STAND_IN = re.compile(rf"(?:{_PROFILE})?cdktoken([0-9a-f]+)z")


def has_token(text: str) -> bool:
    """Tell whether CDK has something to fill in."""
    return bool(TOKEN.search(text))


def stood_in(text: str) -> str:
    """Return a text with an id, such as a guardrail or a bucket has, in place of each token."""
    return TOKEN.sub(lambda found: f"cdktoken{found[1].encode().hex()}z", text)


def model_stood_in(text: str) -> str:
    """Return a model with an ARN in place of the token that it begins with.

    It is an application inference profile's: CloudFormation makes nothing else that can be a model here.
    """
    token = TOKEN.match(text)
    return f"{_PROFILE}{stood_in(token[0])}{text[token.end() :]}" if token else text


def restored(text: str) -> str:
    """Return a text with the tokens again that something stood in for."""
    return _STAND_IN.sub(lambda found: f"${{Token[{bytes.fromhex(found[1]).decode()}]}}", text)
