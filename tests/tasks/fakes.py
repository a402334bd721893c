"""Views whose passes are written down by hand."""

from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vlp_jax.model import CAPTION, TextFields, Views
from vlp_jax.tasks import Result, Step, Task


class FakeViews(Views):
    """Gives prepared outputs by the name of the head or pass, and prepared contrastive vectors.

    Other passes run on a model that takes text states for the logits of its word head.
    """

    def __init__(
        self,
        batch: dict[str, Any],
        image: Any = None,
        text: Any = None,
        temperature: float = 1.0,
        bias: float = 0.0,
        states: Any = None,
        match_index: int = 1,
        **outputs: Any,
    ):
        heads = {"itm": SimpleNamespace(match_index=match_index)}
        model = SimpleNamespace(
            head=heads.get, read=lambda name, reading, **_: reading.fused[0].text.states
        )
        scale = {"temperature": temperature, "bias": bias}
        params = {"heads_itc": {name: jnp.asarray(x, jnp.float32) for name, x in scale.items()}}
        vectors = {"image vector": image, "text vector": text}
        super().__init__(
            model,
            params,
            {name: jnp.asarray(value) for name, value in batch.items()},
            key=jax.random.key(7),
            made={n: jnp.asarray(x, jnp.float32) for n, x in vectors.items() if x is not None},
        )
        self.states = states
        self.outputs = {name: jnp.asarray(value) for name, value in outputs.items()}
        self.pairs: tuple[np.ndarray, np.ndarray] | None = None

    def image(self) -> None:
        return None

    def text(self, fields: TextFields = CAPTION) -> None:
        return None

    def fused(self, fields: TextFields = CAPTION) -> Any:
        return SimpleNamespace(text=SimpleNamespace(states=self.states))

    def shares_image(self, parts: int = 1) -> bool:
        return False

    def fused_pairs(self, images, texts, fields=(CAPTION,), once: str = "") -> None:
        self.pairs = np.asarray(images), np.asarray(texts)

    def run(self, function: Any, *inputs: Any, name: str) -> Any:
        return function(self.model, *inputs, deterministic=True)

    def at_once(self, function: Any, *inputs: Any, name: str) -> Any:
        return self.run(function, *inputs, name=name)

    def head(self, name: str, fields: TextFields = CAPTION) -> Any:
        return self.outputs[name]

    def head_of(self, name: str, fused: Any, label: str) -> Any:
        return self.outputs[label]


def loss_of(
    task: Task, views: Views, teacher: Views | None = None, state: Any = None, ramp: Any = 1.0
) -> Result:
    """Returns what a task makes of a step."""
    return task.checked_loss(Step(views, teacher, state, jnp.float32(ramp)), "config.tasks.it")
