"""A new view from a template: definition, SQL and test, which work as they are and wait to be changed."""

from __future__ import annotations

import keyword
import os
import re
from pathlib import Path
from string import Template
from typing import Final, Literal

import feature_repo
from feature_repo.errors import ContractError, MissingError

Entity = Literal["user", "item", "user_item"]
ROOT: Final = Path(feature_repo.__file__).parents[1]
VIEWS: Final = Path("feature_repo/views")
TESTS: Final = Path("tests/feature_repo/views")

_DEFINITION: Final = Template('''"""$title: say here what the view knows of $whom."""

from __future__ import annotations

from datetime import timedelta

from feast import FeatureView, Field
from feast.types import Int32

from feature_repo.data_set import DataSet
from feature_repo.entities import $imports
from feature_repo.sources import source

WINDOWS = ("7d", "30d", "all")


def define(data: DataSet) -> FeatureView:
    return FeatureView(
        name="$name",
        entities=[$entities],
        ttl=timedelta(0),
        schema=[
$key_fields
            *(Field(name=f"${name}_events_{window}", dtype=Int32) for window in WINDOWS),
        ],
        source=source("$name", data),
    )
''')

_SQL: Final = Template("""-- What the SQL sees is described in feature_repo/views/__init__.py.
WITH totals AS (
    SELECT
$keys
        event_timestamp,
        sum(sum(in_7d)) OVER history AS events_7d,
        sum(sum(in_30d)) OVER history AS events_30d,
        sum(sum(in_all)) OVER history AS events_all
    FROM changes
    GROUP BY $key_list, event_timestamp
    WINDOW history AS (PARTITION BY $key_list ORDER BY event_timestamp)
)

SELECT
$outer_keys
    event_timestamp,
    events_7d AS ${name}_events_7d,
    events_30d AS ${name}_events_30d,
    events_all AS ${name}_events_all
FROM totals
""")

_TEST: Final = Template('''"""$title against plain Python, and a look at whether it looks ahead."""

from __future__ import annotations

from feature_repo.building.leaks import check_moments, find_leaks


def test_matches_the_oracle(small_workspace, oracle) -> None:
    def expected(history):
        return {f"${name}_events_{window}": len(history.window(oracle.days[window])) for window in ("7d", "30d", "all")}

    oracle.check(small_workspace(1), "$name", lambda event: ($event_key), expected)


def test_does_not_look_ahead(small_workspace) -> None:
    workspace = small_workspace(2)
    assert find_leaks(workspace, "$name", check_moments(workspace)) == []
''')


def new_view(name: str, entity: Entity, root: Path = ROOT) -> list[Path]:
    """Write the definition, the SQL and the test of a view into a checkout; return their paths.

    Raises ContractError for a name that cannot be one or is taken, MissingError where `root` is no checkout.
    """
    keys = entity.split("_")
    files = {
        root / VIEWS / f"{name}.py": _DEFINITION.substitute(
            name=name,
            title=name.replace("_", " ").capitalize(),
            whom=" and ".join(f"a {key}" if key == "user" else f"an {key}" for key in keys),
            imports=", ".join(sorted(f"{key}{part}" for key in keys for part in ("", "_key"))),
            entities=", ".join(f"{key}(data)" for key in keys),
            key_fields="\n".join(f"            {key}_key(data)," for key in keys),
        ),
        root / VIEWS / f"{name}.sql": _SQL.substitute(
            name=name,
            keys="\n".join(f"        {key}_id," for key in keys),
            outer_keys="\n".join(f"    {key}_id," for key in keys),
            key_list=", ".join(f"{key}_id" for key in keys),
        ),
        root / TESTS / f"test_{name}.py": _TEST.substitute(
            name=name,
            title=name.replace("_", " ").capitalize(),
            event_key=", ".join(f"event.{key}" for key in keys) + ("," if len(keys) == 1 else ""),
        ),
    }
    _check(name, root, list(files))
    for path, text in files.items():
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    return list(files)


def _check(name: str, root: Path, files: list[Path]) -> None:
    if not re.fullmatch("[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise ContractError(
            "the view's name",
            expected="lower-case letters, digits and underscores, a letter first",
            got=repr(name),
            fix="Choose another name.",
        )
    on_demand = root / "feature_repo" / "on_demand" / f"{name}.py"
    taken = [path for path in (*files, on_demand) if path.exists()]
    if taken:
        raise ContractError(
            "the view's name", expected="one that is free", got=f"{name!r}: {taken[0]} exists", fix="Choose another."
        )
    for folder in (VIEWS, TESTS):
        if not (root / folder).is_dir():
            raise MissingError(
                root,
                expected=f"a checkout with {folder}",
                got="none",
                fix="Run this from the repository's environment.",
            )
