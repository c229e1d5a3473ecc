"""Environments for peers: one per requirements file, made once beside the product's, again when the file changes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
FOLDER = ROOT / ".bench-venv"  # its subfolders are the environments
VARIABLE = "RANKHOUSE_BENCH_VENV"


def peer_python(name: str) -> Path:
    """Return the interpreter that has `requirements-<name>.txt`; make its environment where it is not current."""
    requirements = HERE / f"requirements-{name}.txt"
    folder = Path(os.environ.get(VARIABLE, FOLDER)) / name
    python, stamp = folder / "bin" / "python", folder / ".requirements"
    digest = sha256(requirements.read_bytes()).hexdigest()
    if python.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == digest:
        return python
    print(f"Making the environment of the peers in {folder} (once) ...", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    subprocess.run([*_installer(python), "-r", str(requirements)], check=True)
    stamp.write_text(digest, encoding="utf-8")
    return python


def _installer(python: Path) -> list[str]:
    uv = shutil.which("uv")
    if uv:
        return [uv, "pip", "install", "--quiet", "--python", str(python)]
    return [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
