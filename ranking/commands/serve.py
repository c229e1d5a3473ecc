"""`rankhouse serve`: recommendations over HTTP."""

from __future__ import annotations

from typing import Annotated

import typer

from ranking.commands.options import ConfigFile, DataDir


def serve(
    host: Annotated[str, typer.Option(help="Where to listen; beyond loopback an API key is required.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8321,
    workers: Annotated[int, typer.Option(min=1, help="Processes that answer.")] = 1,
    data_dir: DataDir = None,
    config: ConfigFile = None,
) -> None:
    """Serve POST /recommend, /rank, /similar, /events; GET /explain/USER/ITEM, /health, /ready, /metrics, /docs."""
    import os
    import tempfile

    import uvicorn

    from feature_repo.errors import ConfigError
    from feature_repo.workspace import Workspace
    from ranking.serving.guard import is_loopback

    workspace = Workspace.open(data_dir, config)
    key = workspace.config.serving.api_key_env
    if not is_loopback(host) and not os.environ.get(key):
        raise ConfigError(
            f"--host {host}",
            expected=f"an API key in the environment variable {key}",
            got="none",
            fix="Set it, or listen on 127.0.0.1.",
        )
    # Requests are short: one thread each, as many processes as there are cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as shared:
        if workers > 1:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = shared
        uvicorn.run(
            "ranking.serving.worker:create",
            factory=True,
            host=host,
            port=port,
            workers=workers,
            access_log=False,
            log_level="warning",
            server_header=False,
        )
