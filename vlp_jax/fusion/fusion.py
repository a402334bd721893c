"""What fusions have in common: how many pictures they read, and where text reads the image."""

from typing import ClassVar

import flax.linen as nn


class Fusion(nn.Module):
    """A fusion; subclasses compute `(image, text, *, deterministic) -> Fused`.

    One that reads two pictures computes `(first, second, text, *, deterministic)`.

    Attributes:
      images: how many pictures of an example it reads.
      text_reads_image: paths of the attention of text over image, for heat maps.
      joint_attention: the path of the attention of text followed by image, in one stream.
    """

    images: ClassVar[int] = 1
    text_reads_image: ClassVar[tuple[str, ...]] = ()
    joint_attention: ClassVar[str] = ""
