"""Views whose passes are written down by hand."""

from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


class FakeViews:
    """Gives prepared outputs by the name of the pass; other passes run on a model of identities."""

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
        self.batch = {name: jnp.asarray(value) for name, value in batch.items()}
        self.states = states
        self.outputs = {name: jnp.asarray(value) for name, value in outputs.items()}
        head = SimpleNamespace(match_index=match_index)
        self.model = SimpleNamespace(word_logits=lambda states: states, heads={"itm": head})
        self._vectors = image, text
        self._temperature, self._bias = temperature, bias
        self.pairs: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def size(self) -> int:
        return len(self.batch["image_id"])

    def vectors(self):
        return tuple(jnp.asarray(x, jnp.float32) for x in self._vectors)

    def temperature(self):
        return jnp.asarray(self._temperature, jnp.float32)

    def bias(self):
        return jnp.asarray(self._bias, jnp.float32)

    def similarities(self):
        image, text = self.vectors()
        return image @ text.T / self.temperature()

    def draw_key(self, name: str):
        return jax.random.key(sum(name.encode()))

    def fused(self, text: str = "clean"):
        return SimpleNamespace(text=SimpleNamespace(states=self.states))

    def fused_pairs(self, texts, images):
        self.pairs = np.asarray(texts), np.asarray(images)

    def run(self, method, *inputs, name: str):
        if name in self.outputs:
            return self.outputs[name]
        return method(self.model, *inputs)
