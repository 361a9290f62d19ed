"""The conformance suite of communicators, on every kind that runs here."""

import pytest
from launching import PROGRAMS, launch

from fusedstep.backends.communicators.division import Division, siblings, subtrees
from fusedstep.backends.conformance.communicators import CHECKS


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_mpi(processes):
    ended = launch(processes, PROGRAMS / "conformance.py", "mpi", "numpy")
    assert ended.status == 0, ended.error
    assert ended.out.strip() == f"{len(CHECKS)} checks passed"


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 16])
@pytest.mark.parametrize("rows", [1, 3, 16, 100, 1003])
def test_every_row_belongs_to_one_process_in_order(fixed, size, rows):
    for most in (1, 7, rows):
        cuts = [cut for rank in range(size) for cut in Division(rank, size, fixed).cuts(10, 10 + rows, most)]
        assert [start for start, _ in cuts] == [10, *[stop for _, stop in cuts[:-1]]]
        assert cuts[-1][1] == 10 + rows
        assert all(0 < stop - start <= most for start, stop in cuts)
    edges = [Division(rank, size, fixed).own(rows) for rank in range(size)]
    assert edges[0][0] == 0
    assert edges[-1][1] == rows
    counts = [stop - start for start, stop in edges]
    assert fixed or max(counts) - min(counts) <= 1


@pytest.mark.parametrize("size", range(1, 17))
def test_subtrees_add_up_to_the_whole_tree_in_one_order(size):
    def shape(nodes):
        """What is added to what, as nested pairs of shards."""
        done = []
        for node, tree in nodes:
            done.append((node, tree))
            while len(done) > 1 and siblings(done[-2][0], done[-1][0]):
                (left, a), (_, b) = done[-2:]
                done[-2:] = [((left[0], 2 * left[1]), (a, b))]
        ((_, tree),) = done
        return tree

    leaves = [((shard, 1), shard) for shard in range(16)]
    parts = []
    for rank in range(size):
        low, high = Division(rank, size, True).of_rank(128, rank)
        for first, count in subtrees(low, high):
            parts.append(((first, count), shape(leaves[first : first + count])))
    assert shape(parts) == shape(leaves)
