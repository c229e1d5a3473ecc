"""A server's memory: where large pages fit, and that laying memory in them changes nothing."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest

from ranking.serving import memory
from ranking.serving.memory import LARGE_PAGE, settle


def test_large_pages_fit_in_writable_memory_without_a_file():
    mappings = (
        "00500000-00a00000 rw-p 00000000 00:00 0 \n"  # whole pages only
        "10000000-10200000 r--p 00000000 00:00 0 \n"
        "20000000-20200000 rw-p 00000000 fe:00 77 /some/library.so\n"
        "30000000-301fffff rw-p 00000000 00:00 0 [heap]\n"
        "40000000-40200000 rw-p 00000000 00:00 0 [heap]\n"
        "50000000-50200000 rw-s 00000000 00:00 0 \n"
    )
    assert list(memory._large_places(mappings)) == [0x600000, 0x800000, 0x40000000]


def test_what_is_held_keeps_its_values():
    held = np.random.default_rng(0).random(3 * LARGE_PAGE // 8)
    before = held.tobytes()
    try:
        assert settle() >= 0
        assert gc.get_freeze_count()
    finally:
        gc.unfreeze()
    assert held.tobytes() == before


def test_a_system_that_tells_nothing_of_its_memory_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(memory, "_MAPPINGS", tmp_path / "none")
    try:
        assert settle() == 0
    finally:
        gc.unfreeze()
