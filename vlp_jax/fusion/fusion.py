"""What fusions have in common: how many pictures they read, and where text reads the image."""

from typing import ClassVar

import flax
import flax.linen as nn
from jaxtyping import Array, Int

from vlp_jax.layers.attention import Projected
from vlp_jax.layers.tokens import Tokens, pick_rows


@flax.struct.dataclass
class SharedImage:
    """Images with all that a fusion projects of them, once for several texts of an image."""

    tokens: Tokens
    context: Projected

    def of_rows(self, rows: Int[Array, "p m"]) -> "SharedImage":
        """Returns the images that the texts of pairs read; see `pick_rows`."""
        return SharedImage(pick_rows(self.tokens, rows), self.context.replace(rows=rows))


class Fusion(nn.Module):
    """A fusion; subclasses compute `(image, text, *, deterministic) -> Fused`.

    One that reads two pictures computes `(first, second, text, *, deterministic)`.

    Attributes:
      images: how many pictures of an example it reads.
      text_reads_image: paths of the attention of text over image, for heat maps.
      shares_image: whether it has `share(image) -> SharedImage` and takes that for an image, with
        `queries` = n for the first n text states alone.
      joint_attention: the path of the attention of text followed by image, in one stream.
    """

    images: ClassVar[int] = 1
    text_reads_image: ClassVar[tuple[str, ...]] = ()
    shares_image: ClassVar[bool] = False
    joint_attention: ClassVar[str] = ""
