"""Where a model looks for each word: methods, the picture that is shown, maps word by word."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from vlp_jax.data.images import check_size, decode
from vlp_jax.data.input_rules import InputRules, TextRules
from vlp_jax.data.regions import Regions
from vlp_jax.inference.inputs import Fields, Inputs, Pictures, is_pixels
from vlp_jax.inference.region_inputs import pixel_box
from vlp_jax.model import CAPTION, VisionLanguageModel
from vlp_jax.tasks import matching, word_maps

_BLANK_SIDE = 256  # of a picture whose size is not known
_RATIO = 0.02  # by which the form of a picture and that of its regions may differ


def methods(model: VisionLanguageModel, rules: InputRules) -> tuple[str, ...]:
    """Returns the methods that a model supports, the best first."""
    fusion = model.fusion
    reads = fusion.text_reads_image or fusion.joint_attention
    supported = {
        "gradcam": reads and matching.matching_heads(model),
        "alignment": rules.aligned and fusion.images == 1,
        "attention": reads,
    }
    return tuple(name for name, there in supported.items() if there)


def chosen_method(model: VisionLanguageModel, rules: InputRules, method: str) -> str:
    """Returns the method, or the best for ""; ValueError, which names them, for another."""
    known = methods(model, rules)
    if not known:
        raise ValueError("explain: no word of this model reads one picture by itself")
    if method and method not in known:
        raise ValueError(f'explain: method is "{method}"; this model supports {", ".join(known)}')
    return method or known[0]


def looks(model: VisionLanguageModel, method: str, layer: int | None) -> Callable:
    """Returns the function of views that gives maps [B, L, T] over positions and image tokens."""
    if method == "alignment":
        if layer is not None:
            raise ValueError(f"layer is {layer}; alignment is that of the last layer: give none")
        return word_maps.alignment
    if method == "attention":
        return partial(word_maps.attention, layer=layer)
    return partial(word_maps.gradcam, head=matching.matching_heads(model)[0], layer=layer)


def one_picture(inputs: Inputs, image: Any, regions: Any) -> tuple[Pictures, np.ndarray]:
    """Returns a picture as the model reads it, and as it is shown, uint8 [H, W, 3].

    A model that reads regions may be given the picture as well, which is only shown; what a
    detector has looked at is shown, too.
    """
    beside = inputs.reads_regions and regions is not None
    detected = inputs.detector is not None and regions is None and is_pixels(image)
    pictures = inputs.pictures("explain", None if beside else image, regions)
    if len(pictures) != 1:
        raise ValueError(f"explain takes one picture; {len(pictures)} were given")
    if not inputs.reads_regions:
        return pictures, pictures.fields["image"][0]
    return pictures, _behind(pictures.regions[0], image if beside or detected else None)


def _behind(regions: Regions, image: Any) -> np.ndarray:
    """Returns what boxes are drawn on."""
    known = max(regions.width, regions.height) > 1
    width, height = (regions.width, regions.height) if known else (_BLANK_SIDE, _BLANK_SIDE)
    if image is None:
        check_size(round(width), round(height), "the picture of the regions")
        return np.full((round(height), round(width), 3), 255, np.uint8)
    picture = decode(image, "the picture")
    if known and abs(picture.shape[1] / picture.shape[0] / (width / height) - 1) > _RATIO:
        raise ValueError(
            f"the picture has {picture.shape[1]} x {picture.shape[0]} pixels, and the regions are "
            f"of one with {width} x {height}"
        )
    return picture


def placed(
    maps: Float[np.ndarray, "w t"], pictures: Pictures, picture: np.ndarray, rules: InputRules
) -> dict[str, Any]:
    """Returns maps over image tokens as those fields of an `Explanation` that say where."""
    if not pictures.regions:
        if word_maps.grid_side(maps.shape[-1]) is None:
            raise ValueError(
                f"explain: the {maps.shape[-1]} image tokens of this model are no square of patches"
            )
        return {"maps": word_maps.on_grid(maps)}
    (regions,), first = pictures.regions, int(rules.global_region)
    scale = np.tile(picture.shape[1::-1], 2) / np.tile([regions.width, regions.height], 2)
    boxes = np.array([pixel_box(regions, i) for i in range(len(regions))]) * scale
    return {
        "weights": maps[:, first : first + len(regions)],
        "boxes": boxes.astype(np.float32),
        "names": regions.names,
    }


def words_of(inputs: Inputs, text: str, rules: TextRules, batch: Fields) -> list[tuple[str, slice]]:
    """Returns the words of a text with their positions in its batch; of tags behind it none."""
    encoder = rules.encoder(inputs.tokenizer)
    (cleaned,) = inputs.encoder.cleaned([text], rules)
    first = batch[CAPTION.mask][0]
    paired = CAPTION.segments in batch
    if paired:
        first = first & (batch[CAPTION.segments][0] == 0)
    return encoder.words(cleaned, int(first.sum()) - (paired or encoder.add_sep))
