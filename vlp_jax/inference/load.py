"""Loads a model: a run, an export, a published model's weights, or a Hugging Face directory."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vlp_jax.config import DataConfig, ExperimentConfig, ModelConfig, nearest
from vlp_jax.config.plugins import check_plugins, load_plugins
from vlp_jax.data.answer_lists import read_answers
from vlp_jax.data.paths import any_path, holds_run
from vlp_jax.data.tokenizer import Tokenizer
from vlp_jax.data.vocabulary import Vocabulary
from vlp_jax.inference.detector import Detector
from vlp_jax.inference.exported import is_export, read_export
from vlp_jax.inference.model import Model
from vlp_jax.weights.hub import fetched
from vlp_jax.weights.state_dict import read_state_dict
from vlp_jax.weights.zoo import ZOO
from vlp_jax.weights.zoo.base import Published, find_architecture


def load(
    name_or_path: str | Path,
    weights: str | Path | None = None,
    *,
    step: int | None = None,
    which: str = "params",
    sizes: Mapping[str, Any] | None = None,
    tokenizer: str | Path | None = None,
    lowercase: bool | None = None,
    answers: str | Path | Sequence[str] = (),
    plugins: Sequence[str | Path] = (),
    detector: Detector | None = None,
) -> Model:
    """Returns a model ready for use.

    * `load("runs/quickstart")`: a run's newest checkpoint, or that of `step`; `which` = "teacher"
      takes the momentum copy.
    * `load("albef", "ALBEF.pth")`: a published model by its name in the zoo, with weights in any
      published layout. `sizes` are published config entries where they differ from the preset's.
    * `load("a/directory")`: what `vlp-jax export` has written, or one of Hugging Face.
    * `load("hf:ORG/NAME")`: such a directory on the hub; `weights` and `tokenizer` may be files
      there, "hf:ORG/NAME/FILE", too.
    * `load("gs://bucket/run")`: any of these in a bucket.

    `tokenizer` is a vocab.txt or a tokenizer directory, for models that were trained with other
    word pieces than BERT's uncased ones; whether texts are made lower case says its
    configuration, or else whether it has capitals, or `lowercase`. `answers` are the classes of an
    answer head in order, or a file with them (see `read_answers`).
    `detector`, made by `load_detector`, finds the regions in pictures for a model of regions.
    `plugins` are Python files with parts of your own that a run needs; none runs by itself.
    Raises FileNotFoundError and ValueError, naming what was given and the nearest valid choice.
    """
    load_plugins(plugins)
    weights, tokenizer = fetched(weights), fetched(tokenizer)
    own = dict(answers=read_answers(answers) if answers else (), sizes=sizes or {})
    own |= dict(tokenizer=tokenizer, lowercase=lowercase)
    of_run = dict(step=step, which=None if which == "params" else which)
    if weights is not None:
        published = ZOO.get_known(str(name_or_path))
        _check_none_given(weights, "a file of weights", **of_run)
        return _of_weights(published, weights, detector, **own)
    path = any_path(fetched(name_or_path), "run")
    if str(name_or_path) in ZOO:
        raise ValueError(f'load("{name_or_path}") needs the file with its weights as well')
    is_run = holds_run(path)
    if is_export(path):
        _check_none_given(path, "an export", **own, **of_run)
        return read_export(path, detector)
    if (path / "config.json").is_file() and not is_run:
        _check_none_given(path, "a Hugging Face directory", **of_run)
        return _of_weights(None, path, detector, **own)
    if not path.exists():
        raise _nothing_there(name_or_path, path)
    _check_none_given(path, "a run", **own)
    return _of_run(path, step, which, detector)


def _of_run(path: Path, step: int | None, which: str, detector: Detector | None) -> Model:
    from vlp_jax.training.checkpoint import read_run  # Orbax is slow to import

    config, vocabulary, params = read_run(path, step, which)
    check_plugins(config)
    return Model(config, params, vocabulary, detector=detector)


def _of_weights(
    published: Published | None,
    weights: str | Path,
    detector: Detector | None,
    *,
    answers: tuple[str, ...],
    sizes: Mapping[str, Any],
    tokenizer: str | Path | None,
    lowercase: bool | None,
) -> Model:
    """Returns a published model; of a directory that says itself which, `published` is None."""
    state = read_state_dict(weights)
    if published is None:
        published = find_architecture(state.meta.config)
        sizes = dict(state.meta.config) | dict(sizes)
    config = published.config_of(sizes)
    vocabulary = Vocabulary(_tokenizer(tokenizer or weights, config, lowercase), answers)
    experiment = ExperimentConfig(name=published.name, model=config, data=_data(published, config))
    params = published.load(state, config)
    model = Model(experiment, params, vocabulary, published.inputs, detector)
    if answers:
        model.check_answers()
    return model


def _check_none_given(path: str | Path, kind: str, **given: Any) -> None:
    """Raises ValueError for arguments that would not be read."""
    for name, value in given.items():
        if value not in (None, (), {}, ""):
            raise ValueError(f'"{path}" is {kind}, which is read without {name}: give no {name}')


def _nothing_there(given: str | Path, path: Path) -> FileNotFoundError:
    beside = path.parent.iterdir() if path.parent.is_dir() else ()
    runs = [str(folder) for folder in beside if (folder / "checkpoints").is_dir()]
    hint = nearest(str(given), [*ZOO, *runs])
    return FileNotFoundError(f'"{given}" is neither a path nor a published model.{hint}')


def _data(published: Published, config: ModelConfig) -> DataConfig:
    """The conventions under which the model reads text and pictures."""
    inputs, positions = published.inputs, config.text_args.get("max_length", 512)
    return DataConfig(
        image_size=config.vision_args.get("image_size", 256),
        text_length=min(inputs.text.length or positions, positions),
        add_sep=inputs.text.add_sep,
        text_style=inputs.text.style,
        max_words=inputs.text.max_words,
        regions=inputs.regions.max_boxes or 36,
        global_region=inputs.global_region,
        tags=inputs.tags,
    )


def _tokenizer(path: str | Path, config: ModelConfig, lowercase: bool | None) -> Tokenizer:
    """Returns the tokenizer beside the weights, or BERT's; it must have the model's size."""
    folder = any_path(path, "tokenizer")
    if folder.is_file() and folder.suffix == ".txt":
        found = Tokenizer.from_vocab_file(folder, lowercase)
    else:
        folder = folder if folder.is_dir() else folder.parent
        own = any((folder / name).is_file() for name in ("tokenizer.json", "vocab.txt"))
        found = Tokenizer.from_directory(folder, lowercase) if own else Tokenizer.bert_uncased()
    size = config.text_args.get("vocab_size", 30522)
    if found.size > size:
        raise ValueError(
            f"the tokenizer has {found.size} word pieces and the model {size}: give the vocabulary "
            "it was trained with as `tokenizer`"
        )
    return found
