"""Multi-head attention for one or two sequences, with boolean masks, by the fastest means."""

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float, Int

from vlp_jax.layers.platform import traced_for
from vlp_jax.layers.projection import PRODUCT, MergeHeads, SplitHeads
from vlp_jax.layers.tokens import pick_rows

logger = logging.getLogger(__name__)

# Finite, as in every published model: with -inf a fully masked row would be NaN.
MASKED_SCORE = -1e4

# Explain mode: whoever makes the first collection mutable gets the probabilities of every attention
# in it; an array of the second, of the same name and form, is added to them, so that one can
# differentiate by it. A layer that is called twice, such as one that two streams share, has two.
ATTENTION = "attention"
ATTENTION_SHIFT = "attention_shift"
PROBABILITIES = "probabilities"

# Writing word by word: self-attention keeps the keys and values of the words so far in the first
# collection, cross-attention those of its context in the second, so that they are made once.
MEMORY = "memory"
CONTEXT = "context"

# Sides of a tile of the TPU's flash attention, and what cuDNN's takes (jax 0.10, cuDNN 9).
TPU_TILE = 128
CUDNN_DTYPES = ("bfloat16", "float16")
CUDNN_LARGEST_HEAD = 128

Mask = Bool[Array, "b s"] | Bool[Array, "b t s"] | None


@flax.struct.dataclass
class Projected:
    """Keys and values [B, S, H, K] of a context, made once for all that read it.

    With `rows` [P, M] it is read by other queries than one a row: see `pick_rows`. In a stack keys
    and values have a leading axis of layers.
    """

    key: Float[Array, "*l b s h k"]
    value: Float[Array, "*l b s h k"]
    rows: Int[Array, "p m"] | None = None

    def picked(self) -> tuple[Array, Array]:
        """Returns the keys and values that each query reads."""
        both = self.key, self.value
        return both if self.rows is None else pick_rows(both, self.rows)


def attention_bias(mask: Bool[Array, "b s"] | Bool[Array, "b t s"]) -> Float[Array, "b 1 t s"]:
    """Turns a key mask [B, S], or a query-key mask [B, T, S], into additive scores."""
    mask = mask[:, None, None, :] if mask.ndim == 2 else mask[:, None]
    return jnp.where(mask, 0.0, MASKED_SCORE).astype(jnp.float32)


def head_size(width: int, heads: int, where: str = "") -> int:
    """Returns width / heads; a width that the heads do not divide is an error that names `where`.

    That is the field that holds the number of heads, such as "config.model.text_args.heads".
    """
    if heads < 1 or width % heads:
        field = f" ({where})" if where else ""
        raise ValueError(f"width {width} cannot be split over {heads} attention heads{field}")
    return width // heads


@dataclass(frozen=True)
class Implementation:
    """How an attention is computed, and why not by the kernel that its device has for it."""

    name: str
    why: str = ""


def choose_implementation(
    platform: str,
    query: Any,
    key: Any,
    mask: Any = None,
    *,
    dropout: float = 0.0,
    explain: bool = False,
    devices: int = 1,
) -> Implementation:
    """Returns "cudnn" (GPU), "flash" (TPU) or "xla", with the reason where XLA has to do.

    Args:
      platform: "cpu", "gpu", "tpu", or a kind without a kernel, as `traced_for` names it.
      query, key: [B, T, H, K] and [B, S, H, K], or their shapes and types.
      mask: [B, S], [B, T, S] or None, or its shape.
      dropout: the rate at which probabilities are dropped in this call.
      explain: whether the probabilities are asked for.
      devices: how many devices the computation is spread over.
    """
    if platform not in ("gpu", "tpu"):
        return Implementation("xla", "" if platform == "cpu" else f"no kernel for {platform}")
    refused = [why for fails, why in _kernel_demands(query, key, dropout, explain) if fails]
    own = _cudnn_demands if platform == "gpu" else _flash_demands
    refused += [why for fails, why in own(query, key, mask, devices) if fails]
    if refused:
        return Implementation("xla", "; ".join(refused))
    return Implementation("cudnn" if platform == "gpu" else "flash")


def _kernel_demands(query: Any, key: Any, dropout: float, explain: bool) -> list[tuple[bool, str]]:
    """What no kernel does: pairs of whether it is asked for, and the words for it."""
    return [
        (explain, "its probabilities are asked for"),
        (dropout > 0, f"attention_dropout = {dropout} is for XLA alone"),
        (query.dtype != key.dtype, f"types {query.dtype} and {key.dtype} differ"),
    ]


def _cudnn_demands(query: Any, key: Any, mask: Any, devices: int) -> list[tuple[bool, str]]:
    size = query.shape[-1]
    return [
        (query.shape[1] == 1, "cuDNN is for more than one query"),
        (query.dtype not in CUDNN_DTYPES, f"cuDNN takes {' or '.join(CUDNN_DTYPES)}"),
        (size % 8 or size > CUDNN_LARGEST_HEAD, f"cuDNN takes no heads of {size}"),
    ]


def _flash_demands(query: Any, key: Any, mask: Any, devices: int) -> list[tuple[bool, str]]:
    size, lengths = query.shape[-1], (query.shape[1], key.shape[1])
    whole = not any(length % TPU_TILE for length in lengths)
    return [
        (not whole, f"lengths {lengths[0]} and {lengths[1]} are no multiples of {TPU_TILE}"),
        (size > TPU_TILE and size % TPU_TILE, f"flash attention takes no heads of {size}"),
        (mask is not None and len(mask.shape) == 3, "flash attention takes masks of keys alone"),
        (devices > 1, "flash attention cannot be partitioned over devices"),
    ]


@functools.cache
def _log_once(implementation: Implementation, queries: int, keys: int) -> None:
    reason = f": {implementation.why}" if implementation.why else ""
    logger.info(
        "attention of %d over %d positions by %s%s", queries, keys, implementation.name, reason
    )


def attend(
    query: Float[Array, "b t h k"],
    key: Float[Array, "b s h k"],
    value: Float[Array, "b s h k"],
    mask: Mask = None,
    *,
    drop: Any = None,
    observe: Any = None,
    by: Implementation | None = None,
    counts: tuple[int, int] | None = None,
) -> Float[Array, "b t h k"]:
    """Returns what each query reads: values weighted by softmax(q·k / √K), in float32.

    A masked key's score is lowered by 1e4, so that a row without any key is finite.

    Args:
      query, key, value: already split into heads.
      mask: True where a key [B, S], or a pair [B, T, S], counts; None where all do.
      drop: a `nn.Dropout` whose rate and `deterministic` are set, for the probabilities.
      observe: a function to which the probabilities [B, H, T, S] are shown, and which returns those
        to go on with. Without one they are not kept.
      by: what `chosen_for` has returned; by default it is asked here.
      counts: how many queries and keys there are, where those for cuDNN have padding behind them;
        what padding reads is returned as well.
    """
    by = by or chosen_for(query, key, mask, drop, observe is not None)
    if by.name == "cudnn":
        return _by_cudnn(query, key, value, mask, counts or (query.shape[1], key.shape[1]))
    if by.name == "flash":
        return _by_flash(query, key, value, mask)
    if not _rate(drop) and observe is None and _probabilities_are_large(query, key):
        return jax.checkpoint(_by_einsum)(query, key, value, mask)
    return _by_einsum(query, key, value, mask, drop, observe)


def chosen_for(query: Any, key: Any, mask: Any, drop: Any, explain: bool) -> Implementation:
    """Returns, and logs, what computes such an attention here; arguments as for `attend`."""
    chosen = choose_implementation(
        traced_for(),
        query,
        key,
        mask,
        dropout=_rate(drop),
        explain=explain,
        devices=jax.device_count(),
    )
    _log_once(chosen, query.shape[1], key.shape[1])
    return chosen


def _rate(drop: Any) -> float:
    return drop.rate if drop is not None and not drop.deterministic else 0.0


def _probabilities_are_large(query: Array, key: Array) -> bool:
    """Whether the backward pass had better compute them from queries, keys and values again."""
    (_, queries, _, size), keys = query.shape, key.shape[1]
    return queries * keys > (queries + 2 * keys) * size


def _by_einsum(query, key, value, mask, drop=None, observe=None) -> Float[Array, "b t h k"]:
    scores = jnp.einsum("bthk,bshk->bhts", query, key, preferred_element_type=jnp.float32)
    scores = scores / jnp.sqrt(float(query.shape[-1]))
    scores = scores if mask is None else scores + attention_bias(mask)
    probabilities = softmax_in(value.dtype if observe is None else scores.dtype, scores)
    probabilities = probabilities if observe is None else observe(probabilities)
    probabilities = probabilities if drop is None else drop(probabilities)
    return jnp.einsum("bhts,bshk->bthk", probabilities.astype(value.dtype), value)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def softmax_in(dtype: Any, scores: Float[Array, "*b s"]) -> Float[Array, "*b s"]:
    """Returns softmax(scores) rounded to `dtype`, and keeps nothing else for the backward pass."""
    return jax.nn.softmax(scores).astype(dtype)


def _softmax_forward(dtype: Any, scores: Array) -> tuple[Array, tuple[Array, Array]]:
    probabilities = softmax_in(dtype, scores)
    return probabilities, (probabilities, jnp.zeros((), scores.dtype))


def _softmax_backward(dtype: Any, kept: tuple[Array, Array], slope: Array) -> tuple[Array]:
    del dtype
    probabilities, slope = (x.astype(kept[1].dtype) for x in (kept[0], slope))
    return (probabilities * (slope - (probabilities * slope).sum(-1, keepdims=True)),)


softmax_in.defvjp(_softmax_forward, _softmax_backward)


def _by_cudnn(query, key, value, mask, counts) -> Float[Array, "b t h k"]:
    queries, bias, real = query.shape[1], None, {}
    if mask is not None:
        # In full shape and the type of the states: other forms fail or give NaN (jax 28974, 32242).
        bias = jnp.broadcast_to(attention_bias(mask), (query.shape[0], 1, *counts))
        bias = _to_even(bias.astype(query.dtype), 2, 3)
    # JAX has no gradient for odd lengths, with a bias or without. A query of padding reads as any
    # other, and is cut off; a key of padding is read by none.
    if counts[1] % 2:
        real = {"key_value_seq_lengths": jnp.full(query.shape[0], counts[1], "int32")}
    even = (_to_even(x, 1) for x in (query, key, value))
    read = jax.nn.dot_product_attention(*even, bias, **real, implementation="cudnn")
    return read[:, :queries]


def _to_even(x: Array, *axes: int) -> Array:
    """Returns `x` with zeros behind it along each of these axes that is odd."""
    if not any(x.shape[axis] % 2 for axis in axes):
        return x
    return jnp.pad(x, [(0, axis in axes and size % 2) for axis, size in enumerate(x.shape)])


def _by_flash(query, key, value, mask) -> Float[Array, "b t h k"]:
    from jax.experimental.pallas.ops.tpu import flash_attention as tpu  # only there it can be used

    segments = None
    if mask is not None:
        # Queries of segment 1 see the keys of segment 1; what padded queries read does not count.
        segments = tpu.SegmentIds(jnp.ones(query.shape[:2], jnp.int32), mask.astype(jnp.int32))
    heads_first = (x.transpose(0, 2, 1, 3) for x in (query, key, value))
    scale = query.shape[-1] ** -0.5
    read = tpu.flash_attention(*heads_first, segment_ids=segments, sm_scale=scale)
    return read.transpose(0, 2, 1, 3)


class Attention(nn.Module):
    """Scaled dot-product attention (Vaswani et al. 2017, section 3.2); see `attend`.

    Queries are [B, T, D], keys and values are projected from `context` [B, S, E], or that is
    `Projected` already, under a mask [B, S] or [B, T, S]; the result is [B, T, features] (D by
    default).

    `key_projection` and `value_projection` may be given to share them with another layer.

    With a `position` in a text of S words, the context is the T words from there on: their keys and
    values join those of earlier calls, for which the collection `MEMORY` has to be mutable. Without
    one, keys and values are put into `CONTEXT` where that is mutable, and read from it where it is
    given.
    """

    heads: int
    features: int | None = None
    inner: int | None = None
    dropout: float = 0.0
    key_projection: nn.Module | None = None
    value_projection: nn.Module | None = None

    @nn.compact
    def __call__(self, states, context, mask=None, *, position=None, deterministic: bool) -> Array:
        size = head_size(self.inner or states.shape[-1], self.heads, self._heads_field())
        drop = nn.Dropout(self.dropout, deterministic=deterministic) if self.dropout else None
        explain = self.is_mutable_collection(ATTENTION) and not self.is_initializing()
        observe = self._explain if explain else None
        keys = context.key if isinstance(context, Projected) else context
        counts = states.shape[1], keys.shape[1] if position is None else mask.shape[-1]
        shape = lambda x, count: (x.shape[0], count, self.heads, size)  # [0] may be a symbol
        of_heads = lambda x, count: jax.ShapeDtypeStruct(shape(x, count), x.dtype)
        by = chosen_for(*map(of_heads, (states, keys), counts), mask, drop, explain)
        kept = self.is_mutable_collection(CONTEXT) or self.has_variable(CONTEXT, "keys")
        if by.name == "cudnn" and context is states and position is None and not kept:
            # The padding of states joins what else is done to them; that of heads would be a copy.
            states = context = _to_even(states, 1)
        split = lambda name: SplitHeads(self.heads, size, name=name)
        query = split("query")(states)
        key = lambda: (self.key_projection or split("key"))(context)
        value = lambda: (self.value_projection or split("value"))(context)
        if isinstance(context, Projected):
            key, value = context.picked()
        elif position is None:
            key, value = self._of_context("keys", key), self._of_context("values", value)
        else:
            length = mask.shape[-1]
            key = self._with_earlier("keys", key(), position, length)
            value = self._with_earlier("values", value(), position, length)
        read = attend(query, key, value, mask, drop=drop, observe=observe, by=by, counts=counts)
        read = checkpoint_name(read, PRODUCT)
        merged = MergeHeads(self.features or states.shape[-1], name="output")(read)
        return merged if merged.shape[1] == counts[0] else merged[:, : counts[0]]

    def _of_context(self, name: str, project: Callable[[], Array]) -> Array:
        """Returns keys or values, made now or in an earlier call."""
        if self.has_variable(CONTEXT, name):
            return self.get_variable(CONTEXT, name)
        made = project()
        if self.is_mutable_collection(CONTEXT) and not self.is_initializing():
            self.put_variable(CONTEXT, name, made)
        return made

    def _with_earlier(self, name: str, made: Array, position: Array, length: int) -> Array:
        """Returns keys or values of all words, those that are `made` now from `position` on."""
        shape = made.shape[0], length, *made.shape[2:]
        kept = self.variable(MEMORY, name, jnp.zeros, shape, made.dtype)
        kept.value = jax.lax.dynamic_update_slice_in_dim(kept.value, made, position, axis=1)
        return kept.value

    def _explain(self, probabilities: Float[Array, "b h t s"]) -> Float[Array, "b h t s"]:
        """Records the probabilities, shifted by what explain mode gives for this call."""
        calls = 0
        if self.has_variable(ATTENTION, PROBABILITIES):
            calls = len(self.get_variable(ATTENTION, PROBABILITIES))
        if self.has_variable(ATTENTION_SHIFT, PROBABILITIES):
            shift = self.get_variable(ATTENTION_SHIFT, PROBABILITIES)[calls]
            probabilities = probabilities + shift
        self.sow(ATTENTION, PROBABILITIES, probabilities)
        return probabilities

    def _heads_field(self) -> str:
        """Returns the config field that sets the heads of the part to which this belongs."""
        part = str(self.path[0]) if self.path else ""
        if part in ("vision", "text", "fusion"):
            return f"config.model.{part}_args.heads"
        head = part.removeprefix("heads_")
        return f"config.model.heads.{head}.heads" if head != part else ""
