"""Tests of which tasks a step trains: shares, sources, determinism, and what is refused."""

from collections import Counter

import pytest

from vlp_jax.config import TrainingConfig
from vlp_jax.training.schedule import check_mix, cut_mix, make_schedule

ALL = {
    "coco": dict.fromkeys(("itm", "alignment", "mlm", "vqa")),
    "sbu": dict.fromkeys(("itm", "mlm")),
}
MIX = {"itm+alignment": 9.0, "mlm": 12.0, "vqa": 3.0}


def sampled(mix=MIX, seed=0):
    return make_schedule(TrainingConfig(schedule="sampled", mix=mix), ALL, seed)


def test_all_tasks_of_a_source_are_one_group():
    schedule = make_schedule(TrainingConfig(), ALL, 0)
    assert {schedule.group(step, "sbu") for step in range(20)} == {("itm", "mlm")}
    assert schedule.every_group == (("itm", "alignment", "mlm", "vqa"), ("itm", "mlm"))


def test_groups_have_the_shares_of_the_mix():
    drawn = Counter(sampled().group(step, "coco") for step in range(4000))
    shares = {group: count / 4000 for group, count in drawn.items()}
    expected = {("itm", "alignment"): 9 / 24, ("mlm",): 12 / 24, ("vqa",): 3 / 24}
    assert shares == pytest.approx(expected, abs=0.03)


def test_a_source_trains_the_part_of_a_group_that_it_feeds():
    drawn = Counter(sampled().group(step, "sbu") for step in range(2000))
    assert set(drawn) == {("itm",), ("mlm",)}
    assert drawn["itm",] / 2000 == pytest.approx(9 / 21, abs=0.04)
    assert len(sampled().every_group) == 4  # itm with and without alignment


def test_the_draw_depends_on_seed_and_step_alone():
    groups = [sampled().group(step, "coco") for step in range(60)]
    assert [sampled().group(step, "coco") for step in reversed(range(60))] == groups[::-1]
    assert [sampled(seed=1).group(step, "coco") for step in range(60)] != groups


def test_without_a_mix_every_task_is_a_group_of_one_weight():
    drawn = Counter(sampled({}).group(step, "coco") for step in range(2000))
    assert set(drawn) == {("itm",), ("alignment",), ("mlm",), ("vqa",)}
    assert min(drawn.values()) > 400


def test_dropped_tasks_leave_the_mix():
    assert cut_mix(MIX, {"itm", "mlm"}) == {"itm": 9.0, "mlm": 12.0}
    assert cut_mix({"itm+alignment": 1.0, "itm": 2.0}, {"itm"}) == {"itm": 3.0}
    with pytest.raises(ValueError, match="no task of config.training.mix can use source flickr"):
        make_schedule(TrainingConfig(schedule="sampled", mix=MIX), {"flickr": {"other": None}}, 0)


@pytest.mark.parametrize(
    "mix, message",
    [
        (
            {"itm+aligment": 1.0},
            r'no config.tasks.aligment that trains. Did you mean "alignment"\?',
        ),
        ({"itm": 1.0, "mlm": 1.0}, "mix leaves out alignment, vqa"),
    ],
)
def test_a_wrong_mix_is_explained(mix, message):
    with pytest.raises(ValueError, match=message):
        check_mix(TrainingConfig(schedule="sampled", mix=mix), tuple(ALL["coco"]))


def test_a_mix_without_sampling_is_refused():
    with pytest.raises(ValueError, match='is read by config.training.schedule = "sampled" only'):
        make_schedule(TrainingConfig(mix=MIX), ALL, 0)
    check_mix(TrainingConfig(), ("itm",))
