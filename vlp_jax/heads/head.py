"""What heads have in common: each says itself what it reads of a forward pass."""

from collections.abc import Mapping
from typing import Any, ClassVar

import flax
import flax.linen as nn

from vlp_jax.layers.tokens import Fused, Tokens


@flax.struct.dataclass
class Reading:
    """One forward pass as heads read it, with an entry for each picture of an example.

    Attributes:
      images, texts: tokens before the fusion; texts may be one for all pictures.
      fused: what the fusion made of each picture (or, if it takes several, of all) with the text.
    """

    images: tuple[Tokens, ...]
    texts: tuple[Tokens, ...]
    fused: tuple[Fused, ...]


class Head(nn.Module):
    """A head; subclasses compute on arrays in `__call__` and take them from a pass in `of`.

    Both have the keyword `deterministic`, which is False where dropout is on.

    Attributes:
      pictures: how many pictures of an example the head compares.
      sized_by: which argument is the size of which part of what the head predicts.
    """

    pictures: ClassVar[int] = 1
    sized_by: ClassVar[Mapping[str, str]] = {}

    def size_of(self, part: str) -> int:
        """Returns the size of a part of what it predicts, 0 if it has no such part."""
        return getattr(self, self.sized_by.get(part, ""), 0)

    def of(self, model: Any, reading: Reading, *, deterministic: bool = True) -> Any:
        """Applies the head to what it reads: by default the pooled vector of each picture.

        `model` is the `VisionLanguageModel`, for its pooler and its tables.
        """
        pooled = [model.pool(fused, deterministic=deterministic) for fused in reading.fused]
        return self(*pooled, deterministic=deterministic)
