"""What the function and its deployment must agree on, read from the function's own source.

`lambda_src/` is not on the path of whoever deploys, and need not be: the modules that are read here
import nothing of the function's.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

_SOURCE = Path(__file__).parent.parent / "lambda_src"


def load(name: str) -> Any:
    """Return a module of the function's, by its dotted name."""
    path = _SOURCE / Path(*name.split(".")).with_suffix(".py")
    spec = importlib.util.spec_from_file_location(f"shipped_{name.replace('.', '_')}", path)
    assert spec is not None  # noqa: S101  # for the type checker: it is a file
    assert spec.loader is not None  # noqa: S101  # as above
    if spec.name not in sys.modules:
        sys.modules[spec.name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[spec.name])
    return sys.modules[spec.name]
