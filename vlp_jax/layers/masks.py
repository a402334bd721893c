"""Query-key masks beyond "every position sees all real ones"."""

import jax.numpy as jnp
from jaxtyping import Array, Bool


def captioning_mask(mask: Bool[Array, "b t"], caption: int) -> Bool[Array, "b t t"]:
    """Returns which position (row) sees which (column) when a caption is generated.

    The first `caption` positions are the caption: each sees itself, the words before it and all of
    the context that follows (object tags, regions). The context sees itself but never the caption.
    Positions that are not real see nothing and are seen by none.

    Source: OSCAR (Li et al. 2020), section 4, "Image captioning".
    """
    length = mask.shape[-1]
    if not 0 <= caption <= length:
        raise ValueError(f"a caption of {caption} positions in a sequence of {length}")
    query, key = jnp.arange(length)[:, None], jnp.arange(length)
    sees = (key >= caption) | ((query < caption) & (key <= query))
    return sees & mask[:, :, None] & mask[:, None, :]
