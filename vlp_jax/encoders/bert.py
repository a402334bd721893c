"""BERT text encoder (Devlin et al. 2019); with zero layers it is BERT's embedding layer alone."""

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from vlp_jax.config.ranges import Count, Epsilon, Fraction, Natural
from vlp_jax.encoders import TEXT_ENCODERS
from vlp_jax.encoders.encoder import TextEncoder
from vlp_jax.layers.activation import Activation
from vlp_jax.layers.blocks import BertLayer
from vlp_jax.layers.embedding import Embedding
from vlp_jax.layers.normalisation import BERT_EPSILON, LayerNorm
from vlp_jax.layers.stack import Remat, ScanLayers, TransformerStack
from vlp_jax.layers.tokens import Tokens


@TEXT_ENCODERS.register("bert")
class BertEncoder(TextEncoder):
    """Encodes word pieces: word + position + type embedding, normalisation, then `layers` layers.

    `frozen_first_rows` names the tables ("word", "position", "type") whose row 0 the look-up does
    not train; `embedding_norm` is off for models that normalise text and regions together.
    With `tasks` > 0 a row of a table of that many tasks follows [CLS] and the output is one token
    longer (ViLBERT 12-in-1); `task` is the row for callers that name none.
    """

    width: Count = 768
    layers: Natural = 12
    heads: Count = 12
    mlp_width: Count = 3072
    dropout: Fraction = 0.1
    attention_dropout: Fraction = 0.1
    embedding_norm: bool = True
    frozen_first_rows: tuple[Literal["word", "position", "type"], ...] = ("word",)
    epsilon: Epsilon = BERT_EPSILON
    activation: Activation = "gelu"
    tasks: Natural = 0
    task: Natural = 0
    dtype: str = "float32"
    scan_layers: ScanLayers = "auto"
    remat: Remat = "none"

    def with_task(self, row: int) -> "BertEncoder":
        """Returns the encoder that shows all texts with that row of its table of tasks."""
        if not 0 <= row < self.tasks:
            raise ValueError(
                f"{row} is no row of the text encoder's table of tasks, which has {self.tasks} "
                "(config.model.text_args.tasks)"
            )
        return self.clone(task=row)

    def setup(self) -> None:
        frozen = self.frozen_first_rows
        self.word = Embedding(self.vocab_size, self.width, "word" in frozen)
        self.position = Embedding(
            self.max_length, self.width, "position" in frozen, axes=("length", "embed")
        )
        self.type = Embedding(self.types, self.width, "type" in frozen, axes=(None, "embed"))
        if self.tasks:
            self.task_token = Embedding(self.tasks, self.width, axes=(None, "embed"))
        if self.embedding_norm:
            self.norm = LayerNorm(self.epsilon)
        self.drop = nn.Dropout(self.dropout)
        block = BertLayer(
            self.heads,
            self.mlp_width,
            self.dropout,
            self.attention_dropout,
            self.epsilon,
            activation=self.activation,
            name="layers",
        )
        self.stack = TransformerStack(block, self.layers, self.scan_layers, self.remat)

    def __call__(
        self, ids, mask, segments=None, *, tasks=None, deterministic: bool = True
    ) -> Tokens:
        """Encodes ids [B, L] under a boolean mask [B, L].

        Segments [B, L] default to zero, tasks [B] to the field `task`.
        """
        states = self.embed(ids, segments, tasks, deterministic=deterministic)
        if self.tasks:
            mask = jnp.pad(mask, ((0, 0), (1, 0)), constant_values=True)
        return Tokens(self.stack(states, mask, deterministic=deterministic), mask)

    def embed(
        self, ids, segments=None, tasks=None, *, deterministic: bool = True
    ) -> Float[Array, "b l d"]:
        """Returns the embedding layer's output [B, L, D], or [B, L + 1, D] with a task token."""
        if ids.shape[1] > self.max_length:
            raise ValueError(
                f"a text of {ids.shape[1]} tokens exceeds the {self.max_length} positions of the "
                "text encoder (config.model.text_args.max_length)"
            )
        segments = jnp.zeros_like(ids) if segments is None else segments
        states = (
            self.word(ids) + self.position(jnp.arange(ids.shape[1])[None]) + self.type(segments)
        )
        if self.tasks:
            states = self._with_task_token(states, tasks)
        if self.embedding_norm:
            states = self.norm(states)
        states = self.drop(states, deterministic=deterministic).astype(self.dtype)
        self.sow("intermediates", "embedding", states)
        return states

    def _with_task_token(self, states: Float[Array, "b l d"], tasks) -> Float[Array, "b t d"]:
        """Inserts the token after [CLS]; it has no position or type of its own."""
        if not 0 <= self.task < self.tasks:
            raise ValueError(f"text_args.task = {self.task}: expected 0 to {self.tasks - 1}")
        tasks = jnp.full(states.shape[0], self.task) if tasks is None else jnp.reshape(tasks, -1)
        token = self.task_token(tasks)[:, None]
        return jnp.concatenate([states[:, :1], token, states[:, 1:]], axis=1)

    def word_table(self) -> Float[Array, "v d"]:
        """Returns the word embedding table, to which output layers are tied."""
        return self.word.table

    def type_table(self) -> Float[Array, "n d"]:
        """Returns the type embedding table, which UNITER's image embeddings share."""
        return self.type.table

    def position_table(self) -> Float[Array, "n d"]:
        """Returns the position table, which VisualBERT's aligned regions share."""
        return self.position.table
