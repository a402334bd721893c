"""What is said when memory does not suffice."""

import jax
import pytest

from tests.training.tiny import tiny
from vlp_jax.training.out_of_memory import (
    OutOfMemoryError,
    evaluation_advice,
    memory_named,
    training_advice,
)

SAID = (
    "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 17179869184 bytes.",
    "INTERNAL: Failed to allocate: OOM when allocating tensor",
    "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space hbm.",
)


@pytest.mark.parametrize("said", SAID)
def test_a_sentence_says_what_to_change(said):
    config = tiny("light")
    with pytest.raises(OutOfMemoryError) as error, memory_named(training_advice(config)):
        raise jax.errors.JaxRuntimeError(f"{said}\nmore lines")
    text = str(error.value)
    assert text.startswith("out of memory: lower config.data.batch_size (8), or raise ")
    assert 'config.training.remat = "full" (it is "none")' in text and said in text
    assert "\n" not in text


def test_only_what_can_be_changed_is_advised(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 8)
    config = tiny(
        "light", training__remat="full", training__dtype="bfloat16", training__accumulate=8
    )
    fsdp = "or share the parameters over more devices by config.mesh.fsdp (1)"
    assert training_advice(config) == f"lower config.data.batch_size (8), {fsdp}"
    assert evaluation_advice(config) == "lower config.evaluation.batch_size (8)"


@pytest.mark.parametrize("error", [ValueError("out of memory"), MemoryError("out of memory")])
def test_errors_of_others_pass(error):
    with pytest.raises(type(error)), memory_named("advice"):
        raise error


def test_other_errors_of_jax_pass():
    with pytest.raises(jax.errors.JaxRuntimeError, match="INVALID"), memory_named("advice"):
        raise jax.errors.JaxRuntimeError("INVALID_ARGUMENT: room for one boom")
