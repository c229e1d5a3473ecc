"""The peers' own environment: made once beside the product's, again when its requirements change."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
REQUIREMENTS = HERE / "requirements-quality.txt"
FOLDER = ROOT / ".bench-venv-quality"
VARIABLE = "RANKHOUSE_BENCH_QUALITY_VENV"


def peers_python() -> Path:
    """Return the interpreter of the peers' environment; make the environment first where it is not current."""
    folder = Path(os.environ.get(VARIABLE, FOLDER))
    python, stamp = folder / "bin" / "python", folder / ".requirements"
    digest = sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if python.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == digest:
        return python
    if sys.version_info >= (3, 13):
        raise SystemExit("RecTools 0.19 needs numpy 1.26, and so Python 3.11 or 3.12, for the peers.")
    print(f"Making the peers' environment in {folder} (once) ...", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    (folder / ".gitignore").write_text("*\n", encoding="utf-8")
    subprocess.run([*_installer(python), "-r", str(REQUIREMENTS)], check=True)
    stamp.write_text(digest, encoding="utf-8")
    return python


def _installer(python: Path) -> list[str]:
    uv = shutil.which("uv")
    if uv:
        return [uv, "pip", "install", "--quiet", "--python", str(python)]
    return [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
