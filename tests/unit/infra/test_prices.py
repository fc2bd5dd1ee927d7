from __future__ import annotations

import pytest

from infra.prices import Price, price

PROFILE = "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/abc"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.model-v1:0=0.3/2.5", Price("a.model-v1:0", 0.3, 2.5)),
        ("a.model=3/15/0.3/3.75", Price("a.model", 3, 15, 0.3, 3.75)),
        (f"{PROFILE}=1/2", Price(PROFILE, 1, 2)),
        ("a.model=0/0/0/0.000001", Price("a.model", 0, 0, 0, 0.000001)),
    ],
)
def test_reads(text: str, expected: Price) -> None:
    """A price is a model and two or four amounts, which nothing but digits and a point may spell."""
    assert price(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "a.model", "=1/2", " =1/2", "a.model=", "a.model=1", "a.model=1/2/3", "a.model=1/2/3/4/5",
        "a.model=1/", "a.model=/2", "a.model=-1/2", "a.model=1e3/2", "a.model=nan/2", "a.model=$1/2",
        "a.model=1,5/2", "a.model=1/2=3", "a.model=1 /2", "a.model=1234567/2", "a.model=.5/2",
    ],
)  # fmt: skip
def test_refuses(text: str) -> None:
    """What is no price is refused with what was expected, whatever it is that is missing or too much."""
    with pytest.raises(
        ValueError, match=r"^expected model=input/output .*USD for a million tokens$"
    ):
        price(text)


def test_names_the_metrics() -> None:
    """Each amount belongs to the metric that counts such tokens; what costs nothing needs no metric."""
    assert price("a.model=3/15/0.3/3.75").by_metric == {
        "InputTokens": 3,
        "OutputTokens": 15,
        "CacheReadInputTokens": 0.3,
        "CacheWriteInputTokens": 3.75,
    }
    assert price("a.model=0/15").by_metric == {"OutputTokens": 15}
