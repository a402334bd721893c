"""Image-text contrastive learning with momentum queue and distillation (ALBEF section 3.2)."""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array

from vlp_jax.losses.contrastive import (
    LossOf,
    Vectors,
    contrastive_loss,
    in_batch_accuracy,
    loss_by_parts,
    plain_loss,
)
from vlp_jax.losses.contrastive_forms import SigmoidForm, SoftmaxForm
from vlp_jax.losses.momentum import Queue
from vlp_jax.losses.ring_contrastive import ring_accuracy, ring_loss
from vlp_jax.losses.similarity_blocks import Scale
from vlp_jax.objectives import OBJECTIVES
from vlp_jax.objectives.base import Result
from vlp_jax.objectives.views import Views
from vlp_jax.parallel.ring import Axes, ring_axes, ring_size

# Bytes of one similarity matrix on one device above which "auto" takes the ring: several of them
# are kept for the backward pass. Below it memory is no concern, and plain has fewer operations.
_LARGE = 64 * 2**20


@OBJECTIVES.register("itc")
@dataclass(frozen=True)
class ContrastiveObjective:
    """Tells the text of an image from other texts by their similarity, and the image of a text.

    `form` = "softmax" is soft cross-entropy over the columns (ALBEF); "sigmoid" is binary
    cross-entropy of every pair (SigLIP), for which the head needs a `bias`. Both are means over
    rows and over the two directions.

    Columns are the teacher's vectors of the whole (global) batch followed by the queue; without
    a teacher they are the batch's own vectors, with gradient. Captions of the same image, in the
    batch or the queue, are positives together. `alpha` scales the teacher's part, `smoothing` the
    part of the other targets that all columns share (softmax alone).
    The temperature is clamped to `temperature_range` before each step, as ALBEF does in place.

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
    """

    weight: float = 1.0
    alpha: float = 0.4
    form: Literal["softmax", "sigmoid"] = "softmax"
    smoothing: float = 0.0
    temperature_range: tuple[float, float] = (0.001, 0.5)
    in_batch: Literal["teacher", "online"] = "teacher"
    local_batch: int | None = None
    queue_ramp: bool = False
    implementation: Literal["auto", "plain", "ring"] = "auto"

    reads = frozenset({"text_ids", "text_mask", "image_id"})
    metrics = ("itc_accuracy", "temperature")
    heads = ("itc",)

    def __post_init__(self) -> None:
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"smoothing = {self.smoothing} of objective itc: must be in [0, 1)")
        if self.smoothing and self.form == "sigmoid":
            raise ValueError(
                f"smoothing = {self.smoothing} of objective itc is for form = "
                '"softmax"; the sigmoid form has no distribution to smooth: set it to 0'
            )
        if self.local_batch is not None and self.local_batch < 2:
            raise ValueError(
                f"local_batch = {self.local_batch} of objective itc: must be at least 2, or null "
                "for the whole batch"
            )

    def __call__(
        self, views: Views, teacher: Views | None, queue: Queue | None, ramp: Array
    ) -> Result:
        own, ids = views.vectors(), views.batch["image_id"]
        taught = None if teacher is None else teacher.vectors()
        fresh = own if taught is None or self.in_batch == "online" else taught
        bias = views.bias() if self.form == "sigmoid" else jnp.zeros(())
        scale, axes = Scale(views.temperature(), bias), ring_axes(len(ids))
        rings = self._takes_ring(len(ids), queue, axes)
        loss_of = self._loss_of(scale, ramp * self.alpha, axes if rings else None)
        queue_share = jnp.maximum(ramp, 1e-9) if self.queue_ramp else 1.0
        whole = partial(contrastive_loss, loss_of, queue=queue, queue_share=queue_share)
        loss = loss_by_parts(whole, Vectors(own, fresh, taught, ids), self.local_batch)
        if rings:
            accuracy = ring_accuracy(*own, ids, axes)
        else:
            accuracy = in_batch_accuracy(views.similarities(), ids)
        metrics = {"itc_accuracy": accuracy, "temperature": scale.temperature}
        enqueue = {} if taught is None else dict(zip(("image", "text"), taught), ids=ids)
        return Result(loss, metrics, enqueue)

    def _takes_ring(self, size: int, queue: Queue | None, axes: Axes) -> bool:
        if self.implementation != "auto":
            return self.implementation == "ring"
        columns = (self.local_batch or size) + (0 if queue is None else len(queue.ids))
        return 4 * size // ring_size(axes) * columns > _LARGE

    def _loss_of(self, scale: Scale, alpha: Array, axes: Axes | None) -> LossOf:
        """Returns the loss of rows, columns and queue; in one matrix unless ring axes are given."""
        form = SigmoidForm() if self.form == "sigmoid" else SoftmaxForm(self.smoothing)
        if axes is None:
            return lambda *compared: plain_loss(form, *compared, scale, alpha)
        axes = () if self.local_batch else axes  # the columns of a part stay where its rows are
        return lambda *compared: ring_loss(form, axes, *compared, scale, alpha)
