"""A few kills of those that kills.py makes by the dozen."""

import pytest
from launching import mpiexec


@pytest.mark.parametrize("order", ["fixed", "free"])
def test_g16_a_training_goes_on_with_another_number_of_processes(order, tmp_path):
    mpiexec()
    from kills import crash

    report = crash(2, 0, tmp_path, [order])
    assert not report.wrong, report.wrong
    assert report.kills == 2
