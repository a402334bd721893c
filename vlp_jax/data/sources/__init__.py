"""Data sources: where records come from; importing this package registers all of them."""

from vlp_jax.data.sources.annotated import Annotated
from vlp_jax.data.sources.array_records import ArrayRecords
from vlp_jax.data.sources.base import SOURCES, Record, Source
from vlp_jax.data.sources.easy_vqa import EasyVqa
from vlp_jax.data.sources.emoji import Emoji
from vlp_jax.data.sources.emoji_scenes import EmojiScenes
from vlp_jax.data.sources.emoji_tasks import EmojiTasks
from vlp_jax.data.sources.found_regions import FoundRegions
from vlp_jax.data.sources.hf_datasets import HfDatasets
from vlp_jax.data.sources.joined import Joined
from vlp_jax.data.sources.json_pairs import JsonPairs
from vlp_jax.data.sources.region_records import RegionRecords
from vlp_jax.data.sources.tfds import Tfds
from vlp_jax.data.sources.webdataset import WebDataset

__all__ = [
    "SOURCES",
    "Annotated",
    "ArrayRecords",
    "EasyVqa",
    "Emoji",
    "EmojiScenes",
    "EmojiTasks",
    "FoundRegions",
    "HfDatasets",
    "Joined",
    "JsonPairs",
    "Record",
    "RegionRecords",
    "Source",
    "Tfds",
    "WebDataset",
]
