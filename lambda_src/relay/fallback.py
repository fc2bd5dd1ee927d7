"""Which models are asked for an answer, one after the other, until one has begun to give it.

Only what is busy or not there is passed over, and only before its first event: from then on an answer has one author.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from relay.errors import UpstreamError
from relay.telemetry import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from relay.request import ModelCall

Answer = TypeVar("Answer")

# Throttled, not ready, not available: another model, or the same one elsewhere, may be neither.
_BUSY = frozenset({429, 503})
# What precedes the model in the id of a system-defined inference profile.
_GEOGRAPHY = re.compile(r"(?:apac|au|ca|eu|global|jp|us|us-gov)\.")


def calls(call: ModelCall, fallback_model_ids: Iterable[str]) -> list[ModelCall]:
    """Return a call, and after it the same for each model that may answer in its model's place.

    A request to InvokeModel is written in its model's own schema, which only another inference profile of the same
    model is sure to read.
    """
    others = [model for model in fallback_model_ids if model != call.model]
    if call.operation != "ConverseStream":
        others = [m for m in others if _foundation_model(m) == _foundation_model(call.model)]
    return [
        call,
        *(
            replace(call, model=model, parameters={**call.parameters, "modelId": model})
            for model in others
        ),
    ]


def first_answer(calls: list[ModelCall], ask: Callable[[ModelCall], Answer]) -> Answer:
    """Return what ``ask`` does of the first call that it does not find busy.

    Raises:
        UpstreamError: that of the last call asked.
    """
    *others, last = calls
    for call in others:
        try:
            return ask(call)
        except UpstreamError as error:
            if error.status not in _BUSY:
                raise
            logger.warning("fallback", extra={"from": call.model, "error": error.code})
    return ask(last)


def _foundation_model(model: str) -> str:
    """Return the model behind an inference profile's id: `us.amazon.nova-…` is `amazon.nova-…`."""
    geography = _GEOGRAPHY.match(model)
    return model[geography.end() :] if geography else model
