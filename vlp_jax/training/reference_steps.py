"""Training steps of ALBEF, with the trainer's own step: losses, gradients, and the state after."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from vlp_jax.config import OptimizerConfig, TrainingConfig
from vlp_jax.layers.tokens import Tokens
from vlp_jax.losses.momentum import Queue
from vlp_jax.losses.sampling import negative_weights
from vlp_jax.tasks import Result, Step, Task, contrast, masked_text, matching
from vlp_jax.tasks.contrast import ContrastiveTask
from vlp_jax.tasks.masked_text import MaskedTextTask
from vlp_jax.tasks.matching import MatchingTask
from vlp_jax.training.optimizer import make_optimizer
from vlp_jax.training.state import TrainState
from vlp_jax.training.step import constrained, make_train_step
from vlp_jax.verify.albef import teacher_params
from vlp_jax.verify.bundle import Bundle
from vlp_jax.verify.forward import Loaded, channels_last, load, named_gradients, quick_jit
from vlp_jax.verify.runner import RUNNERS
from vlp_jax.weights.conversion import to_published
from vlp_jax.weights.zoo.albef import momentum_table

LOSSES = {"loss": "loss", "loss_mlm": "mlm_loss", "loss_ita": "itc_loss", "loss_itm": "itm_loss"}
WEIGHTS = ("weights_i2t", "weights_t2i")


@dataclass(frozen=True)
class GivenNegatives(MatchingTask):
    """Matching with the negatives of the batch, which says by what weights they would be drawn."""

    in_batch: str = "teacher"

    def loss(self, step: Step) -> Result:
        """The same loss, and the weights among the metrics."""
        result = super().loss(step)
        ids, logits = step.views.batch["image_id"], self.draw_logits(step)
        weights = {name: negative_weights(x, ids) for name, x in zip(WEIGHTS, logits)}
        return result.replace(metrics={**result.metrics, **weights})

    def checked_loss(self, step: Step, path: str) -> Result:
        """The weights are no figures of a run: they are compared whole."""
        return self.loss(step)

    def draw(self, step: Step) -> tuple[Array, Array]:
        """What the original has drawn."""
        return step.views.batch["negative_image"], step.views.batch["negative_text"]


@RUNNERS.register("albef/training_step")
def training_step(bundle: Bundle) -> dict[str, Any]:
    """Every step of a bundle, from the state before it to the state after it."""
    loaded = _without_dropout(bundle)
    optimizer = optax.chain(_remember_gradients(), _optimizer(loaded, "optimizer"))
    first = state = _initial_state(loaded, optimizer)
    outputs: dict[str, Any] = {}
    for step in range(_count_steps(bundle)):
        train = make_train_step(
            loaded.model,
            _tasks(float(bundle.number(f"step{step}/alpha"))),
            optimizer,
            TrainingConfig(momentum=bundle.field("momentum")),
        )
        state, metrics = quick_jit(train)(state, _batch(bundle, step))
        outputs |= _step_outputs(loaded, state, metrics, f"step{step}")
        if step == 0:
            outputs |= _big_step(loaded, first.params, state)
    return outputs


def _count_steps(bundle: Bundle) -> int:
    return len({name.partition("/")[0] for name in bundle.inputs if name.startswith("step")})


def _without_dropout(bundle: Bundle) -> Loaded:
    """Loads the model that the original ran: in training, but without its dropout."""
    bert = {**bundle.field("bert_config"), "hidden_dropout_prob": 0.0}
    bert["attention_probs_dropout_prob"] = 0.0
    config = {**bundle.config, "bert_config": bert}
    return load(dataclasses.replace(bundle, config=config), task="pretrain")


def _tasks(alpha: float) -> dict[str, Task]:
    return {
        contrast.HEAD: ContrastiveTask(alpha=alpha),
        matching.HEAD: GivenNegatives(),
        masked_text.HEAD: MaskedTextTask(alpha=alpha),
    }


def _optimizer(loaded: Loaded, name: str) -> optax.GradientTransformation:
    """Returns AdamW with the settings that the bundle names, at a constant rate."""
    given = loaded.bundle.field(name)
    config = OptimizerConfig(
        learning_rate=given["lr"],
        schedule="constant",
        weight_decay=given["weight_decay"],
        beta1=given["betas"][0],
        beta2=given["betas"][1],
        epsilon=given["eps"],
    )
    return make_optimizer(config, 1, loaded.params)


def _remember_gradients() -> optax.GradientTransformation:
    """A transformation that changes nothing and whose state is what has passed through it last."""
    zeros = lambda params: jax.tree.map(jnp.zeros_like, params)
    keep = lambda updates, state, params=None: (updates, updates)
    return optax.GradientTransformation(zeros, keep)


def _initial_state(loaded: Loaded, optimizer: optax.GradientTransformation) -> TrainState:
    params = jax.tree.map(jnp.asarray, loaded.params)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=optimizer.init(params),
        teacher=jax.tree.map(jnp.asarray, teacher_params(loaded)),
        tasks={**dict.fromkeys(_tasks(0.0)), contrast.HEAD: _queue(loaded.bundle)},
        meters={},
        bad_steps=jnp.zeros((), jnp.int32),
        key=jax.random.key(0),
    )


def _queue(bundle: Bundle) -> Queue:
    """The checkpoint's queue, whose columns are our rows; no image of it comes again."""
    image, text = (jnp.asarray(bundle.tensor(f"{name}_queue")).T for name in ("image", "text"))
    pointer = jnp.asarray(bundle.tensor("queue_ptr"), jnp.int32).reshape(())
    return Queue(image, text, jnp.full(len(image), -100, jnp.int32), pointer)


def _queue_of(state: TrainState) -> Queue:
    return state.tasks[contrast.HEAD]


def _batch(bundle: Bundle, step: int) -> dict[str, Array]:
    """Returns the inputs of a step; every image is one that was not there before."""
    ids = lambda name: bundle.ids(f"step{step}/{name}")
    image = channels_last(bundle.input(f"step{step}/image"))
    return {
        "image": image,
        "image_id": step * len(image) + jnp.arange(len(image), dtype=jnp.int32),
        "text_ids": ids("input_ids"),
        "text_mask": bundle.mask(f"step{step}/attention_mask"),
        "mlm_ids": ids("mlm_input_ids"),
        "mlm_labels": ids("mlm_labels"),
        "negative_image": ids("negative_image"),
        "negative_text": ids("negative_text"),
    }


def _step_outputs(
    loaded: Loaded, state: TrainState, metrics: Mapping[str, Array], step: str
) -> dict[str, Any]:
    expected = [n.removeprefix(f"{step}/") for n in loaded.bundle.expected if n.startswith(step)]
    tensors = _tensors(loaded, state)
    outputs = {
        **{name: metrics[ours] for name, ours in LOSSES.items()},
        **{name: metrics[name] for name in WEIGHTS},
        **named_gradients(loaded, state.opt_state[0], expected),
        **{name: tensors[name] for name in ("image_queue", "text_queue", "queue_ptr")},
        **{f"param/{name}": x for name, x in tensors.items()},
        **{f"momentum_param/{name}": x for name, x in tensors.items() if "_m." in name},
    }
    after = {f"after_{step}/{name}": x for name, x in tensors.items()}
    return after | {f"{step}/{name}": x for name, x in outputs.items()}


def _tensors(loaded: Loaded, state: TrainState) -> dict[str, Any]:
    """Returns the state as the published file has it; what is but rounding noise is masked."""
    tensors = {
        **loaded.bundle.state,
        **to_published(state.params, loaded.table),
        **to_published(state.teacher, momentum_table(loaded.table)),
        "image_queue": _queue_of(state).image.T,
        "text_queue": _queue_of(state).text.T,
        "queue_ptr": _queue_of(state).pointer[None],
    }
    noise = loaded.bundle.config.get("noise_dominated_params", ())
    return tensors | {name: _without_noise(name, tensors[name]) for name in noise}


def _without_noise(name: str, bias: np.ndarray) -> Tokens:
    """Masks the bias of the keys: its gradient is zero, and Adam scales the rounding error up."""
    keys = np.ones(len(bias), bool)
    if name.endswith("qkv.bias"):
        keys = np.repeat([False, True, False], len(bias) // 3)
    return Tokens(bias, ~keys)


def _big_step(loaded: Loaded, params: Any, state: TrainState) -> dict[str, Any]:
    """Returns the parameters after a step of the bundle's other optimizer on the same gradient."""
    if "big_step_optimizer" not in loaded.bundle.config:
        return {}
    optimizer = _optimizer(loaded, "big_step_optimizer")
    params = constrained(params, _tasks(0.0))
    updates, _ = optimizer.update(state.opt_state[0], optimizer.init(params), params)
    moved = to_published(optax.apply_updates(params, updates), loaded.table)
    return {f"big_step/{name}": x for name, x in moved.items()}
