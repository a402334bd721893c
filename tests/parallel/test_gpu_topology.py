"""Tests of GPUs that are not there: names, what is known of them, and what is missing."""

import pytest

from vlp_jax.parallel import gpu_topology
from vlp_jax.parallel.gpu_topology import GPUS, gpu_hosts


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("h100:3", 'no GPUs "h100:3". Did you mean "h100:2"'),
        ("h100:60", 'no GPUs "h100:60". Did you mean "h100:64"'),
        ("h100", 'no GPUs "h100". Did you mean "h100:8"'),
        ("h10:8", 'no GPUs "h10:8". Did you mean "h100:8"'),
        ("h10:8", r"Known: a100, h100, h200, each with 1, 2, 4, 8, 16, 32"),
    ],
)
def test_names_that_there_are_not(name, message):
    with pytest.raises(ValueError, match=message):
        gpu_hosts(name)


def test_without_a_plug_in_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(gpu_topology, "_PLUGINS", ("jax_plugins.nowhere", "nowhere.at_all"))
    with pytest.raises(ValueError, match=r'pip install "vlp_jax\[gpu\]", which needs no GPU'):
        gpu_hosts("h100:8")


@pytest.mark.parametrize("name", ["XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION"])
def test_the_share_of_memory_that_jax_takes(name, monkeypatch):
    for other in gpu_topology._FRACTIONS:
        monkeypatch.delenv(other, raising=False)
    assert gpu_topology._fraction() == 0.75
    for given, share in (("", 0.75), ("0.5", 0.5), ("1", 1.0)):
        monkeypatch.setenv(name, given)
        assert gpu_topology._fraction() == share
    monkeypatch.setattr(gpu_topology, "_is_there", lambda name: True)
    for given in ("50%", "0", "2", "nan"):
        monkeypatch.setenv(name, given)
        with pytest.raises(ValueError, match=f"{name}={given}: expected a share .* up to 1"):
            gpu_hosts("h100:8")


def test_what_xla_is_told():
    told = gpu_topology._target(GPUS["a100"])
    assert "cuda_compute_capability { major: 8 minor: 0 }" in told
    assert "shared_memory_per_core: 167936" in told and "fpus_per_core: 64" in told
    told = gpu_topology._target(GPUS["h100"])
    assert "shared_memory_per_block_optin: 232448" in told and "core_count: 132" in told
