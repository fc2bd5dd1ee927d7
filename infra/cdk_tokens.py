"""CDK's tokens: what stands in a text for what only CloudFormation knows, as an ARN of the same app's.

Choices are passed on with them. Where a value's form matters, a token may stand for some of its parts, of
which the patterns here are; all around it is checked as ever. None of this needs CDK.
"""

from __future__ import annotations

import re

ANY = r"\$\{Token\[[A-Za-z0-9:._-]+\]\}"
TOKEN = re.compile(ANY)
_LIST = re.compile(ANY.replace(r"\$", "#", 1))

PARTITION = rf"(?:aws[a-z-]*|{ANY})"
REGION = rf"(?:[a-z0-9-]|{ANY})+"
ACCOUNT = rf"(?:\d{{12}}|{ANY})"

# CDK calls the tokens of CloudFormation's own parameters after these.
_FILLED_IN = re.compile(rf"\$\{{(?:AWS::|Token\[AWS\.)(\w+)[^}}]*\}}|{ANY}")
_LONGEST = {"Partition": "aws-iso-b", "Region": "us-isob-central-1", "AccountId": "123456789012"}
LONGEST = "-" * 120  # of anything else: an ARN is about as long


def some(characters: str) -> str:
    """Return the pattern of one of these characters, or of a token in place of any number."""
    return rf"(?:[{characters}]|{ANY})"


def has_token(text: str) -> bool:
    """Tell whether CDK has something to fill in."""
    return bool(TOKEN.search(text))


def is_list(text: str) -> bool:
    """Tell whether CDK has a list to fill in, of whose items nobody knows how many there are."""
    return bool(_LIST.search(text))


def longest(text: str) -> str:
    """Return a text as long as it may become, so that what is computed of lengths is not too little."""
    return _FILLED_IN.sub(lambda found: _LONGEST.get(found[1], LONGEST), text)
