"""From a `DataConfig` to sources, transforms and the mixture that training reads."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vlp_jax.config import DataConfig, nearest
from vlp_jax.data.augment import AUGMENTATIONS
from vlp_jax.data.caption_fields import CaptionFields
from vlp_jax.data.mixture import Mixture
from vlp_jax.data.picture_fields import PictureFields
from vlp_jax.data.pipeline import Pipeline
from vlp_jax.data.read_ahead import Reading
from vlp_jax.data.region_fields import RegionFields, RegionReader
from vlp_jax.data.several_pictures import SeveralPictures
from vlp_jax.data.simd_resize import resizer
from vlp_jax.data.sources import SOURCES
from vlp_jax.data.sources.base import Source, of_split
from vlp_jax.data.text import TEXT_STYLES
from vlp_jax.data.text_encoder import TextEncoder
from vlp_jax.data.transforms import Chain, Transform
from vlp_jax.data.vocabulary import Vocabulary

# What a source may say that its records hold, see docs/data.md; one of your own may say more.
PROVIDED = frozenset(
    {"image", "caption", "question", "more_questions", "regions", "foils", "near_misses"}
    | {"region_features", "region_classes", "region_class_scores", "box_sizes"}
    | {"pictures", "choices", "label", "target_box", "phrases", "proposals"}
    | {"candidates"}
)


@dataclass(frozen=True)
class Feed:
    """What the transforms of a source are made from.

    Attributes:
      config: the data's settings, with those that the source has of its own.
      provides: what the source gives. vocabulary: words and answers.
      train: whether they are for training, in which captions are drawn and regions hidden.
      source: its name, where tasks are chosen by it.
    """

    config: DataConfig
    provides: frozenset[str]
    vocabulary: Vocabulary
    train: bool
    source: str = ""

    @property
    def texts(self) -> TextEncoder:
        """How texts are read."""
        data = self.config
        return TextEncoder(self.vocabulary.tokenizer, data.text_style, data.max_words, data.add_sep)

    @property
    def has_regions(self) -> bool:
        """Whether pictures come with regions."""
        return bool({"regions", "region_features"} & self.provides)


TransformsOf = Callable[[Feed], tuple[Transform, ...]]


def make_chain(feed: Feed, own: TransformsOf) -> Chain:
    """Returns the transforms of a source: what all tasks share, and those that `own` gives."""
    _check_options(feed)
    shared = list(_picture_fields(feed))
    if "pictures" in feed.provides:
        shared = [SeveralPictures(tuple(shared))]
    if "caption" in feed.provides:
        shared.append(caption_fields(feed))
    return Chain([*shared, *own(feed)])


def _picture_fields(feed: Feed) -> tuple[Transform, ...]:
    data, provides = feed.config, feed.provides
    reader = RegionReader(data.regions, data.region_pixels)
    reduce = data.decode == "reduced"
    picture = PictureFields(
        provides, data.image_size, data.augment, data.flip, reader, feed.train, reduce, data.resize
    )
    if not feed.has_regions:
        return (picture,)
    return picture, RegionFields(data.regions, data.global_region)


def caption_fields(feed: Feed) -> CaptionFields:
    """Returns what makes the caption's fields."""
    data = feed.config
    return CaptionFields(feed.texts, data.text_length, data.regions, data.tags, feed.train)


def _check_options(feed: Feed) -> None:
    """Raises ValueError where options need what the source does not provide."""
    data = feed.config
    if data.tags and not (feed.has_regions and {"caption", "question"} & feed.provides):
        raise ValueError(
            "config.data.tags = true needs a source that provides captions or questions, and "
            "regions"
        )
    if data.tags and "pictures" in feed.provides:
        raise ValueError("config.data.tags = true shows the tags of one picture, not of several")
    if data.region_pixels and "region_features" in feed.provides:
        raise ValueError(
            f"config.data.region_pixels = {data.region_pixels} cuts features out of pictures, and "
            "the source provides region_features: set region_pixels = 0"
        )


def check_names(config: DataConfig) -> None:
    """Raises ValueError for names of sources, styles and augmentations that there are not.

    Also where what resizes pictures is not installed.
    """
    for name in config.sources:
        source_class(config, name, "config.data.source")
    for path in ("source_args", "weights", "per_source"):
        names = vars(config)[path]
        for name in names:
            source_class(config, name, f"config.data.{path}")
    TEXT_STYLES.get_known(config.text_style, "config.data.text_style")
    AUGMENTATIONS.get_known(config.augment, "config.data.augment")
    resizer(config.resize)


def open_source(config: DataConfig, name: str, split: str) -> Source:
    """Returns one split of a source, with the options that the config has for it.

    Options with a `kind` make a name of its own, so that one kind of source can occur several
    times: `source_args.cc3m = {"kind": "webdataset", "path": ...}`.
    """
    source = source_class(config, name, "config.data.source")
    for other in config.source_args:
        source_class(config, other, "config.data.source_args")
    options = {"path": config.path, **config.source_args.get(name, {})}
    options.pop("kind", None)
    try:
        opened = of_split(source, split, options)
    except ValueError as error:
        place = (
            f"config.data.source_args.{name}" if name in config.source_args else f"source {name}"
        )
        raise ValueError(f"{place}: {error}") from error
    for entry in opened.provides - PROVIDED:  # one of its own, or a slip
        if meant := nearest(entry, PROVIDED):
            raise ValueError(f'source {name} provides "{entry}", which nothing reads.{meant}')
    return opened


def open_sources(config: DataConfig) -> dict[str, Source]:
    """Returns the training split of every source by name."""
    return {name: open_source(config, name, "train") for name in config.sources}


def make_mixture(
    config: DataConfig,
    sources: Mapping[str, Source],
    vocabulary: Vocabulary,
    transforms: TransformsOf,
    seed: int,
    host: int = 0,
    hosts: int = 1,
) -> Mixture:
    """Returns the training batches of all sources; this host gets its share of each batch."""
    parts = []
    for name, source in sources.items():
        own, words = config.of_source(name), vocabulary.of_list(config.own(name).answers)
        feed = Feed(own, source.provides, words, train=True, source=name)
        pipeline = Pipeline(
            source,
            make_chain(feed, transforms),
            own.batch_size,
            seed=seed,
            host=host,
            hosts=hosts,
        )
        parts.append((name, pipeline, config.weights.get(name, 1.0)))
    return Mixture(parts, seed, config.order, Reading.of(config), config.first_steps)


def source_class(config: DataConfig, name: str, path: str) -> type[Source]:
    """Returns the class of a source or of a name that `config.source_args` gives a kind."""
    args = config.source_args.get(name, {})
    if "kind" in args:
        return SOURCES.get_known(args["kind"], f"config.data.source_args.{name}.kind")
    if name not in SOURCES:
        named = [other for other, given in config.source_args.items() if "kind" in given]
        raise ValueError(
            f'{path}: unknown source "{name}".{nearest(name, [*SOURCES, *named])} '
            f"Known: {', '.join(sorted({*SOURCES, *named}))}. A name of your own needs its kind: "
            f"config.data.source_args.{name}.kind"
        )
    return SOURCES[name]
