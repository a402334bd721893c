"""The README.md of an exported model."""

from collections.abc import Mapping
from typing import Any

import vlp_jax
from vlp_jax.inference.model import Model
from vlp_jax.weights.conversion import count_parameters

_PAGE = """# {name}

A vision-language model of {count:,} parameters, exported by vlp_jax {version}. Verbs: {verbs}.

    model = vlp_jax.load("this folder")

| file | what it holds |
|---|---|
{files}

A tensor's name is its path: part (`vision`, `text`, `fusion`, `pooler`, `heads_<name>`), layer,
array. Below a part, `layers` is a stack: its arrays have the layers on their first axis. Kernels
are [inputs, outputs], those of attention [inputs, heads, size] and, for its output, [heads, size,
outputs]; kernels of convolutions [height, width, inputs, outputs]. `scale` and `bias` are of
normalisations, `table` of embeddings.

{inputs}
"""
_FILES = {
    "model.safetensors": "all parameters by name (the format of the safetensors library)",
    "config.json": "`experiment`: model and settings; `input_rules`: how its inputs are read",
    "tokenizer.json": "the tokenizer, as the library `tokenizers` reads it",
    "vocab.txt": "its word pieces, one a line; the line number from 0 is the id",
    "answers.json": "the answers in the order of the head",
    "programs.json": "inputs and outputs of the programs, and how to call them",
}


def page(model: Model, programs: Mapping[str, Any]) -> str:
    """Returns the text, in Markdown, for a model and the further files of its export."""
    files = {n: x for n, x in _FILES.items() if n != "answers.json" or model.answers}
    files = {n: x for n, x in files.items() if n != "programs.json" or n in programs}
    verbs = (name for name in programs if name not in files)
    files |= {name: f"the verb `{name.partition('.')[0]}` as a program" for name in verbs}
    return _PAGE.format(
        name=model.config.name,
        count=count_parameters(model.params),
        version=vlp_jax.__version__,
        verbs=", ".join(model.verbs) or "none",
        files="\n".join(f"| `{name}` | {what} |" for name, what in files.items()),
        inputs=_inputs(model),
    )


def _inputs(model: Model) -> str:
    """Returns how pictures are given."""
    if not model.inputs.reads_regions:
        side = model.inputs.size
        return f"Pictures are RGB, {side} × {side} pixels, resized by Pillow's bicubic filter."
    width, most = model.module.vision.feature_width, model.rules.regions.max_boxes
    limit = f", at most {most} a picture" if most else ""
    return f"Pictures are given as regions with features {width} wide{limit}."
