"""The pace of a model: how long until its first token, and how long from one to the next."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """A pace that is kept exactly, whatever the length of the answer.

    Attributes:
        time_to_first_token: in seconds.
        tokens_per_second: infinite for no pauses at all.
    """

    time_to_first_token: float = 0.6
    tokens_per_second: float = 50.0

    def __post_init__(self) -> None:
        """Refuse what is no pace."""
        if not self.time_to_first_token >= 0:
            raise ValueError(
                f"time to first token; expected 0 or more; got {self.time_to_first_token}"
            )
        if not self.tokens_per_second > 0:
            raise ValueError(
                f"tokens per second; expected more than 0; got {self.tokens_per_second}"
            )

    def pause_before(self, token: int) -> float:
        """Return the seconds between a token, counted from 0, and what came before it."""
        return 1 / self.tokens_per_second if token else self.time_to_first_token

    def seconds(self, tokens: int) -> float:
        """Return how long an answer of so many tokens takes."""
        return self.time_to_first_token + max(0, tokens - 1) / self.tokens_per_second


IMMEDIATE = Pace(time_to_first_token=0.0, tokens_per_second=float("inf"))
