"""Where the lake, the registry, the online store and the models lie.

`RANKHOUSE_DATA_DIR` names the directory; unset, it is `data` beside feature_store.yaml. Feast expands
environment variables in feature_store.yaml itself but leaves the text of an unset one as it is, so `resolve`
reads both forms.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from feature_repo.errors import ConfigError

ENV: Final = "RANKHOUSE_DATA_DIR"
_UNEXPANDED: Final = (f"${{{ENV}}}", f"${ENV}")


def data_dir(repo_path: Path | None = None) -> Path:
    """Return the data directory: the variable's, else `data` under `repo_path` (default: this package).

    Raises ConfigError where the variable is set but empty or relative: that would depend on where one stands.
    """
    named = os.environ.get(ENV)
    if named is None:
        return (repo_path or Path(__file__).parent).absolute() / "data"
    if not os.path.isabs(named):
        raise ConfigError(
            f"environment variable {ENV}",
            expected="an absolute path, or the variable unset",
            got=repr(named),
            fix=f'Set {ENV}="{Path(named or "data").absolute()}" or unset it.',
        )
    return Path(named)


def resolve(path: str | Path, repo_path: Path) -> Path:
    """Return the absolute path that a `path:` in feature_store.yaml means.

    A leading `${RANKHOUSE_DATA_DIR}` is the data directory, another relative path starts at `repo_path`.

    >>> resolve("/tmp/online.db", Path("/repo")).as_posix()
    '/tmp/online.db'
    """
    directory = data_dir(repo_path)
    text = str(path)
    for prefix in _UNEXPANDED:
        if text == prefix or text.startswith(prefix + "/"):
            return directory / text[len(prefix) :].lstrip("/")
    return repo_path.absolute() / text
