"""The models that callers may use, by the names that they use: Bedrock's ids, and a deployment's aliases for them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from relay.errors import RequestError
from relay.geographies import GEOGRAPHIES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.settings import Settings


# What precedes the model in the id of a system-defined inference profile.
_GEOGRAPHY = re.compile(rf"(?:{'|'.join(sorted(GEOGRAPHIES))})\.")

# `anthropic.claude-…`, `us.amazon.nova-…`, or the same behind an inference profile's or a foundation model's ARN.
_FAMILY = re.compile(
    r"(?:^|/)(?:(?:[a-z]{2}(?:-[a-z]+)?|apac|global)\.)?"
    r"(amazon\.(?:nova|titan)(?=[.-])|[a-z0-9]+(?=\.[a-z]))"
)

# What precedes the id in the ARN of a foundation model or of a system-defined inference profile.
_BEFORE_ID = re.compile(r"arn:[^/]+:(?:foundation-model|inference-profile)/")


def resolve(name: str, settings: Settings, field: str = "modelId") -> str:
    """Return the id of the model that a caller names, in a field of the request.

    Raises:
        RequestError: this deployment allows none of that name; 404.
    """
    model = settings.model_aliases.get(name, name)
    if model not in settings.model_ids:
        allowed = "a model that this deployment allows (GET /v1/models lists them)"
        message = f"{field}: expected {allowed}, got {name[:200]}"
        error = RequestError(404, "model_not_found", message)
        error.field = field
        raise error
    return model


def resolve_encoded(name: str, settings: Settings) -> str:
    """Return the id of the model that a path names: the SDKs percent-encode it, and Lambda may have decoded it."""
    return resolve(unquote(name), settings)


def name_of(model: str, settings: Settings) -> str:
    """Return the name by which callers know a model: an ARN tells more than they need, where there is an alias."""
    if model.startswith("arn:"):
        return next((name for name, of in settings.model_aliases.items() if of == model), model)
    return model


def behind(model: str, settings: Settings) -> str:
    """Return what an application inference profile was copied from, where the deployment says so; or the model."""
    return settings.copied_from.get(model, model)


def foundation_model(model: str) -> str:
    """Return the model behind an inference profile's id: ``us.amazon.nova-…`` is ``amazon.nova-…``.

    CountTokens, for one, knows the model by no other name.
    """
    geography = _GEOGRAPHY.match(model)
    return model[geography.end() :] if geography else model


def family(model: str) -> str:
    """Return whose a model is, by its id or ARN: ``anthropic``, ``amazon.nova``, …; empty where it does not tell."""
    match = _FAMILY.search(model)
    return match[1] if match else ""


def is_same(model: str, other: str, settings: Settings) -> bool:
    """Tell whether two ids or ARNs lead to one model, whatever profiles it is behind."""
    return _itself(model, settings) == _itself(other, settings)


def is_akin(model: str, other: str, settings: Settings) -> bool:
    """Tell whether two models are of one family; of what does not tell its own, nothing is but the same model."""
    whose = family(behind(model, settings))
    return is_same(model, other, settings) or (
        whose != "" and whose == family(behind(other, settings))
    )


def _itself(model: str, settings: Settings) -> str:
    return foundation_model(_BEFORE_ID.sub("", behind(model, settings)))


def names(settings: Settings) -> list[str]:
    """Return the names that callers may use: the aliases, and the ids that they need not stand for."""
    aliased = settings.model_aliases.values()
    ids = (m for m in settings.model_ids if not (m.startswith("arn:") and m in aliased))
    return [*settings.model_aliases, *ids]


def openai_model(name: str) -> dict[str, Any]:
    """Return a model as OpenAI's API lists it. When it was made is known to nobody here."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "amazon-bedrock"}


def openai_list(settings: Settings) -> Mapping[str, Any]:
    """Return all models as OpenAI's API lists them."""
    return {"object": "list", "data": [openai_model(name) for name in names(settings)]}


def anthropic_model(name: str) -> dict[str, Any]:
    """Return a model as Anthropic's API lists it: one that can be used, whatever else may be known of it elsewhere."""
    when = "1970-01-01T00:00:00Z"
    known = {"created_at": when, "lifecycle": "active"}
    return {"type": "model", "id": name, "display_name": name, **known}


def anthropic_list(settings: Settings) -> Mapping[str, Any]:
    """Return all models as Anthropic's API lists them: one page."""
    data = [anthropic_model(name) for name in names(settings)]
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]}
    return {"data": data, "has_more": False, **ends}
