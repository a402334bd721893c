"""What encoders have in common: the batch fields they read, and the sizes that data give."""

from collections.abc import Mapping
from typing import ClassVar

import flax.linen as nn

from vlp_jax.config.ranges import Count


class TextEncoder(nn.Module):
    """A text encoder; subclasses compute `(ids, mask, segments, *, deterministic) -> Tokens`.

    All are [B, L]; `segments` may be None.

    Attributes:
      vocab_size: how many words it knows; data fill it in.
      max_length: of a text in tokens.
      types: how many segments it tells apart.
    """

    vocab_size: Count = 30522
    max_length: Count = 512
    types: Count = 2

    from_data: ClassVar[Mapping[str, str]] = {"vocab_size": "words"}

    def with_task(self, row: int) -> "TextEncoder":
        """Returns the encoder that shows all texts with that row of its table of tasks.

        ValueError without such a row, and for encoders without a table.
        """
        raise ValueError(f"{type(self).__name__} has no table of tasks, of which {row} is a row")


class VisionEncoder(nn.Module):
    """A vision encoder; subclasses compute `(batch, *, deterministic) -> Tokens`.

    Attributes:
      reads, may_read: the batch fields it needs, and those it reads where they are there.
      rank: of the first field, [B, …], where an example has one picture.
      from_data: argument → the size of `vlp_jax.data.sizes.Sizes` that fills it in.
      shares_text_tables: whether the text encoder takes part (`text_encoder=` in the call).
    """

    reads: ClassVar[tuple[str, ...]] = ("image",)
    may_read: ClassVar[tuple[str, ...]] = ()
    rank: ClassVar[int] = 4
    from_data: ClassVar[Mapping[str, str]] = {"image_size": "image_size"}
    shares_text_tables: ClassVar[bool] = False

    def table_sizes(self, text: TextEncoder) -> Mapping[str, int]:
        """Returns how many rows the tables have that batch fields point into."""
        return {}
