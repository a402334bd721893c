"""What the package knows about a published model: sizes, conventions, file layout, source."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from flax.linen import meta

from vlp_jax.config import ModelConfig, Registry
from vlp_jax.interchange.conversion import State, to_params, to_published
from vlp_jax.interchange.key_table import KeyTable
from vlp_jax.model import VisionLanguageModel, build_model
from vlp_jax.model.model import abstract_params

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
      adapt: (state, config) -> state, for tensors that may be stored at another size.
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
    adapt: Callable[[State, ModelConfig], State] = lambda state, config: state

    @cached_property
    def config(self) -> ModelConfig:
        """The model at its published size."""
        return self.from_published(self.sizes)

    def load(self, state: State, config: ModelConfig | None = None) -> dict[str, Any]:
        """Returns the parameters that a published state dict fills, float32.

        Raises ValueError that lists every tensor that does not fit.
        """
        config = config or self.config
        shapes = abstract_shapes(build_model(config))
        return to_params(self.adapt(state, config), self.key_table(config), shapes)

    def save(
        self, params: Mapping, config: ModelConfig | None = None, like: State | None = None
    ) -> dict[str, Any]:
        """Returns parameters in the published layout; `like` is the state they came from."""
        return to_published(params, self.key_table(config or self.config), like)


def abstract_shapes(model: VisionLanguageModel) -> dict[str, Any]:
    """Returns the model's parameter tree as shapes, without axis names."""
    return meta.unbox(abstract_params(model))


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
