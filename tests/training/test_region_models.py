"""Tests of training region models on scenes: one pass for all tasks, and one task a step."""

import numpy as np
import pytest

from tests.training.tiny import SIDE, Stepper, differing, plain
from vlp_jax.config import ExperimentConfig, build
from vlp_jax.training.experiment import assemble
from vlp_jax.training.loop import train

BLOCK = dict(heads=2, mlp_width=16, dropout=0.0, attention_dropout=0.0)


def experiment_of(heads, tasks, data=None, training=None, **vision) -> ExperimentConfig:
    """Returns an experiment with one layer of width 8 over words and the pixels of boxes."""
    values = dict(
        model=dict(
            vision="regions",
            vision_args=dict(width=8, boxes="corners", **BLOCK, **vision),
            text="bert",
            text_args=dict(width=8, layers=0, max_length=12, **BLOCK),
            fusion="single_stream",
            fusion_args=dict(layers=1, **BLOCK),
            heads=heads,
        ),
        data=dict(
            source_args=dict(emoji_scenes=dict(concepts=12, size=64, canvas=SIDE)),
            batch_size=8,
            image_size=SIDE,
            text_length=12,
            regions=4,
            region_pixels=2,
            vocabulary="fit",
            flip=False,
            **(data or {}),
        ),
        tasks=tasks,
        optimizer=dict(learning_rate=1e-2),
        training=dict(steps=6, log_every=6, checkpoint_every=6) | (training or {}),
    )
    return build(ExperimentConfig, values, "config")


@pytest.mark.slow
def test_one_pass_serves_words_regions_and_pairs():
    """ViLBERT's tasks and LXMERT's, on exchanged captions and hidden regions."""
    hidden = dict(masking="lxmert", probability=0.5)
    config = experiment_of(
        heads=dict(mlm={}, itm={}, regions=dict(kind="region_labels"), region_labels={}),
        tasks=dict(
            mlm={},
            pair=dict(exchange="caption"),
            region_class=dict(form="kl_sum", text="masked", head="regions", **hidden),
            region_labels=hidden,
        ),
        data=dict(global_region=True),
    )
    experiment = assemble(config)
    stepper = Stepper(experiment, 1, 1, 1)
    state, (first, *_) = stepper.run([experiment.mixture.batch(0)])
    losses = {name: value for name, value in first.items() if name.endswith("_loss")}
    assert len(losses) == 7 and np.isfinite(list(losses.values())).all()
    assert losses["pair_loss"] == pytest.approx(np.log(2), abs=0.2)
    assert losses["region_class_loss"] == pytest.approx(np.log(121), abs=0.5)
    changed = differing(state.params, stepper.initial.params)
    heads = ("heads_mlm", "heads_itm", "heads_regions", "heads_region_labels")
    assert all(any(head in name for name in changed) for head in heads)


@pytest.mark.slow
def test_a_sampled_schedule_trains_every_group_in_turn(tmp_path):
    """UNITER's way: a task about words changes no region head, and sees all regions."""
    mix = {"mlm": 1.0, "region_feature": 1.0}
    config = experiment_of(
        heads=dict(mlm={}, region_feature={}),
        tasks=dict(mlm={}, region_feature=dict(masking="uniter")),
        training=dict(schedule="sampled", mix=mix),
        mask_embedding=True,
    )
    result = train(config, tmp_path)
    meters = plain(result.state.meters)
    counts = {n: float(v) for n, v in meters.items() if n.endswith("_loss'].count")}
    groups = [result.experiment.schedule.group(step, "emoji_scenes") for step in range(6)]
    assert counts["['mlm_loss'].count"] == groups.count(("mlm",)) > 0
    assert counts["['region_feature_loss'].count"] == groups.count(("region_feature",)) > 0
    assert result.step == 6
