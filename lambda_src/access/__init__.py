"""Who calls, and how much they may: the ways in that are not Lambda's own, and the budgets.

With ``RIVULET_AUTH=iam`` Lambda has checked the caller's signature before the function runs. With any other way the URL
is open, and this is what stands in front: nothing of a request but its headers is looked at before its caller is known.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Protocol

from access.caller import Caller, iam_caller
from relay.http_request import is_http

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    from relay.settings import Settings

    Way: TypeAlias = Callable[[Mapping[str, Any]], Caller]

__all__ = ["Caller", "Gate"]


class Keys(Protocol):
    """A way in that needs keys from elsewhere."""

    def caller(self, event: Mapping[str, Any]) -> Caller:
        """Return who makes an HTTP request."""

    def prepare(self) -> None:
        """Fetch the keys before somebody waits for it."""

    def renew(self) -> None:
        """Forget the keys, and the way to them."""


class Gate:
    """Lets callers in.

    Args:
        settings: ``auth`` chooses the way.

    Raises:
        ValueError: that way cannot be with these settings.
    """

    def __init__(self, settings: Settings) -> None:
        self._keys: Keys | None = None
        match settings.auth:
            # Imported where they are used: nobody pays a longer cold start for a way that is not theirs.
            case "api-key":
                from access.api_keys import ApiKeys  # noqa: PLC0415

                self._keys = ApiKeys(settings)
            case "jwt":
                from access.jwt_bearer import JwtBearer  # noqa: PLC0415

                self._keys = JwtBearer(settings)
            case "public":
                self._way: Way = lambda _event: Caller("public", "public")
            case _:
                self._way = iam_caller
        if self._keys is not None:
            self._way = self._keys.caller
            os.register_at_fork(after_in_child=self.renew)
            # What is read before a snapshot is taken would be in it.
            if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") != "snap-start":
                self.prepare()

    def admit(self, event: Any) -> Caller:
        """Return who makes the request of an event.

        Raises:
            AccessError: nobody that may, or nobody can tell at the moment.
        """
        if not is_http(event):
            return Caller("direct", "direct")  # whoever may invoke the function, by IAM
        return self._way(event)

    def prepare(self) -> None:
        """Fetch the keys before somebody waits for it. Where that fails, the first request tries again."""
        if self._keys is not None:
            self._keys.prepare()

    def renew(self) -> None:
        """Begin anew, in a process that is a copy of another: with no key, no connection and no lock of that one's."""
        if self._keys is not None:
            self._keys.renew()
