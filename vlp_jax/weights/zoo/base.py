"""What the package knows about a published model: sizes, conventions, file layout, source."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from vlp_jax.config import ModelConfig, Registry, nearest
from vlp_jax.data.input_rules import InputRules
from vlp_jax.model import VisionLanguageModel, build_model
from vlp_jax.model.model import abstract_params
from vlp_jax.parallel import unbox
from vlp_jax.weights.conversion import State, to_params, to_published
from vlp_jax.weights.key_table import KeyTable
from vlp_jax.weights.safetensors_file import write_directory

ZOO = Registry("published model")


@dataclass(frozen=True)
class Conventions:
    """What differs between the published models beside the architecture.

    Attributes:
      match_index: class of the matching logits that means "belong together".
      add_sep: whether a single sentence ends with [SEP].
      mlm_ignore: the label of positions that are not predicted.
      vocabulary: the word pieces it was trained with.
    """

    match_index: int = 1
    add_sep: bool = True
    mlm_ignore: int = -1
    vocabulary: str = "bert-base-uncased"


@dataclass(frozen=True)
class Layout:
    """A further way to name the tensors of a published model.

    Attributes:
      key_table: as `Published.key_table`.
      architecture: for a Hugging Face directory, the class that its `config.json` names.
      to_published: for such a directory, `ModelConfig` -> the other entries of its `config.json`.
    """

    key_table: Callable[[ModelConfig], KeyTable]
    architecture: str = ""
    to_published: Callable[[ModelConfig], dict[str, Any]] = lambda config: {}


@dataclass(frozen=True)
class Published:
    """One published configuration; `ZOO` holds them by name.

    Attributes:
      name: "albef_vqa".
      family, task: "albef", "vqa"; as in the `config.json` of reference bundles.
      sizes: the published config, under its published key names.
      from_published: published config -> `ModelConfig`; the task is part of the function.
      key_table: `ModelConfig` -> the table between the file's tensors and our parameters.
      parameters: number of trained parameters, tied tensors once.
      paper: title, authors, year and where to read it.
      conventions: see `Conventions`.
      inputs: how it is given texts and pictures when it is used.
      adapt: (state, config) -> state, for tensors that may be stored at another size.
      layouts: further layouts by name, such as "huggingface".
    """

    name: str
    family: str
    task: str
    sizes: Mapping[str, Any]
    from_published: Callable[[Mapping[str, Any]], ModelConfig]
    key_table: Callable[[ModelConfig], KeyTable]
    parameters: int
    paper: str
    conventions: Conventions = Conventions()
    inputs: InputRules = InputRules()
    adapt: Callable[[State, ModelConfig], State] = lambda state, config: state
    layouts: Mapping[str, Layout] = field(default_factory=dict)

    @cached_property
    def config(self) -> ModelConfig:
        """The model at its published size."""
        return self.from_published(self.sizes)

    def config_of(self, sizes: Mapping[str, Any], strict: bool = False) -> ModelConfig:
        """Returns the model with `sizes` in place of published ones; groups of them are merged.

        Raises ValueError for values that make no model and, if `strict`, for misspelt names.
        """
        if strict:
            self._check_names(sizes)
        merged = dict(self.sizes)
        for name, value in sizes.items():
            groups = isinstance(value, Mapping) and isinstance(merged.get(name), Mapping)
            merged[name] = {**merged[name], **value} if groups else value
        try:
            return self.from_published(merged)
        except (KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise ValueError(f"these sizes make no {self.name}: {reason}") from error

    def _check_names(self, sizes: Mapping[str, Any]) -> None:
        known = {name for published in ZOO.values() for name in published.sizes}
        for name in sizes:
            if name not in known and (meant := nearest(name, self.sizes)):
                raise ValueError(f'{self.name} has no size "{name}".{meant}')

    def table(self, config: ModelConfig | None = None, names: Iterable[str] = ()) -> KeyTable:
        """Returns the key table of the layout that knows most of `names`, at first its own."""
        builders = [self.key_table, *(layout.key_table for layout in self.layouts.values())]
        tables = [build(config or self.config) for build in builders]
        names = set(names)
        return max(tables, key=lambda table: len(names & table.names))

    def load(self, state: State, config: ModelConfig | None = None) -> dict[str, Any]:
        """Returns the parameters that a published state dict, in any layout, fills, float32.

        Raises ValueError that lists every tensor that does not fit.
        """
        config = config or self.config
        shapes = abstract_shapes(build_model(config))
        return to_params(self.adapt(state, config), self.table(config, state), shapes)

    def save(
        self, params: Mapping, config: ModelConfig | None = None, like: State | None = None
    ) -> dict[str, Any]:
        """Returns parameters in the published layout, or in that of `like`, their former state."""
        return to_published(params, self.table(config, like or ()), like)

    def write_huggingface(
        self, path: str | Path, params: Mapping, config: ModelConfig | None = None
    ) -> None:
        """Writes a Hugging Face directory; ValueError for a model that has no class there."""
        config = config or self.config
        layout = next((x for x in self.layouts.values() if x.architecture), None)
        if layout is None:
            known = ", ".join(name for name, model in ZOO.items() if model.architectures)
            raise ValueError(f"{self.name} has no Hugging Face class; these have: {known}")
        entries = layout.to_published(config) | {"architectures": [layout.architecture]}
        write_directory(path, to_published(params, layout.key_table(config)), entries)

    @property
    def architectures(self) -> tuple[str, ...]:
        """The Hugging Face classes that have the model's tensors."""
        return tuple(x.architecture for x in self.layouts.values() if x.architecture)


def abstract_shapes(model: VisionLanguageModel) -> dict[str, Any]:
    """Returns the model's parameter tree as shapes, without axis names."""
    return unbox(abstract_params(model))


def register(published: Published) -> Published:
    """Files a published model in `ZOO` under its name."""
    return ZOO.register(published.name)(published)


def find(family: str, task: str) -> Published:
    """Returns the first published model of a family and task; unknown ones are a ValueError."""
    families = Registry("model family")
    for model in ZOO.values():
        families.setdefault(model.family, Registry(f"{model.family} task"))
        families[model.family].setdefault(model.task, model)
    return families.get_known(family).get_known(task)


def find_architecture(config: Mapping[str, Any]) -> Published:
    """Returns the published model of a Hugging Face directory's `config.json`."""
    known = Registry("Hugging Face class")
    for model in ZOO.values():
        for architecture in model.architectures:
            known.setdefault(architecture, model)
    named = config.get("architectures")
    name = named[0] if isinstance(named, (list, tuple)) and named else "(none named)"
    return known.get_known(str(name))
