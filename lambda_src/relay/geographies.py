"""Where system-defined inference profiles route to: the first part of a profile's id.

A profile of a geography that is not listed here yet can be given by its ARN, which says that it is one. The deployment
reads this as well, for what the function may call.
"""

from __future__ import annotations

GEOGRAPHIES = frozenset({"apac", "au", "ca", "eu", "global", "jp", "us", "us-gov"})
