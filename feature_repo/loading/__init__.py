"""Loading: from files as people have them to the append-only lake."""

from __future__ import annotations

from feature_repo.loading.load import LoadOptions, LoadReport, load_source
from feature_repo.loading.synthetic import World

__all__ = ["LoadOptions", "LoadReport", "World", "load_source"]
