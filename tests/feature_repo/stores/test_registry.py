from __future__ import annotations

from pathlib import Path

import pytest

from feature_repo.data_dir import ENV

YAML = """
project: registry_test
provider: local
registry:
  registry_store_type: feature_repo.stores.registry.DataDirRegistryStore
  path: "${RANKHOUSE_DATA_DIR}/deep/registry.db"
online_store: {type: sqlite, path: online.db}
offline_store: {type: file}
"""


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    (tmp_path / "feature_store.yaml").write_text(YAML)
    return tmp_path


@pytest.mark.parametrize("named", [True, False])
def test_feast_opens_it_from_any_directory(
    repo: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    from feast import Entity, FeatureStore, ValueType

    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    if named:
        monkeypatch.setenv(ENV, str(elsewhere / "lake"))
    else:
        monkeypatch.delenv(ENV, raising=False)
    FeatureStore(repo_path=str(repo)).apply([Entity(name="user", value_type=ValueType.INT64)])
    path = (elsewhere / "lake" if named else repo / "data") / "deep" / "registry.db"
    assert path.is_file()
    assert [p.name for p in path.parent.iterdir()] == ["registry.db"]
    again = FeatureStore(repo_path=str(repo))
    assert [entity.name for entity in again.list_entities()] == ["user"]


def test_a_failed_write_leaves_the_old_registry(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from feast.protos.feast.core.Registry_pb2 import Registry as RegistryProto
    from feast.repo_config import RegistryConfig

    from feature_repo.stores.registry import DataDirRegistryStore

    store = DataDirRegistryStore(RegistryConfig(path="registry.db"), repo)
    store.update_registry_proto(RegistryProto(registry_schema_version="1"))
    before = (repo / "registry.db").read_bytes()

    def broken(source: str, target: str) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("feature_repo.stores.registry.os.replace", broken)
    with pytest.raises(OSError, match="disk full"):
        store.update_registry_proto(RegistryProto(registry_schema_version="2"))
    assert (repo / "registry.db").read_bytes() == before
    assert [p.name for p in repo.iterdir() if p.name.startswith(".registry-")] == []
