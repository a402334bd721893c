"""Image-text contrastive learning with momentum queue and distillation (ALBEF section 3.2)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vlp_jax.config import ExperimentConfig
from vlp_jax.config.ranges import Fraction, Natural, Positive, Range, Share
from vlp_jax.data.sizes import Sizes
from vlp_jax.layers.tokens import Tokens
from vlp_jax.losses.contrastive import (
    Both,
    Queues,
    Sides,
    in_batch_accuracy,
    make_queues,
    make_sides,
    mean_of_parts,
    plain_loss,
)
from vlp_jax.losses.contrastive_forms import SigmoidForm, SoftmaxForm
from vlp_jax.losses.momentum import Queue
from vlp_jax.losses.ring_contrastive import ring_accuracy, ring_loss
from vlp_jax.losses.similarity_blocks import Scale
from vlp_jax.model import CAPTION, Views, VisionLanguageModel
from vlp_jax.parallel.ring import Axes, ring_axes, ring_size
from vlp_jax.tasks.base import TASKS, HeadNeed, Result, Step, Task, check_others
from vlp_jax.tasks.texts import needed

HEAD = "itc"

# Bytes of one similarity matrix on one device above which "auto" takes the ring: several of them
# are kept for the backward pass. Below it memory is no concern, and plain has fewer operations.
_LARGE = 64 * 2**20


def vectors(views: Views) -> tuple[Float[Array, "b w"], Float[Array, "b w"]]:
    """Returns the contrastive unit vectors of images and of captions."""
    return image_vector(views), text_vector(views)


def image_vector(views: Views) -> Float[Array, "b w"]:
    """Returns the contrastive unit vector of each image."""
    return views.once("image vector", _image_vector, views.image())


def text_vector(views: Views) -> Float[Array, "b w"]:
    """Returns the contrastive unit vector of each caption."""
    return views.once("text vector", _text_vector, views.text(CAPTION))


def temperature(views: Views) -> Float[Array, ""]:
    """Returns the learned temperature of the contrastive similarities."""
    return views.params["heads_itc"]["temperature"]


def text_chances(
    params: Any, images: Float[Array, "n w"], texts: Float[Array, "m w"]
) -> Float[Array, "n m"]:
    """Returns how probable each text is of each image, by unit vectors of both.

    That is among the texts; for a head with a bias, which learns by the sigmoid form, of each text
    on its own.
    """
    head = params["heads_itc"]
    logits = Scale(head["temperature"], head.get("bias", 0.0)).logits(images, texts)
    return jax.nn.sigmoid(logits) if "bias" in head else jax.nn.softmax(logits)


def _image_vector(model: VisionLanguageModel, image: Tokens, *, deterministic: bool) -> Array:
    return model.head(HEAD).image(image)


def _text_vector(model: VisionLanguageModel, text: Tokens, *, deterministic: bool) -> Array:
    return model.head(HEAD).text(text)


@TASKS.register("itc")
@dataclass(frozen=True)
class ContrastiveTask(Task):
    """Tells the text of an image from other texts by their similarity, and the image of a text.

    `form` = "softmax" is soft cross-entropy over the columns (ALBEF); "sigmoid" is binary
    cross-entropy of every pair (SigLIP), for which the head needs a `bias`. Both are means over
    rows and over the two directions.

    Columns are the teacher's vectors of the whole (global) batch followed by a queue of the last
    `queue_size` ones; without a teacher they are the batch's own vectors, with gradient. Captions
    of the same image, in the batch or the queue, are positives together. `alpha` scales the
    teacher's part, `smoothing` the part of the other targets that all columns share (softmax
    alone). The temperature is clamped to `temperature_range` before each step, as ALBEF does in
    place.

    `in_batch` = "online" takes the batch's columns from the model itself, with gradient, and leaves
    the teacher the queue and the soft targets; a short run learns faster so.

    `local_batch` = n compares a row with the n of its own part of the batch (and the queue) alone,
    rows 0 to n - 1 being the first part. ALBEF's parts are the 64 rows of a device; here they do
    not depend on the number of devices.

    With `queue_ramp` a queue column counts as a fraction of one, among all columns and among the
    positives, that grows with the distillation ramp. In the first steps encoders change so fast
    that old vectors can be told from new ones by their age alone, and a short run would learn
    nothing else.

    `implementation` = "plain" makes the whole matrix of similarities, "ring" a block of it at a
    time while the columns go round the devices: the same numbers from a fraction of the memory.
    "auto" takes the ring where a device's part of the matrix would exceed 64 MiB.

    `products` = "bfloat16" rounds vectors, and gradients of similarities, before they are
    multiplied, and what a block gives to the gradient of a vector; similarities, losses and sums of
    blocks stay in float32. It is for GPUs and large batches: TPUs multiply so anyway.
    """

    alpha: Share = 0.4
    form: Literal["softmax", "sigmoid"] = "softmax"
    smoothing: Fraction = 0.0
    temperature_range: tuple[Positive, Positive] = (0.001, 0.5)
    in_batch: Literal["teacher", "online"] = "teacher"
    local_batch: Annotated[int, Range(2)] | None = None
    queue_size: Natural = 0
    queue_ramp: bool = False
    implementation: Literal["auto", "plain", "ring"] = "auto"
    products: Literal["float32", "bfloat16"] = "float32"

    title = "Contrast (ITC)"
    metrics = {"itc_accuracy": "In-batch retrieval accuracy", "temperature": "Temperature"}

    def __post_init__(self) -> None:
        if self.smoothing and self.form == "sigmoid":
            raise ValueError(
                f'smoothing = {self.smoothing}: it is for form = "softmax"; the sigmoid form has '
                "no distribution to smooth: set it to 0"
            )
        low, high = self.temperature_range
        if low > high:
            raise ValueError(f"temperature_range = {self.temperature_range}: the lower one first")

    @property
    def reads(self) -> frozenset[str]:
        """The caption and which images are the same."""
        return needed(CAPTION) | {"image_id"}

    def check(self, path: str, config: ExperimentConfig, tasks: Mapping[str, Task]) -> None:
        """A queue needs a teacher; tasks that share the one temperature give it one range."""
        if not self.queue_size:
            check_others(path, self.batch_sizes(config))
        if self.queue_size and config.training.momentum is None:
            raise ValueError(
                f"{path}.queue_size = {self.queue_size} needs a momentum teacher that fills the "
                "queue: set config.training.momentum (ALBEF: 0.995) or queue_size = 0"
            )
        ranges = {
            f"config.tasks.{name}.temperature_range": task.temperature_range
            for name, task in tasks.items()
            if isinstance(task, ContrastiveTask)
        }
        if len(set(ranges.values())) > 1:
            given = ", ".join(f"{where} = {limits}" for where, limits in ranges.items())
            raise ValueError(
                f"{given}: these share one learned temperature, so give them one range"
            )

    def chances(self, config: ExperimentConfig) -> dict[str, float]:
        """One of the rows that are compared, if these are as many in batches of all sources."""
        sizes = {self.local_batch or size for size in self.batch_sizes(config).values()}
        return {"itc_accuracy": 1 / sizes.pop()} if len(sizes) == 1 else {}

    def heads(self, sizes: Sizes) -> dict[str, HeadNeed]:
        """The projections of both encoders, with the temperature."""
        return {HEAD: HeadNeed(HEAD)}

    def state(self, model: VisionLanguageModel, key: Array) -> Queue | None:
        """The queue, filled with random vectors."""
        if not self.queue_size:
            return None
        return Queue.create(key, self.queue_size, model.head(HEAD).width)

    def constrain(self, params: Any) -> Any:
        """Clamps the temperature."""
        head = params["heads_itc"]
        clamped = jnp.clip(head["temperature"], *self.temperature_range)
        return params | {"heads_itc": head | {"temperature": clamped}}

    def loss(self, step: Step) -> Result:
        """The mean of both directions; the queue takes in the teacher's vectors."""
        views, queue = step.views, step.state
        own, ids = vectors(views), views.batch["image_id"]
        taught = None if step.teacher is None else vectors(step.teacher)
        fresh = taught if self.in_batch == "teacher" else None
        scale, axes = Scale(temperature(views), self._bias(views)), ring_axes(len(ids))
        ring = self._ring(axes) if self._takes_ring(len(ids), queue, axes) else None
        queues = self._columns(queue, taught is not None, step.ramp)
        whole = partial(self._loss, ring, queues, scale, step.ramp * self.alpha)
        compared = make_sides(*map(self._rounded, (own, taught)), ids, self._rounded(fresh))
        by_parts = partial(mean_of_parts, compared, self.local_batch)
        accuracy = by_parts(partial(_accuracy, ring))
        metrics = {"itc_accuracy": accuracy, "temperature": scale.temperature}
        return Result(by_parts(whole), metrics, self._pushed(queue, taught, ids))

    def _rounded(self, vectors: Both | None) -> Both | None:
        if self.products == "float32":
            return vectors
        return jax.tree.map(lambda x: x.astype(self.products), vectors)

    def _bias(self, views: Views) -> Array:
        if self.form != "sigmoid":
            return jnp.zeros(())
        if "bias" not in views.params["heads_itc"]:
            raise ValueError(
                "the sigmoid contrastive loss needs a learned bias: set "
                "config.model.heads.itc.bias (SigLIP: -10, with a temperature of 0.1)"
            )
        return views.params["heads_itc"]["bias"]

    def _pushed(self, queue: Queue | None, taught: tuple | None, ids: Array) -> Queue | None:
        if queue is None or taught is None:
            return queue
        return queue.push(*jax.lax.stop_gradient(taught), ids)

    def _takes_ring(self, size: int, queue: Queue | None, axes: Axes) -> bool:
        if self.implementation != "auto":
            return self.implementation == "ring"
        columns = (self.local_batch or size) + (0 if queue is None else len(queue.ids))
        return 4 * size // ring_size(axes) * columns > _LARGE

    def _columns(self, queue: Queue | None, taught: bool, ramp: Array) -> Queues | None:
        if queue is None:
            return None
        return make_queues(queue, taught, jnp.maximum(ramp, 1e-9) if self.queue_ramp else 1.0)

    def _loss(
        self, ring: Axes | None, queues: Queues | None, scale: Scale, alpha: Array, sides: Sides
    ) -> Array:
        """Returns the mean of both directions; from whole matrices unless ring axes are given."""
        form = SigmoidForm() if self.form == "sigmoid" else SoftmaxForm(self.smoothing)
        if ring is None:
            return plain_loss(form, sides, queues, scale, alpha)
        return ring_loss(form, ring, sides, queues, scale, alpha)

    def _ring(self, axes: Axes) -> Axes:
        """The columns of a part stay where its rows are."""
        return () if self.local_batch else axes


def _accuracy(ring: Axes | None, sides: Sides) -> Array:
    image, text = sides
    if ring is None:
        return in_batch_accuracy(image.vectors, text.vectors, image.ids)
    return ring_accuracy(image.vectors, text.vectors, image.ids, ring)
