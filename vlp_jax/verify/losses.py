"""Every value and gradient of the bundles of losses with explicit inputs."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from vlp_jax.config import Registry, nearest
from vlp_jax.verify.bundle import LOSSES, Bundle
from vlp_jax.verify.forward import quick_jit
from vlp_jax.verify.runner import RUNNERS


class Inputs(dict[str, Any]):
    """The inputs of one loss by name: NumPy arrays, or traced ones that have a gradient."""

    def __missing__(self, name: str) -> Any:
        raise ValueError(f'no input "{name}".{nearest(name, self)} There are {", ".join(self)}')

    def ids(self, name: str) -> Int[Array, "..."]:
        """Returns an input of whole numbers as int32."""
        return jnp.asarray(self[name], jnp.int32)

    def mask(self, name: str) -> Bool[np.ndarray, "..."]:
        """Returns an input of zeros and ones as booleans."""
        return np.asarray(self[name]).astype(bool)

    def number(self, name: str) -> int | float:
        """Returns a setting as the number that was meant: 0.3 where float32 holds 0.30000001."""
        value = np.asarray(self[name]).reshape(())
        return float(str(value)) if value.dtype.kind == "f" else int(value)


Loss = Callable[[Inputs], Mapping[str, Array]]

# Name of a loss, as index.json has it, -> function from its inputs to its outputs.
LOSS_FUNCTIONS = Registry("loss")


@RUNNERS.register(LOSSES)
def losses(bundle: Bundle) -> dict[str, Any]:
    """Each loss of a bundle, what it is made of, and its gradients."""
    names = dict.fromkeys(name.partition("/")[0] for name in bundle.expected)
    return {f"{name}/{key}": x for name in names for key, x in _evaluate(bundle, name).items()}


def find_loss(name: str) -> Loss:
    """Returns the function of a loss; variants add to its name ("oscar_caption_smooth0_drop0")."""
    known = [key for key in LOSS_FUNCTIONS if name == key or name.startswith(f"{key}_")]
    return LOSS_FUNCTIONS[max(known, key=len)] if known else LOSS_FUNCTIONS.get_known(name)


def _evaluate(bundle: Bundle, name: str) -> dict[str, Array]:
    """Returns the outputs of a loss, and the gradients that the bundle holds of its scalar."""
    function, prefix = find_loss(name), f"{name}/"
    inputs, expected = _of_loss(bundle.inputs, prefix), _of_loss(bundle.expected, prefix)
    wanted = [key.removeprefix("grad/") for key in expected if key.startswith("grad/")]
    unknown = [key for key in wanted if key not in inputs]
    if unknown:
        raise ValueError(f'{name}: a gradient of "{unknown[0]}", which is no input')

    def scalar(varied: dict[str, Array]) -> tuple[Array, Mapping[str, Array]]:
        outputs = function(Inputs(inputs | varied))
        return outputs.get("loss", outputs.get("mean_distance", 0.0)), outputs

    varied = {key: jnp.asarray(inputs[key]) for key in wanted}
    try:
        grads, outputs = quick_jit(jax.grad(scalar, has_aux=True))(varied)
    except ValueError as error:
        raise ValueError(f"{bundle.path}: {name}: {error}") from None
    return {**outputs, **{f"grad/{key}": grad for key, grad in grads.items()}}


def _of_loss(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {k.removeprefix(prefix): x for k, x in arrays.items() if k.startswith(prefix)}


def spread(rows: np.ndarray, mask: Bool[np.ndarray, "*b"]) -> np.ndarray:
    """Puts the targets of chosen positions, in order, where `mask` says; zero elsewhere.

    Raises ValueError if there are more or fewer rows than chosen positions.
    """
    if len(rows) != mask.sum():
        raise ValueError(f"{len(rows)} rows of targets for {mask.sum()} masked positions")
    full = np.zeros((*mask.shape, rows.shape[-1]), rows.dtype)
    full[mask] = rows
    return full
