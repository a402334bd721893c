"""The fields of an experiment, their types and defaults, and the checks that need no other room."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

Args = dict[str, Any]


@dataclass(frozen=True)
class ModelConfig:
    """Two encoders, a fusion, a pooler and heads, each by name with the arguments of that part.

    `scan_layers` compiles one layer of each stack and loops over it ("on"), or every layer ("off");
    "auto" goes by what is faster. Numbers and checkpoints are the same.
    """

    vision: str = "vit"
    vision_args: Args = field(default_factory=dict)
    text: str = "bert"
    text_args: Args = field(default_factory=dict)
    fusion: str = "cross_attention"
    fusion_args: Args = field(default_factory=dict)
    pooler: str = "first"
    pooler_args: Args = field(default_factory=dict)
    heads: dict[str, Args] = field(default_factory=dict)
    init_std: float = 0.02
    scan_layers: Literal["auto", "on", "off"] = "auto"


@dataclass(frozen=True)
class DataConfig:
    """Where records come from and how they become batches.

    `source` is one name, or several joined by "::"; then each step draws its batch from one of
    them, in proportion to `weights` (by source name, 1 if not given). `source_args` holds each
    source's own options, by source name; entries of sources that are not in use are not read.
    An entry with a `kind` is a name of your own for a source of that kind, which `source`,
    `weights` and evaluation tasks may use: cc3m = {"kind": "webdataset", "path": ...}.
    `questions` = k trains on k of an image's questions at once, where a source has several.
    `foils` adds false captions of the same words if a source has them, for the matching objective.
    `pairing` shows another image's caption or tags in training ("caption", "oscar", "oscarplus",
    "second_caption"); with `predict_wrong_pairs` off their masked words, and hidden regions beside
    them, have no label. `regions` are kept of a picture, and before them, with `global_region`, one
    for the whole. `region_pixels` = s makes s × s pixels of each box its feature. `region_masking`
    hides features as "uniter", "lxmert" or "vilbert" do.
    `answer_length` > 0 spells the answers of a question in so many tokens, [CLS] and [SEP]
    included, for the objective vqa_generative: the `answers_per_question` of the highest score.
    `vocabulary` is "bert-base-uncased", "fit" (made from the training texts), or a path.
    """

    source: str = "emoji_scenes"
    source_args: dict[str, Args] = field(default_factory=dict)
    path: str | None = None
    weights: dict[str, float] = field(default_factory=dict)
    batch_size: int = 64
    image_size: int = 64
    text_length: int = 25
    question_length: int = 25
    questions: int = 1
    answer_length: int = 0
    answers_per_question: int = 10
    regions: int = 36
    vocabulary: str = "bert-base-uncased"
    add_sep: bool = False
    text_style: str = "albef"
    max_words: int = 30
    foils: bool = False
    tags: bool = False
    pairing: str = "none"
    predict_wrong_pairs: bool = True
    region_pixels: int = 0
    global_region: bool = False
    region_masking: str = "none"
    region_mask_probability: float = 0.15
    augment: str = "none"
    flip: bool = True
    mask_probability: float = 0.15
    mask_at_least_one: bool = False
    threads: int = 1
    prefetch: int = 4

    @property
    def sources(self) -> tuple[str, ...]:
        """The names in `source`."""
        return tuple(self.source.split("::"))


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with warm-up and decay; parameter groups match by regular expression, first one wins.

    `name` = "muon" gives the weight matrices of encoders and fusion to Muon, with `muon_momentum`
    and updates of root mean square `muon_rms` × learning rate, and the rest to AdamW.
    Warm-up rises from `warmup_from` to `learning_rate`, in stairs of `warmup_stair` steps. With
    `epoch_steps` the rate stays the same within epochs of so many steps, counted from the first
    one; 0 lets it decay at every step after the warm-up. `bias_correction` off is BERT's own Adam,
    whose first steps are larger.
    """

    name: Literal["adamw", "muon"] = "adamw"
    muon_momentum: float = 0.95
    muon_rms: float = 0.2
    learning_rate: float = 1e-4
    end_learning_rate: float = 0.0
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_steps: int = 0
    warmup_from: float = 0.0
    warmup_stair: int = 1
    epoch_steps: int = 0
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    bias_correction: bool = True
    clip_norm: float | None = None
    groups: tuple[Args, ...] = ()


@dataclass(frozen=True)
class TrainingConfig:
    """Length of the run, precision, momentum teacher, and how often things happen (in steps).

    `accumulate` = k computes every forward and backward pass in k micro-batches. `momentum` is the
    teacher's decay and `queue_size` its queue; distillation weights rise linearly over the first
    `distillation_warmup` steps. A step with a non-finite loss or gradient changes nothing; the run
    stops after `nan_patience` of them in a row. `remat` saves memory: the backward pass computes
    again what is "cheap" (norms, activations, attention's probabilities), all but matrix products
    ("dots"), or each layer in "full".

    `schedule` = "sampled" trains one task a step, drawn by the weights in `mix`, instead of the sum
    of all objectives (UNITER). A key of `mix` is an objective, or several joined by "+"; an empty
    `mix` gives each objective a task of its own, all of one weight.
    """

    steps: int = 1000
    schedule: Literal["all", "sampled"] = "all"
    mix: dict[str, float] = field(default_factory=dict)
    accumulate: int = 1
    dtype: Literal["float32", "bfloat16"] = "float32"
    remat: Literal["none", "dots", "full", "cheap"] = "none"
    momentum: float | None = None
    queue_size: int = 0
    distillation_warmup: int = 0
    log_every: int = 20
    checkpoint_every: int = 500
    keep_checkpoints: int = 2
    evaluate_every: int = 0
    nan_patience: int = 5


@dataclass(frozen=True)
class MeshConfig:
    """Sizes of the mesh axes; -1 takes the devices that are left."""

    data: int = -1
    fsdp: int = 1
    tensor: int = 1


@dataclass(frozen=True)
class EvaluationConfig:
    """Which tasks run, by name with arguments; `best` names the figure to keep the best of."""

    tasks: dict[str, Args] = field(default_factory=dict)
    best: str | None = None
    batch_size: int = 64


@dataclass(frozen=True)
class ExperimentConfig:
    """One experiment, whole: what `vlp-jax train` runs and what a checkpoint carries.

    `init_from` lists given weights with which a new run starts, each entry with the fields of
    `vlp_jax.weights.initial.InitialWeights`; they are applied in order. A checkpoint in the
    workdir goes before them.
    """

    name: str = "experiment"
    seed: int = 0
    model: ModelConfig = field(default_factory=ModelConfig)
    init_from: tuple[Args, ...] = ()
    data: DataConfig = field(default_factory=DataConfig)
    objectives: dict[str, Args] = field(default_factory=dict)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def __post_init__(self) -> None:
        _check_ranges(self)
        _check_combinations(self)


def replace(config: Any, path: str, value: Any) -> Any:
    """Returns a copy of dataclass `config` with the field at the dotted `path` set to `value`."""
    head, _, rest = path.partition(".")
    current = getattr(config, head)
    return dataclasses.replace(config, **{head: replace(current, rest, value) if rest else value})


def _check_ranges(config: ExperimentConfig) -> None:
    at_least = {
        "seed": 0,
        "training.steps": 1,
        "training.accumulate": 1,
        "training.log_every": 1,
        "training.checkpoint_every": 1,
        "training.keep_checkpoints": 1,
        "training.evaluate_every": 0,
        "training.queue_size": 0,
        "training.distillation_warmup": 0,
        "training.nan_patience": 1,
        "data.batch_size": 1,
        "data.image_size": 1,
        "data.text_length": 2,
        "data.question_length": 2,
        "data.questions": 1,
        "data.answer_length": 0,
        "data.answers_per_question": 1,
        "data.regions": 1,
        "data.region_pixels": 0,
        "data.max_words": 1,
        "data.threads": 1,
        "data.prefetch": 1,
        "optimizer.warmup_steps": 0,
        "optimizer.warmup_from": 0,
        "optimizer.warmup_stair": 1,
        "optimizer.epoch_steps": 0,
        "optimizer.learning_rate": 0,
        "optimizer.muon_rms": 0,
        "optimizer.weight_decay": 0,
        "evaluation.batch_size": 1,
        "model.init_std": 0,
    }
    for path, low in at_least.items():
        _check(_get(config, path) >= low, config, path, f"at least {low}")
    shares = ("data.mask_probability", "data.region_mask_probability")
    betas = ("beta1", "beta2", "muon_momentum")
    for path in (*(f"optimizer.{beta}" for beta in betas), *shares):
        _check(0 <= _get(config, path) < 1, config, path, "in [0, 1)")
    momentum = config.training.momentum
    _check(momentum is None or 0 <= momentum <= 1, config, "training.momentum", "null or in [0, 1]")
    clip = config.optimizer.clip_norm
    _check(clip is None or clip > 0, config, "optimizer.clip_norm", "null or above 0")


def _check_combinations(config: ExperimentConfig) -> None:
    training, data = config.training, config.data
    if data.batch_size % training.accumulate:
        raise ValueError(
            f"config.data.batch_size = {data.batch_size} is not divisible by "
            f"config.training.accumulate = {training.accumulate}"
        )
    if training.queue_size and training.momentum is None:
        raise ValueError(
            f"config.training.queue_size = {training.queue_size} needs a momentum teacher that "
            "fills the queue: set config.training.momentum (ALBEF: 0.995) or queue_size = 0"
        )
    if training.queue_size and "itc" not in config.model.heads:
        raise ValueError(
            f"config.training.queue_size = {training.queue_size} keeps vectors of the head itc, "
            "which the model lacks: add config.model.heads.itc or set queue_size = 0"
        )
    if config.evaluation.best is not None and not training.evaluate_every:
        raise ValueError(
            f"config.evaluation.best = {config.evaluation.best!r} is a figure of evaluations "
            "during training: set config.training.evaluate_every, or best = null"
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


def _get(config: Any, path: str) -> Any:
    for part in path.split("."):
        config = getattr(config, part)
    return config


def _check(fits: bool, config: ExperimentConfig, path: str, allowed: str) -> None:
    if not fits:
        raise ValueError(f"config.{path} = {_get(config, path)!r}: must be {allowed}")
