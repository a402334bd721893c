"""Tests of what is said of a part of the user's own that fails or gives another thing."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from tests.model.tiny import tiny_model
from vlp_jax.encoders import TextEncoder
from vlp_jax.fusion import Fusion
from vlp_jax.heads import Head
from vlp_jax.layers.tokens import Tokens
from vlp_jax.model.model import abstract_params


class Deaf(nn.Module):
    def __call__(self, *given):
        return given


class DeafHead(Head):
    def __call__(self, pooled):
        return pooled


class Narrow(TextEncoder):
    def __call__(self, ids, mask, *, deterministic=True):
        return Tokens(ids[..., None], mask)


class Bare(TextEncoder):
    def __call__(self, ids, mask, segments, *, deterministic=True):
        return jnp.zeros((*ids.shape, 16))


class Flat(TextEncoder):
    def __call__(self, ids, mask, segments, *, deterministic=True):
        return Tokens(jnp.zeros(ids.shape), mask)


class Pair(Fusion):
    def __call__(self, image, text, *, deterministic=True):
        return image, text


class Missing(Fusion):
    pass


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(fusion=Missing()), "config.model.fusion: Missing(image, text, deterministic=...) "),
        (dict(fusion=Pair()), "config.model.fusion: Pair gives tuple, expected Fused(image="),
        (
            dict(text=Narrow()),
            "config.model.text: Narrow(ids, mask, segments, deterministic=...) fails with "
            "TypeError: Narrow.__call__() takes 3 positional arguments but 4",
        ),
        (dict(text=Bare()), "config.model.text: Bare gives an array [1, 8, 16], expected Tokens("),
        (dict(text=Flat()), "config.model.text: Flat gives states [1, 8] and a mask [1, 8], "),
        (
            dict(pooler=Deaf()),
            "config.model.pooler: Deaf(fused, deterministic=...) fails with TypeError: "
            "Deaf.__call__() got an unexpected keyword argument 'deterministic'",
        ),
        (
            dict(heads={"mine": DeafHead()}),
            "config.model.heads.mine: DeafHead(..., deterministic=...) fails with TypeError: "
            "DeafHead.__call__() got an unexpected keyword argument 'deterministic'",
        ),
    ],
)
def test_a_part_that_does_not_fit_is_named_with_its_place(changes, message):
    model = tiny_model(heads={}).clone(**changes)
    with pytest.raises(ValueError) as error:
        abstract_params(model)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_a_text_encoder_has_the_sizes_that_others_ask_for():
    class Words(TextEncoder):
        @nn.compact
        def __call__(self, ids, mask, segments=None, *, deterministic=True):
            return Tokens(nn.Embed(self.vocab_size, 16, name="words")(ids), mask)

    params = abstract_params(tiny_model(heads={}).clone(text=Words(vocab_size=7)))
    assert jax.tree.leaves(params["text"])[0].shape == (7, 16)
