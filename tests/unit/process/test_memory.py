"""What is freed goes back to the system."""

from __future__ import annotations

import sys

import psutil
import pytest

from realm.process.memory import give_back

BLOCK = 64 << 10  # below what malloc maps by itself
BLOCKS = 1000


@pytest.mark.skipif(sys.platform != "linux", reason="malloc_trim is glibc's")
def test_freed_memory_goes_back_though_a_later_block_is_kept() -> None:
    process = psutil.Process()
    blocks = [bytearray(BLOCK) for _ in range(BLOCKS)]
    kept = bytearray(BLOCK)
    used = process.memory_info().rss
    blocks.clear()
    give_back()
    assert used - process.memory_info().rss > BLOCK * BLOCKS / 2
    assert len(kept) == BLOCK
