"""A run whose contrastive loss goes round the devices trains as the plain one on one device."""

import jax
import numpy as np
import pytest

from tests.training.tiny import Stepper, tiny
from vlp_jax.config import ExperimentConfig, build, to_plain
from vlp_jax.training.experiment import assemble


def stepper(form: str, implementation: str, *shape: int) -> Stepper:
    """Returns the tiny experiment with the contrastive task alone."""
    values = to_plain(tiny("pairs"))
    settings = {"form": form, "implementation": implementation, "in_batch": "online"}
    values["tasks"] = {"itc": settings | {"queue_size": 16}}
    values["model"]["heads"] = {"itc": {"width": 8, "bias": -2.0}}
    return Stepper(assemble(build(ExperimentConfig, values, "config")), *shape)


@pytest.mark.drawn(2)
@pytest.mark.slow
@pytest.mark.parametrize("form", ["softmax", "sigmoid"])
def test_the_ring_trains_as_the_plain_program(form, devices8):
    plain, ring = stepper(form, "plain", 1, 1, 1), stepper(form, "ring", 2, 2, 1)
    batches = [plain.experiment.mixture.batch(step) for step in range(2)]
    wanted_state, wanted = plain.run(batches)
    state, rows = ring.run(batches)
    for row, exact in zip(rows, wanted, strict=True):
        for name in ("itc_loss", "itc_accuracy", "temperature", "gradient_norm"):
            np.testing.assert_allclose(row[name], exact[name], rtol=1e-5, err_msg=name)
    np.testing.assert_allclose(state.tasks["itc"].image, wanted_state.tasks["itc"].image, atol=1e-4)
    learned = state.params["heads_itc"]
    assert (learned["bias"] != -2.0) == (form == "sigmoid")
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4),
        learned,
        wanted_state.params["heads_itc"],
    )
