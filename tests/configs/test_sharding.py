"""Tests that no pre-training is laid out over devices in another way unseen: golden texts.

After a change that is meant: UPDATE_GOLDENS=1 bash launch/test.sh tests/configs
"""

import os
from pathlib import Path

import pytest
from jax.sharding import AbstractMesh

from vlp_jax.config import load_config
from vlp_jax.model import build_model
from vlp_jax.model.model import abstract_params
from vlp_jax.parallel import MESH_AXES, shardings_for
from vlp_jax.parallel.report import size_text

GOLDENS = Path(__file__).with_name("sharding")
UPDATE = "UPDATE_GOLDENS" in os.environ
# Sizes of data, fsdp and tensor. Over several slices data alone reaches: 4 × 4 × 2 is four slices
# of 4 × 2, or two of 2 × 4 × 2, and every slice holds the same.
MESHES = ((16, 1, 1), (1, 16, 1), (4, 4, 1), (4, 4, 2), (1, 1, 16))
SHOWN = (4, 4, 2)
FAMILIES = ("albef", "uniter", "vilbert", "lxmert", "visualbert", "oscar")


def described(family: str) -> str:
    """Returns bytes of a device on each mesh, what could not be split, and the table of one."""
    boxed = abstract_params(build_model(load_config(f"{family}/pretrain").model))
    lines = []
    for sizes in MESHES:
        _, report = shardings_for(boxed, AbstractMesh(sizes, MESH_AXES))
        held = report.replicated_bytes + report.sharded_bytes_per_device
        lines.append(
            f"{report.mesh}: {size_text(held)} a device, {size_text(report.replicated_bytes)} whole"
        )
        lines += [f"  indivisible: {text}" for text in report.fallbacks]
        if sizes == SHOWN:
            table = [f"{p.path}: {list(p.shape)} {tuple(p.spec)}" for p in report.parameters]
    return "\n".join([*lines, "", f"split over {dict(zip(MESH_AXES, SHOWN))}", *table, ""])


@pytest.mark.parametrize(
    "family", [FAMILIES[0], *(pytest.param(f, marks=pytest.mark.slow) for f in FAMILIES[1:])]
)
def test_parameters_lie_on_devices_as_they_did(family):
    found, path = described(family), GOLDENS / f"{family}.txt"
    if UPDATE:
        path.write_text(found)
    assert found.splitlines() == path.read_text().splitlines(), __doc__.splitlines()[-1]
