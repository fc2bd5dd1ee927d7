"""Which models are asked for an answer, one after the other, until one has begun to give it.

Only what is busy or not there is passed over, and only before its first event: from then on an answer has one author.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from relay.errors import RelayError, RequestError, UpstreamError
from relay.models import is_akin, is_same
from relay.telemetry import logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.model_call import ModelCall
    from relay.settings import Settings

Answer = TypeVar("Answer")

# Throttled, not ready, not available: another model, or the same one elsewhere, may be neither.
_BUSY = frozenset({429, 503})

# Of a Converse request, what is the model's own business.
_MODELS_OWN = "additionalModelRequestFields"


def calls(call: ModelCall, settings: Settings) -> list[ModelCall]:
    """Return a call, and after it the same for each model that may answer in its model's place.

    A request to InvokeModel is written in its model's own schema, which only another inference profile of the same
    model is sure to read; and so is what Converse hands on to the model itself, in that of its family.
    """
    others = [model for model in settings.fallback_model_ids if model != call.model]
    if call.operation == "CountTokens":
        return [call]  # it knows the model by one name alone
    if call.operation not in {"Converse", "ConverseStream"}:
        others = [m for m in others if is_same(m, call.model, settings)]
    elif _MODELS_OWN in call.parameters or _MODELS_OWN.encode() in (call.body or b""):
        others = [m for m in others if is_akin(m, call.model, settings)]
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
        RequestError: boto3 found the first call to be none.
        UpstreamError: that of the first call, or of a later one that was busy as well. What else a stand-in fails with
            (no access, a request that it does not read) is not the fault of who asked for another model.
    """
    busy: RelayError | None = None
    for call in calls:
        try:
            return ask(call)
        except (RequestError, UpstreamError) as error:
            is_busy = isinstance(error, UpstreamError) and error.status in _BUSY
            if busy is None and not is_busy:
                raise
            if len(calls) > 1:
                logger.warning("fallback", extra={"from": call.model, "error": error.code})
            if not is_busy:
                break
            busy = error
    assert busy is not None  # noqa: S101  # for the type checker: there is a call at least
    raise busy
