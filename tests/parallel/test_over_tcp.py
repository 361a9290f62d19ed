"""Processes that TCP connects, as those of several hosts: sums, and a process that is killed."""

import socket

import pytest
from launching import PROGRAMS, launch

TCP = {"OMPI_MCA_pml": "ob1", "OMPI_MCA_btl": "tcp,self"}


def test_sums_have_the_same_bits_in_all_of_three_processes():
    ended = launch(3, PROGRAMS / "sums.py", **TCP)
    assert (ended.status, ended.out) == (0, "3 3\n"), ended.error


def test_the_algorithm_that_a_user_chose_stands():
    ended = launch(2, PROGRAMS / "sums.py", OMPI_MCA_coll_libnbc_iallreduce_algorithm="4", **TCP)
    assert (ended.status, ended.out) == (0, "2 4\n"), ended.error


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_is_named_before_mpi_ends_the_others(victim):
    """MPI itself ends a process as soon as its connection to the killed one is closed."""
    ended = launch(2, PROGRAMS / "faults.py", "dies", victim, **TCP)
    assert ended.status != 0
    assert f"error: rank {victim} on {socket.gethostname()} has ended without a word" in ended.error
