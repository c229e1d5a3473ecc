"""What the definitions may depend on: the id types and attributes of the loaded data, and the configured sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from feature_repo.first_stage import candidate_fields, learned_fields, user_candidate_fields

if TYPE_CHECKING:
    import pyarrow as pa

    from feature_repo.lake import IdType
    from feature_repo.workspace import Workspace


@dataclass(frozen=True)
class DataSet:
    """The facts of one workspace that shape its feature views.

    `user_attributes` and `item_attributes` map a column to its kind: "category", "number" or "text". `log_share` of
    the served requests are logged.
    """

    features_dir: Path
    user_id_type: IdType = "int64"
    item_id_type: IdType = "int64"
    user_attributes: Mapping[str, str] = field(default_factory=dict)
    item_attributes: Mapping[str, str] = field(default_factory=dict)
    candidate_fields: tuple[tuple[str, pa.DataType], ...] = ()
    user_candidate_fields: tuple[tuple[str, pa.DataType], ...] = ()
    learned_fields: Mapping[str, Sequence[tuple[str, pa.DataType]]] = field(default_factory=dict)
    log_share: float = 0.0

    @classmethod
    def of(cls, workspace: Workspace) -> DataSet:
        """Describe a workspace; one without a lake has whole-number ids and no attributes."""
        candidates = tuple(candidate_fields(workspace.config))
        features = workspace.data_dir / "features"
        if not workspace.lake.exists():
            return cls(
                features,
                candidate_fields=candidates,
                user_candidate_fields=tuple(user_candidate_fields("int64")),
                learned_fields=learned_fields(workspace.config, "int64"),
                log_share=workspace.config.serving.log_share,
            )
        manifest = workspace.lake.manifest()
        return cls(
            features_dir=features,
            user_id_type=manifest.user_id_type,
            item_id_type=manifest.item_id_type,
            user_attributes=manifest.user_attributes,
            item_attributes=manifest.item_attributes,
            candidate_fields=candidates,
            user_candidate_fields=tuple(user_candidate_fields(manifest.item_id_type)),
            learned_fields=learned_fields(workspace.config, manifest.item_id_type),
            log_share=workspace.config.serving.log_share,
        )
