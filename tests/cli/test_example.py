"""`fusedstep example`: the list, one experiment with its table and figure, and names that are not there."""

from __future__ import annotations

import pytest


def test_the_list_shows_every_row(call):
    answer = call("example", "--list")
    assert answer.code == 0
    for name in ("E1", "sigmoid-neuron", "E5", "symmetry", "E12", "learning-rate"):
        assert name in answer.out


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_e1_from_the_command_line_prints_its_findings_and_saves_its_figure(call, tmp_path, backend):
    answer = call("example", "e1", "--backend", backend, "--out", "pictures/here")
    assert answer.code == 0, answer
    assert f"(backend {backend})" in answer.flat
    assert "-0.1966 -0.20 yes" in answer.flat
    assert (tmp_path / "pictures" / "here" / "sigmoid-neuron.png").read_bytes().startswith(b"\x89PNG")


def test_without_a_figure_no_file_is_written(call, tmp_path):
    assert call("example", "affine-jacobian", "--no-figure", "--backend", "numpy").code == 0
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_run_is_refused(refused):
    assert "did you mean 'symmetry'?" in refused("example", "simetry")
    assert "fusedstep example --list" in refused("example")
    assert "bogus" in refused("example", "e1", "--backend", "bogus")


def test_a_folder_that_cannot_be_made_is_refused_before_the_experiment(refused, tmp_path):
    (tmp_path / "taken").write_text("")
    assert "--out: expected a folder" in refused("example", "e1", "--out", "taken")
