"""Data sources: where records come from; importing this package registers all of them."""

from vlp_jax.data.sources.base import SOURCES, Record, Source
from vlp_jax.data.sources.easy_vqa import EasyVqa
from vlp_jax.data.sources.emoji import Emoji
from vlp_jax.data.sources.emoji_scenes import EmojiScenes
from vlp_jax.data.sources.json_pairs import JsonPairs

__all__ = ["SOURCES", "EasyVqa", "Emoji", "EmojiScenes", "JsonPairs", "Record", "Source"]
