"""Records drawn at random, so that any experiment can be timed without its data."""

import dataclasses

import numpy as np

from vlp_jax.cli.measure.assumed import StandIn, assumed_vocabulary, provided
from vlp_jax.config import ExperimentConfig
from vlp_jax.data.sources.base import Record, Source
from vlp_jax.training.experiment import Experiment, assemble

_SIDE = 256  # of the picture that boxes lie in


class DrawnRecords(StandIn):
    """Stand-ins with noise for pictures and features, and texts of full length.

    A GPU is faster on zeros, which take less power.
    """

    def __getitem__(self, index: int) -> Record:
        rng, side = np.random.default_rng(index), self._data.image_size
        words = lambda: " ".join(f"word{i}" for i in rng.integers(0, 100, self._data.text_length))
        record = super().__getitem__(index)
        record |= {"captions": [words(), words()], "question": words()}
        boxes = rng.uniform(0, _SIDE / 2, (self._data.regions, 4))
        boxes[:, 2:] += _SIDE / 2
        drawn = {
            "image": lambda: rng.integers(0, 256, (side, side, 3), np.uint8),
            "region_features": lambda: rng.random(record["region_features"].shape, np.float32),
            "boxes": lambda: boxes.astype(np.float32),
            "width": lambda: _SIDE,
            "height": lambda: _SIDE,
            "labels": lambda: ["word0"] * self._data.regions,
        }
        return record | {name: draw() for name, draw in drawn.items() if name in record}


def on_drawn_data(config: ExperimentConfig) -> Experiment:
    """Returns an experiment that reads drawn records, whatever its sources are."""
    name = config.data.sources[0]
    data = dataclasses.replace(config.data, source=name, weights={}, region_pixels=0)
    config = dataclasses.replace(config, data=data)
    source = DrawnRecords(data, config.model, provided(config.model, Source, {}))
    vocabulary = assumed_vocabulary(config.model, [source])
    return assemble(config, vocabulary, {name: source})
