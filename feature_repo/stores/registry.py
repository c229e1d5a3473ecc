"""Feast's registry as one file under the data directory, replaced as a whole.

registry:
  registry_store_type: feature_repo.stores.registry.DataDirRegistryStore
  path: "${RANKHOUSE_DATA_DIR}/registry.db"
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from feast.infra.registry.file import FileRegistryStore
from feast.protos.feast.core.Registry_pb2 import Registry as RegistryProto
from feast.repo_config import RegistryConfig
from feast.utils import _utc_now

from feature_repo.data_dir import resolve


class DataDirRegistryStore(FileRegistryStore):
    """Feast's file registry, with `path` resolved by `feature_repo.data_dir` and crash-safe writes."""

    def __init__(self, registry_config: RegistryConfig, repo_path: Path | None) -> None:
        self._filepath = resolve(registry_config.path, repo_path or Path.cwd())

    def _write_registry(self, registry_proto: RegistryProto) -> None:
        registry_proto.version_id = str(uuid.uuid4())
        registry_proto.last_updated.FromDatetime(_utc_now())
        self._filepath.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._filepath.with_name(f".registry-{uuid.uuid4().hex}")
        try:
            with open(temporary, "wb") as file:
                file.write(registry_proto.SerializeToString())
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self._filepath)
        finally:
            temporary.unlink(missing_ok=True)
