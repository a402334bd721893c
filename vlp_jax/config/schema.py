"""The fields of an experiment, their types and defaults, and the checks that need no other room."""

import dataclasses
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from vlp_jax.config.build import checked_fields
from vlp_jax.config.ranges import (
    Count,
    Fraction,
    Natural,
    NonNegative,
    Positive,
    Range,
    Share,
)

Args = dict[str, Any]


class Checked:
    """A group of settings: each is checked and coerced, however the group was made."""

    where: ClassVar[str]

    def __post_init__(self) -> None:
        for name, value in checked_fields(type(self), vars(self), self.where).items():
            object.__setattr__(self, name, value)


@dataclass(frozen=True)
class ModelConfig(Checked):
    """Two encoders, a fusion, a pooler and heads, each by name with the arguments of that part.

    `scan_layers` compiles one layer of each stack and loops over it ("on"), or every layer ("off");
    "auto" goes by what is faster. Numbers and checkpoints are the same.
    """

    where: ClassVar[str] = "config.model"

    vision: str = "vit"
    vision_args: Args = field(default_factory=dict)
    text: str = "bert"
    text_args: Args = field(default_factory=dict)
    fusion: str = "cross_attention"
    fusion_args: Args = field(default_factory=dict)
    pooler: str = "first"
    pooler_args: Args = field(default_factory=dict)
    heads: dict[str, Args] = field(default_factory=dict)
    init_std: NonNegative = 0.02
    scan_layers: Literal["auto", "on", "off"] = "auto"


@dataclass(frozen=True)
class SourceSettings:
    """What one source of several has of its own; None is what `config.data` says of all.

    `task_token` is the row of the text encoder's table of tasks that its texts are shown with
    (ViLBERT 12-in-1). Sources that name the same `answers` have a list of answers together, without
    those of other sources; tasks that are trained on them know no others. Before `first_step`
    nothing is drawn from it, so that the others are learned undisturbed; steps count from where the
    earliest source begins.
    """

    batch_size: Count | None = None
    text_length: Annotated[int, Range(2)] | None = None
    regions: Count | None = None
    task_token: Natural | None = None
    answers: str = ""
    first_step: Natural = 0


@dataclass(frozen=True)
class DataConfig(Checked):
    """Where records come from and how pictures, regions and captions become batches.

    `source` is one name, or several joined by "::"; then each step draws its batch from one of
    them, in proportion to `weights` (by source name, 1 if not given), or with `order` = "in_turn"
    takes them one after the other; `per_source` is what some have of their own. `source_args` holds
    each source's options, by source name; entries of sources that are not in use are not read. An
    entry with a `kind` is a name of your own for a source of that kind, which `source`, `weights`
    and evaluations may use: cc3m = {"kind": "webdataset", "path": ...}.
    `regions` are kept of a picture, and before them, with `global_region`, one for the whole.
    `region_pixels` = s makes s × s pixels of each box its feature. `tags` makes the labels of the
    regions a second text. `vocabulary` is "bert-base-uncased", "fit" (made from the training
    texts), or a path. What else a task needs of a record stands in `config.tasks`.
    `decode` = "reduced" lets training decode large JPEGs no larger than their part of the picture
    needs, `resize` = "simd" resizes them quicker, with few values off by one. `threads` threads
    make `prefetch` batches ahead, or with `workers` = n each of n processes does.
    """

    where: ClassVar[str] = "config.data"

    source: str = "emoji_scenes"
    source_args: dict[str, Args] = field(default_factory=dict)
    path: str | None = None
    weights: dict[str, Positive] = field(default_factory=dict)
    order: Literal["drawn", "in_turn"] = "drawn"
    per_source: dict[str, SourceSettings] = field(default_factory=dict)
    batch_size: Count = 64
    image_size: Count = 64
    text_length: Annotated[int, Range(2)] = 25
    regions: Count = 36
    vocabulary: str = "bert-base-uncased"
    add_sep: bool = False
    text_style: str = "albef"
    max_words: Count = 30
    tags: bool = False
    region_pixels: Natural = 0
    global_region: bool = False
    augment: str = "none"
    flip: bool = True
    decode: Literal["full", "reduced"] = "full"
    resize: Literal["pillow", "simd"] = "pillow"
    threads: Count = 1
    workers: Natural = 0
    prefetch: Count = 4

    @property
    def sources(self) -> tuple[str, ...]:
        """The names in `source`."""
        return tuple(self.source.split("::"))

    def own(self, source: str) -> SourceSettings:
        """Returns what a source has of its own."""
        return self.per_source.get(source, SourceSettings())

    def batch_sizes(self, sources: Iterable[str]) -> dict[str, int]:
        """Returns where in the config → examples of a batch, of some sources."""
        return {self._batch_size_path(name): self.of_source(name).batch_size for name in sources}

    def _batch_size_path(self, source: str) -> str:
        own = self.own(source).batch_size is not None
        return f"{self.where}.per_source.{source}.batch_size" if own else f"{self.where}.batch_size"

    @property
    def first_steps(self) -> dict[str, int]:
        """The step at which each source joins; the earliest is there from the beginning."""
        given = {name: self.own(name).first_step for name in self.sources}
        return {name: step - min(given.values()) for name, step in given.items()}

    def shares(self, steps: int) -> dict[str, float]:
        """Returns of how many of a run's steps each source is, on average."""
        first = self.first_steps
        shares = dict.fromkeys(self.sources, 0.0)
        for start, end in itertools.pairwise(sorted({0, steps, *first.values()})):
            there = {n: self.weights.get(n, 1.0) for n in shares if first[n] <= start < steps}
            for name, weight in there.items():
                shares[name] += (end - start) / steps * weight / sum(there.values())
        return shares

    def mean_batch_size(self, steps: int) -> float:
        """Returns how many examples a step of a run has, on average."""
        shares = self.shares(steps)
        return sum(share * self.of_source(name).batch_size for name, share in shares.items())

    def of_source(self, source: str) -> "DataConfig":
        """Returns the settings with what a source has of its own in their place."""
        own = self.own(source)
        given = dict(batch_size=own.batch_size, text_length=own.text_length, regions=own.regions)
        return dataclasses.replace(self, **{k: v for k, v in given.items() if v is not None})


@dataclass(frozen=True)
class OptimizerConfig(Checked):
    """AdamW with warm-up and decay; parameter groups match by regular expression, first one wins.

    `name` = "muon" gives the weight matrices of encoders and fusion to Muon, with `muon_momentum`
    and updates of root mean square `muon_rms` × learning rate, and the rest to AdamW.
    Warm-up rises from `warmup_from` to `learning_rate`, in stairs of `warmup_stair` steps. With
    `epoch_steps` the rate stays the same within epochs of so many steps, counted from the first
    one; 0 lets it decay at every step after the warm-up. `bias_correction` off is BERT's own Adam,
    whose first steps are larger. `momentum_dtype` is the type in which the first moments are kept:
    "bfloat16" saves two bytes a parameter.
    """

    where: ClassVar[str] = "config.optimizer"

    name: Literal["adamw", "muon"] = "adamw"
    muon_momentum: Fraction = 0.95
    muon_rms: NonNegative = 0.2
    learning_rate: NonNegative = 1e-4
    end_learning_rate: NonNegative = 0.0
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_steps: Natural = 0
    warmup_from: NonNegative = 0.0
    warmup_stair: Count = 1
    epoch_steps: Natural = 0
    weight_decay: NonNegative = 0.01
    beta1: Fraction = 0.9
    beta2: Fraction = 0.999
    epsilon: Positive = 1e-8
    bias_correction: bool = True
    momentum_dtype: Literal["float32", "bfloat16"] = "float32"
    clip_norm: Positive | None = None
    groups: tuple[Args, ...] = ()


@dataclass(frozen=True)
class TrainingConfig(Checked):
    """Length of the run, precision, momentum teacher, and how often things happen (in steps).

    `accumulate` = k computes every forward and backward pass in k micro-batches. `momentum` is the
    teacher's decay; what it says counts more and more over the first `distillation_warmup` steps.
    In a `teacher_dtype` of "bfloat16" it takes two bytes a parameter in place of four. A step with
    a non-finite loss or gradient changes nothing; the run stops after `nan_patience` of them in a
    row. `remat` saves memory: the backward pass computes again what is "cheap" (norms, activations,
    attention's probabilities), all but matrix products ("dots"), or each layer in "full".

    `schedule` = "sampled" trains one group of tasks a step, drawn by the weights in `mix`, instead
    of the sum of all tasks (UNITER). A key of `mix` is a task, or several joined by "+"; an empty
    `mix` gives each task a group of its own, all of one weight.

    A process whose step takes longer than `hang_seconds`, and twenty times the usual, says where it
    hangs and ends. `profile` = (a, b) records the steps from a, counted from 0, to before b in
    `<workdir>/profile`. `writers` ("tensorboard", "wandb", or of a plug-in) get the metrics, too;
    None is TensorBoard where that is installed.
    """

    where: ClassVar[str] = "config.training"

    steps: Count = 1000
    schedule: Literal["all", "sampled"] = "all"
    mix: dict[str, Positive] = field(default_factory=dict)
    accumulate: Count = 1
    dtype: Literal["float32", "bfloat16"] = "float32"
    remat: Literal["none", "dots", "full", "cheap"] = "none"
    momentum: Share | None = None
    teacher_dtype: Literal["float32", "bfloat16"] = "float32"
    distillation_warmup: Natural = 0
    log_every: Count = 20
    checkpoint_every: Count = 500
    keep_checkpoints: Count = 2
    evaluate_every: Natural = 0
    nan_patience: Count = 5
    hang_seconds: Positive | None = 1800.0
    profile: tuple[Natural, Count] | None = None
    writers: tuple[str, ...] | None = None


@dataclass(frozen=True)
class MeshConfig(Checked):
    """Sizes of the mesh axes; -1 takes the devices that are left."""

    where: ClassVar[str] = "config.mesh"

    data: Annotated[int, Range(-1)] = -1
    fsdp: Annotated[int, Range(-1)] = 1
    tensor: Annotated[int, Range(-1)] = 1


@dataclass(frozen=True)
class EvaluationConfig(Checked):
    """How evaluations run; what is measured stands in `config.tasks.<name>.evaluate`.

    `best` names the figure to keep the best checkpoint of. `means` are further figures: a name of
    your own → the figures of which it is the mean.
    """

    where: ClassVar[str] = "config.evaluation"

    best: str | None = None
    means: dict[str, tuple[str, ...]] = field(default_factory=dict)
    batch_size: Count = 64


@dataclass(frozen=True)
class ExperimentConfig(Checked):
    """One experiment, whole: what `vlp-jax train` runs and what a checkpoint carries.

    `tasks` holds all that is asked of the model, by name, each with the settings of its class in
    `vlp_jax.tasks`; an entry with a `kind` is a name of your own for a task of that kind, and None
    switches a task off. `plugins` are Python files with tasks, heads, encoders or sources of your
    own, which register themselves.
    `init_from` lists given weights with which a new run starts, each entry with the fields of
    `vlp_jax.weights.initial.InitialWeights`, or its path alone; they are applied in order. A
    checkpoint in the workdir goes before them.
    """

    where: ClassVar[str] = "config"

    name: str = "experiment"
    seed: Annotated[int, Range(0, 2**32 - 1)] = 0
    plugins: tuple[str, ...] = ()
    model: ModelConfig = field(default_factory=ModelConfig)
    init_from: tuple[Args | str, ...] = ()
    data: DataConfig = field(default_factory=DataConfig)
    tasks: dict[str, Args | None] = field(default_factory=dict)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_combinations(self)


def replace(config: Any, path: str, value: Any) -> Any:
    """Returns a copy of dataclass `config` with the field at the dotted `path` set to `value`."""
    head, _, rest = path.partition(".")
    current = getattr(config, head)
    return dataclasses.replace(config, **{head: replace(current, rest, value) if rest else value})


def _check_combinations(config: ExperimentConfig) -> None:
    training, data = config.training, config.data
    for where, size in data.batch_sizes(data.sources).items():
        if size % training.accumulate:
            raise ValueError(
                f"{where} = {size} is not divisible by config.training.accumulate = "
                f"{training.accumulate}"
            )
    if data.order == "in_turn" and data.weights:
        raise ValueError(
            'config.data.weights are for config.data.order = "drawn"; in turn every source has as '
            "many steps as each other: leave the weights out"
        )
    late = [name for name in data.sources if data.own(name).first_step]
    if data.order == "in_turn" and late:
        raise ValueError(
            f"config.data.per_source.{late[0]}.first_step = {data.own(late[0]).first_step} is for "
            'config.data.order = "drawn"; in turn every source has as many steps as each other'
        )
    if training.momentum is None and training.teacher_dtype != "float32":
        raise ValueError(
            f"config.training.teacher_dtype = {training.teacher_dtype!r}, but there is no teacher "
            "(config.training.momentum = null)"
        )
    if config.evaluation.best is not None and not training.evaluate_every:
        raise ValueError(
            f"config.evaluation.best = {config.evaluation.best!r} is a figure of evaluations "
            "during training: set config.training.evaluate_every, or best = null"
        )
    for name, figures in config.evaluation.means.items():
        if not figures:
            raise ValueError(f"config.evaluation.means.{name} is empty: name figures to average")
    if training.profile and training.profile[0] >= training.profile[1]:
        raise ValueError(
            f"config.training.profile = {training.profile}: expected the first step, counted from "
            "0, and the one after the last, such as (10, 13)"
        )
    if config.optimizer.warmup_steps > training.steps:
        raise ValueError(
            f"config.optimizer.warmup_steps = {config.optimizer.warmup_steps} is longer than "
            f"config.training.steps = {training.steps}"
        )
    if data.path is not None and len(data.sources) > 1:
        raise ValueError(
            f"config.data.path = {data.path!r} is for one source, config.data.source names "
            f"{len(data.sources)}: give config.data.source_args.<source>.path instead"
        )
