"""Starting and stopping leaves nothing behind, however often."""

import pytest
from benchmarks.soak import soak

pytestmark = pytest.mark.e2e


def test_fifty_cycles_of_start_and_stop_leave_nothing_behind(tmp_path):
    done = soak(tmp_path, cycles=50, within_s=40)
    assert done.leftovers == []
    assert done.cycles > 3  # a busy machine may not come to fifty in the time there is
