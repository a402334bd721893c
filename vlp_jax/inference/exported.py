"""A model as one folder of plain files (safetensors, JSON, word pieces): written and read back."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flax.traverse_util import flatten_dict

import vlp_jax
from vlp_jax.config import ExperimentConfig, build, to_plain
from vlp_jax.config.plugins import check_plugins
from vlp_jax.data.answer_lists import read_answers
from vlp_jax.data.input_rules import InputRules
from vlp_jax.data.json_text import read_object
from vlp_jax.data.paths import path_to_write
from vlp_jax.data.tokenizer import Tokenizer
from vlp_jax.data.vocabulary import Vocabulary
from vlp_jax.inference.detector import Detector
from vlp_jax.inference.export_page import page
from vlp_jax.inference.model import Model
from vlp_jax.layers.layer_names import split_layers
from vlp_jax.model import build_model
from vlp_jax.weights.checkpoint_file import map_file
from vlp_jax.weights.conversion import layers_apart, to_params
from vlp_jax.weights.key_table import KeyTable, raw
from vlp_jax.weights.safetensors_file import read_safetensors, staging_folder, write_safetensors
from vlp_jax.weights.zoo.base import abstract_shapes

MODEL_TYPE = "vlp_jax"
CONFIG, WEIGHTS, ANSWERS = "config.json", "model.safetensors", "answers.json"


def write_export(
    model: Model, folder: str | Path, programs: Mapping[str, bytes | dict] | None = None
) -> None:
    """Writes a model to a new folder, which appears whole or not at all.

    `programs` are further files by name, as `programs_of` gives them: bytes, or what becomes JSON.
    Raises ValueError if the folder holds something already.
    """
    path = free_folder(folder)
    programs = programs or {}
    with staging_folder(path) as staging:
        write_safetensors(staging / WEIGHTS, flatten_dict(dict(model.params), sep="/"))
        model.tokenizer.save(staging)
        _write_json(staging / CONFIG, _config(model))
        if model.answers:
            _write_json(staging / ANSWERS, model.answers)
        for name, content in programs.items():
            write = Path.write_bytes if isinstance(content, bytes) else _write_json
            write(staging / name, content)
        (staging / "README.md").write_text(page(model, programs), encoding="utf-8")
        os.replace(staging, path)


def free_folder(folder: str | Path) -> Path:
    """Returns the path of a folder that is not there or empty; ValueError for any other."""
    path = path_to_write(folder, "the folder to write")
    if path.is_dir() and any(path.iterdir()):
        raise ValueError(f'"{path}" is not empty: give a new folder')
    if path.exists() and not path.is_dir():
        raise ValueError(f'"{path}" is a file: give a new folder')
    return path


def is_export(path: Path) -> bool:
    """Tells whether a folder is one that `write_export` has written."""
    if not all((path / name).is_file() for name in (CONFIG, WEIGHTS)):
        return False
    return read_object(path / CONFIG).get("model_type") == MODEL_TYPE


def read_export(path: Path, detector: Detector | None = None) -> Model:
    """Returns the model in a folder, whose outputs are those of the model written, bit by bit.

    With a `detector` a model of regions is given those that it finds in pictures.
    Raises ValueError that says what is missing, unknown or misshapen in which file.
    """
    values = read_object(path / CONFIG)
    missing = [name for name in ("experiment", "input_rules") if name not in values]
    if missing:
        raise ValueError(f'{path / CONFIG} has no entry "{missing[0]}"')
    config = build(ExperimentConfig, values["experiment"], "config")
    check_plugins(config)
    names = {name: tuple(values.get(name, ())) for name in ("region_classes", "region_attributes")}
    answers = read_answers(path / ANSWERS) if (path / ANSWERS).is_file() else ()
    vocabulary = Vocabulary(Tokenizer.from_directory(path), answers, **names)
    rules = build(InputRules, values["input_rules"], "input_rules")
    return Model(config, _params(path / WEIGHTS, config), vocabulary, rules, detector)


def _config(model: Model) -> dict[str, Any]:
    return {
        "model_type": MODEL_TYPE,
        "version": vlp_jax.__version__,
        "experiment": to_plain(model.config),
        "input_rules": to_plain(model.rules),
        "region_classes": model.vocabulary.region_classes,
        "region_attributes": model.vocabulary.region_attributes,
    }


def _params(file: Path, config: ExperimentConfig) -> dict[str, Any]:
    """Returns the tensors as parameters, checked one by one against the model's."""
    shapes = abstract_shapes(build_model(config.model))
    table = KeyTable(tuple(raw(name, name) for name in layers_apart(shapes)))
    state, _ = read_safetensors(map_file(file), file)
    return to_params(split_layers(state), table, shapes)


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
