"""Verbs of a model as programs of their own, for processes without this package.

A program is traced from what the verb itself computes: `jax.export` keeps it as StableHLO, with a
batch of any size, for several platforms at once.
"""

import copy
import dataclasses
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import export

from vlp_jax.config import nearest
from vlp_jax.data.regions import Regions
from vlp_jax.inference.compute import Compute
from vlp_jax.inference.model import Model
from vlp_jax.inference.program_fields import OUTPUTS, described, input_meaning, text_rules
from vlp_jax.layers.platform import for_any_platform
from vlp_jax.model import CAPTION, Views, VisionLanguageModel
from vlp_jax.tasks.questions import QUESTION

PLATFORMS = ("cpu", "cuda", "tpu")
ABOUT = "programs.json"
TEXT_LENGTH = 64

_TEXT = "a"
_REGIONS = 36  # where no rule limits them
_SIDE = 100.0  # of a picture whose regions are shown


def programs_of(
    model: Model,
    verbs: Sequence[str] = (),
    platforms: Sequence[str] = PLATFORMS,
    text_length: int = TEXT_LENGTH,
) -> dict[str, bytes | dict]:
    """Returns `<verb>.stablehlo` for each verb, and `programs.json`, which says how to call them.

    Args:
      verbs: by default all that the model has.
      platforms: those that a program is made for.
      text_length: tokens of a text; the verbs' next padded length is taken, or the model's limit.

    Raises ValueError for verbs that do not fit the model, for platforms that are none, for a length
    below 1, and without the extra "export".
    """
    if importlib.util.find_spec("flatbuffers") is None:
        raise ValueError(
            'jax.export needs the package "flatbuffers": pip install "vlp_jax[export]"'
        )
    # Grounding by pixels compares boxes with a map of `explain`, and phrases are first looked for
    # in a text: neither is one program.
    alone = model.inputs.reads_regions and not model.grounds_phrases
    composed = () if alone else ("ground",)
    known = [verb for verb in model.verbs if verb in OUTPUTS and verb not in composed]
    _check_known(verbs, known, "program of this model")
    _check_known(platforms, PLATFORMS, "platform")
    if text_length < 1:
        raise ValueError(f"the length of texts is {text_length}; expected 1 token or more")
    files: dict[str, bytes | dict] = {}
    about = {
        "jax": jax.__version__,
        "platforms": list(platforms),
        "call": "outputs = jax.export.deserialize(file).call(tensors, inputs); dicts by name",
        "tensors": "all of model.safetensors",
        "verbs": {},
    }
    for verb in verbs or known:
        asked = _asked(model, verb, text_length)
        exported = _exported(asked, model.params, OUTPUTS[verb].function, platforms)
        files[f"{verb}.stablehlo"] = bytes(exported.serialize())
        about["verbs"][verb] = {"file": f"{verb}.stablehlo", **_described(model, verb, exported)}
    return files | {ABOUT: about}


def _check_known(given: Sequence[str], known: Sequence[str], what: str) -> None:
    for name in given:
        if name not in known:
            there = ", ".join(known) or "none"
            raise ValueError(f'"{name}" is no {what}.{nearest(name, known)} There is: {there}')


@dataclasses.dataclass
class _Asked:
    """Stands in for the `Compute` of a model: keeps what a verb asks of it, and gives it zeros."""

    compute: Compute
    model: VisionLanguageModel | None = None
    function: Callable | None = None
    batch: Mapping[str, np.ndarray] | None = None

    def __call__(self, function: Callable, batch: Mapping, task: int | None = None) -> Any:
        forward = self.compute.forward(task)
        self.model, self.function, self.batch = forward.model, function, batch
        run = lambda params, batch: function(Views(forward.model, params, batch))
        shapes = jax.eval_shape(run, forward.params, batch)
        return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)


def _asked(model: Model, verb: str, text_length: int) -> _Asked:
    """Returns what a verb computes, and the batch that it makes of one picture and one text."""
    twin = copy.copy(model)
    twin.inputs = dataclasses.replace(model.inputs, least=text_length)
    twin.compute = _Asked(model.compute)
    getattr(twin, verb)(**_arguments(model, verb))
    return twin.compute


def _arguments(model: Model, verb: str) -> dict[str, Any]:
    """Returns what a verb is called with; only the shapes of what it makes of them count."""
    if verb == "encode_text":
        return {"texts": _TEXT}
    shown = _picture(model)
    if verb in ("encode_image", "caption"):
        return shown
    if verb == "reason":
        tags = {"tags": (_TEXT, _TEXT)} if model.rules.tags else {}
        return {name: (x, x) for name, x in shown.items()} | {"texts": _TEXT} | tags
    if verb == "choose":
        return shown | {"question": _TEXT, "choices": [_TEXT, _TEXT]}
    return shown | {"questions" if verb == "answer" else "texts": _TEXT}


def _picture(model: Model) -> dict[str, Any]:
    """Returns a picture of the model's size, or as many regions as it is shown at most."""
    if not model.inputs.reads_regions:
        return {"images": np.zeros((model.inputs.size, model.inputs.size, 3), np.uint8)}
    count = model.rules.regions.max_boxes or _REGIONS
    features = np.zeros((count, model.module.vision.feature_width), np.float32)
    boxes = np.tile(np.array([0, 0, _SIDE, _SIDE], np.float32), (count, 1))
    sure, names = np.ones(count, np.float32), (_TEXT,) * count
    side = int(_SIDE)
    return {"regions": Regions(features, boxes, side, side, confidence=sure, names=names)}


def _exported(
    asked: _Asked, params: Any, outputs: Callable, platforms: Sequence[str]
) -> export.Exported:
    """Returns the program: tensors and inputs by name, to outputs by name."""

    def program(tensors: dict, inputs: dict) -> dict:
        views = Views(asked.model, unflatten_dict(tensors, sep="/"), inputs)
        return outputs(asked.function(views), inputs)

    (size,) = export.symbolic_shape("batch")
    shape = jax.ShapeDtypeStruct
    tensors = {n: shape(x.shape, x.dtype) for n, x in flatten_dict(dict(params), sep="/").items()}
    inputs = {n: shape((size, *x.shape[1:]), x.dtype) for n, x in asked.batch.items()}
    with for_any_platform():
        return export.export(jax.jit(program), platforms=list(platforms))(tensors, inputs)


def _described(model: Model, verb: str, exported: export.Exported) -> dict[str, Any]:
    """Returns names, shapes, types and meanings of what a program takes and gives."""
    _, inputs = jax.tree.unflatten(exported.in_tree, exported.in_avals)[0]
    outputs = jax.tree.unflatten(exported.out_tree, exported.out_avals)
    reads_text = any(name in inputs for name in (CAPTION.ids, QUESTION.ids))
    return ({"text": text_rules(model, verb)} if reads_text else {}) | {
        "inputs": {n: described(x, input_meaning(n, verb, model)) for n, x in inputs.items()},
        "outputs": {n: described(x, OUTPUTS[verb].meanings[n]) for n, x in outputs.items()},
    }
