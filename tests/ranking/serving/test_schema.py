"""schemathesis, where it is on the PATH (`uv tool install schemathesis`), finds nothing in the running service."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable

import pytest

from feature_repo.workspace import Workspace

pytestmark = pytest.mark.slow
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
SECONDS = 120


@pytest.mark.skipif(shutil.which("schemathesis") is None, reason="schemathesis is not on the PATH")
def test_requests_drawn_from_the_schema_find_no_fault(logging_all: Workspace, server: Callable) -> None:
    with server(logging_all) as (_, port):
        command = ["schemathesis", "run", f"http://127.0.0.1:{port}/openapi.json", "--checks", CHECKS]
        command += ["--max-time", str(SECONDS), "--continue-on-failure", "--seed", "1"]
        done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:]
