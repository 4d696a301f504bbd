"""What is claimed of degeneracy against the number of bits, measured again on new networks."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import seqprobe as sp
from seqprobe.degeneracy import Options, compare
from seqprobe.studies import of_study
from studies.plans import finish, make

STUDY = """
name = "bits"
seeds = 16
[fixed]
model = { name = "rnn", width = 64, start = "uniform" }
task = { name = "flipflop", length = 40, pulse = 0.3 }
[fixed.train]
batch = 32
lr = 2e-3
schedule = "constant"
steps = 6000
eval_every = 25
until = "mse=0.001"
[grid]
task.bits = [2, 4]
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    """Two ensembles of 16 networks, trained to the same loss."""
    study = make(tmp_path_factory.mktemp("bits"), STUDY)
    finish(study)
    files, left_out = of_study(study)
    assert not left_out
    options = Options(delays=(1,), ranks=(8,), jobs=2)
    levels = ["behaviour", "dynamics", "weights", "topology"]
    return compare([sp.load(file) for file in files], levels, options=options)


def _rises(found: xr.Dataset, name: str) -> bool:
    """Say whether the mean rises from 2 to 4 bits with intervals that do not meet."""
    low, high = found[f"{name}_ci"].values
    return bool(low[1] > high[0])


@pytest.mark.slow
def test_weights_move_apart_and_change_more_with_more_bits(found: xr.Dataset) -> None:
    """Case 27, and what it is: the null does not move, and relative to the norm they do not."""
    assert _rises(found, "dpif_mean")
    assert _rises(found, "delta_w_mean")
    assert not _rises(found, "dpif_null_mean")
    assert not _rises(found, "dpif_rel_mean")
    assert found["dpif_mean"].values == pytest.approx([6.37, 6.79], abs=0.1)


@pytest.mark.slow
def test_every_distance_of_dynamics_has_its_null(found: xr.Dataset) -> None:
    """At one delay and rank 8 it falls with the bits, to that of the same network."""
    assert np.isfinite(found["dsa_null"].values).all()
    mean, null = found["dsa_mean"].values.ravel(), found["dsa_null_mean"].values.ravel()
    assert mean[0] > 1.5 * null[0]
    assert mean[1] < mean[0] / 2
    assert mean[1] == pytest.approx(null[1], rel=0.3)


@pytest.mark.slow
def test_losses_are_equal_and_behaviour_is_not_told_apart(found: xr.Dataset) -> None:
    """That sigma_OOD falls is published; with 16 seeds its intervals meet."""
    (low, high), sigma = found["sigma_ood_ci"].values[..., -1], found["sigma_ood"].values[..., -1]
    assert (found["loss"].values < 1.3e-3).all()
    assert (sigma < 1e-4).all()
    assert low[0] <= high[1]
    assert low[1] <= high[0]


@pytest.mark.slow
def test_all_networks_have_the_fixed_points_of_their_task(found: xr.Dataset) -> None:
    assert found["n_stable"].values.tolist() == [4.0] * 16 + [16.0] * 16
    assert found["same_graph_mean"].values.tolist() == [1.0, 1.0]
