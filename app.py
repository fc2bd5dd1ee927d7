"""The CDK app: reads the choices from the context, builds the stack. `cdk deploy` runs this."""

from __future__ import annotations

import sys

import aws_cdk as cdk

from infra.config import Config, ConfigError
from infra.dependencies import PackageError
from infra.stack import RivuletStack


def main() -> None:
    """Synthesise the stack, or say in one sentence why that cannot be."""
    app = cdk.App()
    try:
        RivuletStack(app, config=Config.from_context(app.node.get_all_context()))
    except (ConfigError, PackageError) as error:
        sys.exit(f"rivulet: {error}")
    app.synth()


if __name__ == "__main__":
    main()
