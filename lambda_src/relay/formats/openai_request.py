"""What the requests of OpenAI's two APIs have in common."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from relay.models import family
from relay.shapes import describe, invalid

if TYPE_CHECKING:
    from relay.formats.fields import Fields

Block: TypeAlias = dict[str, Any]

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
TOOL_ID = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")
TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
# Whose models refuse reasoning that has no signature. An ARN may hide one of them.
WANT_SIGNATURES = frozenset({"anthropic", "deepseek", ""})

_TIERS = {
    "auto": None,
    "default": "default",
    "flex": "flex",
    "priority": "priority",
    "fast": "priority",  # OpenAI's other name for it
}
_MOST_METADATA = 16
_NOT_IN_METADATA = re.compile(r"[^a-zA-Z0-9\s:_@$#=/+,.-]", re.ASCII)
_METADATA = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,.-]{0,256}", re.ASCII)


class Calling(NamedTuple):
    """Which tools there are, and how they may be called.

    Attributes:
        tools: in Converse's terms.
        choice: as Anthropic's models have it (``auto``, ``any``, ``tool`` with its ``name``, or ``none``).
        one_at_a_time: whether the model is to call one of them at most.
    """

    tools: list[Block]
    choice: Block
    one_at_a_time: bool

    def in_converses_terms(self, model: str, spoken_of_in: str | None) -> tuple[Block, Block]:
        """Return Converse's ``toolConfig``, and what only the model itself takes.

        Args:
            model: the model's id.
            spoken_of_in: what tells of tools that were called ("the messages speak of"), if anything does. Then Bedrock
                insists on knowing them.

        Raises:
            RequestError: Bedrock has no way to do so.
        """
        kind = self.choice["type"]
        if not self.tools:
            if spoken_of_in:
                raise invalid("tools", f"the tools that {spoken_of_in}", "none")
            if kind not in {"auto", "none"}:
                raise invalid("tool_choice", "auto or none, for there are no tools", "another")
            return {}, {}
        if kind == "none":
            if spoken_of_in:
                expected = f"another, for Bedrock cannot forbid tools that {spoken_of_in}"
                raise invalid("tool_choice", expected, "none")
            return {}, {}
        if self.one_at_a_time:
            return {"tools": self.tools}, {"tool_choice": self._one_at_a_time(model)}
        if kind == "auto":  # not every model takes a choice: the default is left out
            return {"tools": self.tools}, {}
        chosen = {"any": {}} if kind == "any" else {"tool": {"name": self.choice["name"]}}
        return {"tools": self.tools, "toolChoice": chosen}, {}

    def _one_at_a_time(self, model: str) -> Block:
        """Return the choice for a model that is to call one tool at most.

        Bedrock hands it on to the model. Beside a ``toolChoice`` of Converse's own it takes it for a contradiction.
        """
        if family(model) != "anthropic":
            expected = "true or nothing, for this model cannot be told to call one tool at a time"
            raise invalid("parallel_tool_calls", expected, "false")
        return {**self.choice, "disable_parallel_tool_use": True}


def service_tier(fields: Fields) -> Block | None:
    """Return Converse's ``serviceTier``."""
    tier = _TIERS[fields.choice("service_tier", *_TIERS) or "auto"]
    return {"type": tier} if tier else None


def take_hints(fields: Fields) -> None:
    """Take what changes nothing about the answer: hints on what is worth keeping."""
    fields.ignore("prompt_cache_key", "prompt_cache_retention")
    caching = fields.object("prompt_cache_options")
    if caching is not None:
        caching.choice("mode", "implicit", "explicit")
        caching.choice("ttl", "30m")
        caching.end()


def metadata(fields: Fields) -> dict[str, str]:
    """Return what the caller wants to find the request by."""
    said = fields.object("metadata")
    found = {} if said is None else {said.name(n): (n, v) for n, v in said.rest().items()}
    for name in ("user", "safety_identifier"):
        known_as = fields.text(name)
        # Whatever an application calls its users by tells them apart in Bedrock's records as well without such letters.
        found[name] = (name, known_as and _NOT_IN_METADATA.sub("_", known_as)[:256])
    told: dict[str, str] = {}
    for path, (name, value) in found.items():
        if value is None:
            continue
        if not isinstance(value, str) or not _METADATA.fullmatch(value):
            raise invalid(path, f"text that fits {_METADATA.pattern}", describe(value))
        if not name or not _METADATA.fullmatch(name):
            raise invalid(path, f"a name that fits {_METADATA.pattern}", "another")
        if told.setdefault(name, value) != value:
            raise invalid(path, f"the same as metadata.{name}, or nothing", describe(value))
    if len(told) > _MOST_METADATA:
        expected = f"at most {_MOST_METADATA}, with user and safety_identifier"
        raise invalid("metadata", expected, f"{len(told)}")
    return told


def cache_point(fields: Fields) -> list[Block]:
    """Return the end of what is worth caching, if it is here.

    OpenAI's caches last for 30 minutes at least, Bedrock's for 5 or 60.
    """
    ours = fields.object("prompt_cache_breakpoint")
    theirs = fields.object("cache_control")
    point: Block = {"type": "default"}
    if ours is not None:
        ours.one_of("mode", "explicit")
        ours.choice("ttl", "30m")
        ours.end()
        point["ttl"] = "1h"
    elif theirs is not None:
        theirs.one_of("type", "ephemeral")
        ttl = theirs.choice("ttl", "5m", "1h")
        theirs.end()
        point |= {"ttl": ttl} if ttl else {}
    else:
        return []
    return [{"cachePoint": point}]
