"""Tests of mesh shapes and the messages of wrong ones."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import AxisType

from vlp_jax.parallel import make_mesh
from vlp_jax.parallel.mesh import _resolve_shape, describe_mesh


@pytest.mark.parametrize(
    ("asked", "expected"),
    [({}, (8, 1, 1)), ({"fsdp": 4}, (2, 4, 1)), ({"data": 2, "fsdp": -1, "tensor": 2}, (2, 2, 2))],
)
def test_minus_one_takes_the_rest(devices8, asked, expected):
    mesh = make_mesh(**asked, devices=devices8)
    assert mesh.axis_names == ("data", "fsdp", "tensor")
    assert mesh.axis_sizes == expected
    assert set(mesh.devices.flat) == set(devices8)


def test_axes_are_auto(devices8):
    assert set(make_mesh(devices=devices8).axis_types) == {AxisType.Auto}


def test_a_subset_of_devices(devices8):
    assert describe_mesh(make_mesh(tensor=3, devices=devices8[:6])) == "data=2, fsdp=1, tensor=3"


def test_wrong_product_names_devices_product_and_nearest(devices8):
    with pytest.raises(ValueError, match="multiply to 12, but 8 devices are available") as error:
        make_mesh(data=3, fsdp=4, devices=devices8)
    assert str(error.value).endswith("Nearest valid shape: data=2, fsdp=4, tensor=1")


def test_rest_that_does_not_divide(devices8):
    with pytest.raises(ValueError, match="Nearest valid shape: data=2, fsdp=1, tensor=4"):
        make_mesh(tensor=3, devices=devices8)


@pytest.mark.parametrize("size", [0, -2, 2.0, True])
def test_invalid_sizes(devices8, size):
    with pytest.raises(ValueError, match="mesh axis fsdp=.*expected a positive whole number"):
        make_mesh(fsdp=size, devices=devices8)


def test_two_open_axes(devices8):
    with pytest.raises(ValueError, match="at most one axis may be -1"):
        make_mesh(data=-1, tensor=-1, devices=devices8)


@given(st.tuples(*[st.integers(1, 9)] * 3), st.integers(1, 64))
def test_the_suggested_shape_is_valid(asked, num_devices):
    if math.prod(asked) == num_devices:
        assert _resolve_shape(asked, num_devices) == asked
        return
    with pytest.raises(ValueError) as error:
        _resolve_shape(asked, num_devices)
    suggestion = str(error.value).rsplit(": ", 1)[1]
    shape = tuple(int(part.split("=")[1]) for part in suggestion.split(", "))
    assert _resolve_shape(shape, num_devices) == shape
