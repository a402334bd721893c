"""Tests of meshes over several TPU slices, on stand-ins for their chips."""

from dataclasses import dataclass

import numpy as np
import pytest

from vlp_jax.parallel import make_mesh


@dataclass(frozen=True)
class Chip:
    id: int
    slice_index: int
    coords: tuple[int, int, int]
    platform: str = "tpu"
    device_kind: str = "TPU v5 lite"
    core_on_chip: int = 0
    process_index: int = 0


def chips(slices: int) -> list[Chip]:
    places = [(x, y, 0) for y in range(2) for x in range(2)]
    return [Chip(4 * s + i, s, place) for s in range(slices) for i, place in enumerate(places)]


@pytest.mark.parametrize("shape", [(4, 2, 1), (2, 2, 2), (8, 1, 1), (2, 4, 1)])
def test_data_alone_reaches_over_slices(shape):
    mesh = make_mesh(*shape, devices=chips(2))
    assert mesh.devices.shape == shape
    slice_of = np.vectorize(lambda chip: chip.slice_index)(mesh.devices)
    # Each half of the data axis is one slice, whatever the other axes are.
    halves = np.split(slice_of, 2)
    assert [set(half.ravel().tolist()) for half in halves] == [{0}, {1}]


def test_other_axes_must_fit_into_a_slice():
    with pytest.raises(ValueError, match="data = 1 cannot be divided over 2 slices.*divide 4"):
        make_mesh(1, 8, 1, devices=chips(2))
