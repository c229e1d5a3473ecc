"""Options that every command takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        envvar="RANKHOUSE_DATA_DIR",
        help="Where lake, features, registry, online store and models live.  [default: feature_repo/data]",
        show_default=False,
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        envvar="RANKHOUSE_CONFIG",
        help="Configuration file.  [default: feature_repo/rankhouse.yaml]",
        show_default=False,
    ),
]
JsonFile = Annotated[
    Path | None, typer.Option("--json", help="Write the report as JSON to this file, too.", show_default=False)
]
