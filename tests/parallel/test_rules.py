"""Tests of the rule table: what is an error, and what is replicated and said."""

import pytest
from jax.sharding import PartitionSpec as P

from vlp_jax.parallel import DEFAULT_RULES, make_mesh, validate
from vlp_jax.parallel.rules import partition_spec


@pytest.fixture(scope="module")
def mesh(devices8):
    return make_mesh(data=1, fsdp=2, tensor=4, devices=devices8)


def test_default_rules_are_immutable_and_valid(mesh):
    hash(DEFAULT_RULES)
    validate({}, DEFAULT_RULES, mesh, {})


def test_specs_of_a_natural_rank_kernel(mesh):
    spec, fallbacks = partition_spec(("embed", "heads", "kv"), (6, 8, 5), DEFAULT_RULES, mesh)
    assert spec == P("fsdp", "tensor", None)
    assert fallbacks == ()


def test_batch_uses_two_mesh_axes(mesh):
    assert partition_spec(("batch", None), (4, 3), DEFAULT_RULES, mesh)[0] == P(
        ("data", "fsdp"), None
    )


def test_an_indivisible_dimension_is_kept_whole_and_said(mesh):
    spec, fallbacks = partition_spec(("embed", "heads", "kv"), (6, 12, 5), DEFAULT_RULES, mesh)
    assert spec == P("fsdp", "tensor", None)
    spec, fallbacks = partition_spec(("embed", "heads", "kv"), (6, 10, 5), DEFAULT_RULES, mesh)
    assert spec == P("fsdp", None, None)
    assert fallbacks == ("dimension 1 \"heads\" of size 10 by 'tensor'=4",)


def test_unknown_name(mesh):
    with pytest.raises(ValueError) as error:
        validate({"text/kernel": ("embd", "mlp")}, DEFAULT_RULES, mesh, {"text/kernel": (4, 4)})
    message = str(error.value)
    assert 'text/kernel: unknown logical axis "embd". Did you mean "embed"?' in message


def test_one_mesh_axis_on_two_dimensions(mesh):
    with pytest.raises(ValueError, match='a/b: names .* put mesh axis "tensor" on two dimensions'):
        validate({"a/b": ("heads", "mlp")}, DEFAULT_RULES, mesh, {"a/b": (4, 4)})


def test_number_of_names(mesh):
    with pytest.raises(ValueError, match="a: 1 names .* for the 2 dimensions"):
        validate({"a": ("mlp",)}, DEFAULT_RULES, mesh, {"a": (4, 4)})


def test_missing_mesh_axis(mesh):
    with pytest.raises(ValueError, match='no axis "tensr". Did you mean "tensor"'):
        validate({}, (("mlp", ("data", "tensr")),), mesh, {})


def test_two_rules_for_one_name(mesh):
    with pytest.raises(ValueError, match='"mlp" has two rules'):
        validate({}, (("mlp", "tensor"), ("mlp", None)), mesh, {})


def test_all_problems_are_listed_up_to_ten(mesh):
    names = {f"p{i}": ("nope",) for i in range(13)}
    with pytest.raises(ValueError, match=r"p0: (.|\n)*p9: (.|\n)*and 3 more"):
        validate(names, DEFAULT_RULES, mesh, {path: (4,) for path in names})
