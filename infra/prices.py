"""What tokens cost, as far as a deployment says: AWS's prices differ by model, region and contract, and change.

No price is built in. What the dashboard and the spend alarm make of these is an estimate: it knows no
discounts, no service tiers, no taxes and no streams whose tokens Bedrock has not told.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_USD = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6})?")
_EXPECTED = (
    "expected model=input/output or model=input/output/cache_read/cache_write, "
    "in USD for a million tokens"
)


class Price(NamedTuple):
    """What a model's tokens cost, each in USD for a million. What has no price is not counted."""

    model: str
    input: float
    output: float
    cache_read: float = 0
    cache_write: float = 0

    @property
    def by_metric(self) -> dict[str, float]:
        """The prices that are not nothing, by the names of the metrics that count such tokens."""
        prices = {
            "InputTokens": self.input,
            "OutputTokens": self.output,
            "CacheReadInputTokens": self.cache_read,
            "CacheWriteInputTokens": self.cache_write,
        }
        return {name: price for name, price in prices.items() if price}


def price(text: str) -> Price:
    """Read `model=input/output[/cache_read/cache_write]`; a model is named as Bedrock is called with it.

    Raises:
        ValueError: it is none; the message says what was expected.
    """
    model, _, figures = text.rpartition("=")
    parts = figures.split("/")
    if not model.strip() or len(parts) not in {2, 4} or not all(map(_USD.fullmatch, parts)):
        raise ValueError(_EXPECTED)
    return Price(model.strip(), *map(float, parts))
