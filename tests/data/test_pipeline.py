"""Tests of batches: order, hosts, resumption, unusable records and evaluation."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.chains import TOKENIZER, chain, questions, tasks_chain, words
from tests.data.fakes import FakeSource
from vlp_jax.data.masking import Masking
from vlp_jax.data.pairing import PAIRINGS, ExchangeTexts
from vlp_jax.data.pipeline import Pipeline, evaluation_batches
from vlp_jax.data.read_ahead import Reading
from vlp_jax.data.records import SkippedRecords
from vlp_jax.data.region_masking import HideRegions, RegionMasking
from vlp_jax.tasks.masked_regions import RegionFeatureTask
from vlp_jax.tasks.pairs import PairTask

CHAIN = chain(questions(), words(Masking(0.5)), regions=2, augment="crop_flip")


def ids(batch):
    return batch["image_id"].tolist()


def same(first, second):
    return first.keys() == second.keys() and all(
        np.array_equal(first[name], second[name]) for name in first
    )


def take(stream, count):
    batches = [next(stream) for _ in range(count)]
    stream.close()
    return batches


@pytest.mark.parametrize("hosts", [2, 4, 8])
def test_hosts_share_the_same_global_batch(hosts):
    alone = Pipeline(FakeSource(), CHAIN, 8, seed=3)
    shares = [Pipeline(FakeSource(), CHAIN, 8, 3, host=h, hosts=hosts) for h in range(hosts)]
    for step in (0, 2, 7):
        parts = [share.batch(step) for share in shares]
        joined = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
        assert same(joined, alone.batch(step))


@pytest.mark.parametrize("threads, prefetch", [(0, 0), (1, 1), (3, 4)])
def test_iteration_equals_random_access_from_any_step(threads, prefetch):
    pipeline = Pipeline(FakeSource(), CHAIN, 6, seed=1, reading=Reading(threads, prefetch))
    for start in (0, 1, 9):
        for step, batch in enumerate(take(pipeline.iterate(start), 4), start):
            assert same(batch, pipeline.batch(step))


def test_each_epoch_visits_every_record_once_in_another_order():
    pipeline = Pipeline(FakeSource(20), CHAIN, 5)
    epochs = [sum((ids(pipeline.batch(4 * e + s)) for s in range(4)), []) for e in range(3)]
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] and pipeline.steps_per_epoch == 4
    plain = Pipeline(FakeSource(20), CHAIN, 8, shuffle=False)
    assert ids(plain.batch(2)) == [16, 17, 18, 19, 0, 1, 2, 3]  # across the epoch's end
    assert ids(Pipeline(FakeSource(1), CHAIN, 1).batch(5)) == [0]


def test_random_numbers_change_with_epoch_and_seed():
    fixed = dict(shuffle=False)
    pipeline = Pipeline(FakeSource(8), CHAIN, 8, seed=0, **fixed)
    first, second = pipeline.batch(0), pipeline.batch(1)
    other = Pipeline(FakeSource(8), CHAIN, 8, seed=1, **fixed).batch(0)
    assert ids(first) == ids(second) == ids(other)
    for batch in (second, other):
        assert not np.array_equal(first["mlm_labels"], batch["mlm_labels"])
        assert not np.array_equal(first["image"], batch["image"])


@settings(max_examples=8)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(0, 60))
def test_any_batch_is_reproducible_and_has_different_records(seed, batch_size, step):
    batches = [Pipeline(FakeSource(12), CHAIN, batch_size, seed).batch(step) for _ in range(2)]
    assert same(*batches)
    if 12 % batch_size == 0:
        assert len(set(ids(batches[0]))) == batch_size


BROKEN = {
    2: {"image": b"junk"},
    3: {"image": "/nowhere/at/all.jpg"},
    5: {"captions": ["", "!?"]},
    11: {"boxes": np.array([[9, 9, 1, 1]], np.float32)},
}


def test_unusable_records_are_replaced_counted_and_listed():
    pipelines = [Pipeline(FakeSource(20, broken=BROKEN), CHAIN, 5) for _ in range(2)]
    for step in range(8):
        first, second = (pipeline.batch(step) for pipeline in pipelines)
        assert same(first, second) and not set(ids(first)) & set(BROKEN)
        assert first["example_mask"].all()
    assert pipelines[0].skipped_total == 4 and set(pipelines[0].skipped) == set(BROKEN)
    reasons = pipelines[0].skipped
    assert "not a picture" in reasons[2] and "/nowhere/at/all.jpg" in reasons[3]
    assert "no caption" in reasons[5] and "reversed" in reasons[11]


def test_records_beyond_the_tables_of_the_model_are_skipped():
    pipeline = Pipeline(FakeSource(20), CHAIN, 5)
    assert set(ids(pipeline.first)) - set(range(8))
    pipeline.know_sizes({"image_id": 8})
    shown = [number for step in range(4) for number in ids(pipeline.batch(step))]
    assert set(shown) <= set(range(8)) and pipeline.skipped_total == 12
    assert pipeline.skipped[9] == (
        '"image_id" holds 9, and the model knows 8 of them: expected 0 to 7'
    )


def test_one_usable_record_is_enough():
    broken = {i: {"image": b"junk"} for i in range(12) if i != 7}
    pipeline = Pipeline(FakeSource(12, broken=broken), CHAIN, 4)
    assert ids(pipeline.batch(0)) == [7] * 4


@pytest.mark.parametrize("threads", [0, 2])
def test_nothing_usable_is_an_error_and_no_hang(threads):
    broken = {i: {"image": b"junk"} for i in range(8)}
    pipeline = Pipeline(FakeSource(8, broken=broken), CHAIN, 4, reading=Reading(threads))
    with pytest.raises(ValueError, match="8 of 8 records .* none could be used; .*not a picture"):
        next(pipeline.iterate())
    with pytest.raises(ValueError, match="none could be used"):
        source = FakeSource(8, broken=broken)
        next(evaluation_batches(source, CHAIN, 4, reading=Reading(threads)))


def test_a_programming_error_is_not_swallowed():
    class Faulty(FakeSource):
        def __getitem__(self, index):
            raise TypeError("a bug")

    with pytest.raises(TypeError, match="a bug"):
        next(Pipeline(Faulty(), CHAIN, 4).iterate())


def test_closing_stops_the_threads():
    def count():
        return sum(t.name.startswith("grain-prefetch") for t in threading.enumerate())

    before = count()
    stream = Pipeline(FakeSource(), CHAIN, 4, reading=Reading(2)).iterate()
    next(stream)
    assert count() > before
    stream.close()
    for _ in range(100):
        if count() <= before:
            break
        threading.Event().wait(0.05)
    assert count() <= before


@pytest.mark.parametrize(
    "options, message",
    [
        ({"batch_size": 21}, "20 records, fewer than one batch of 21"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 6, "hosts": 4}, "6 cannot be shared evenly by 4 hosts"),
        ({"batch_size": 4, "host": 2, "hosts": 2}, "host is 2 of 2"),
        ({"batch_size": 4, "seed": -1}, "data seed is -1"),
    ],
)
def test_wrong_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Pipeline(FakeSource(20), CHAIN, **options)


def test_evaluation_goes_once_in_order_and_pads():
    batches = list(evaluation_batches(FakeSource(10), CHAIN, 4))
    assert [ids(b) for b in batches[:2]] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert batches[2]["example_mask"].tolist() == [True, True, False, False]
    assert ids(batches[2])[:2] == [8, 9]
    assert len({b["image"].shape for b in batches}) == 1
    again = list(evaluation_batches(FakeSource(10), CHAIN, 4))
    assert all(same(a, b) for a, b in zip(batches, again, strict=True))
    assert [len(list(evaluation_batches(FakeSource(10), CHAIN, 4, n))) for n in (4, 5, 99)] == (
        [1, 2, 3]
    )


def test_evaluation_of_fewer_records_than_a_batch_and_hosts():
    alone = list(evaluation_batches(FakeSource(3), CHAIN, 8))
    assert len(alone) == 1 and alone[0]["example_mask"].sum() == 3
    shares = [list(evaluation_batches(FakeSource(3), CHAIN, 8, host=h, hosts=4)) for h in range(4)]
    assert [len(share) for share in shares] == [1] * 4
    masks = np.concatenate([share[0]["example_mask"] for share in shares])
    assert masks.tolist() == alone[0]["example_mask"].tolist()


def test_evaluation_masks_unusable_records():
    skipped = SkippedRecords()
    source = FakeSource(12, broken=BROKEN)
    batches = list(evaluation_batches(source, CHAIN, 4, skipped=skipped))
    masks = np.concatenate([b["example_mask"] for b in batches])
    assert np.flatnonzero(~masks).tolist() == sorted(BROKEN) and skipped.total == 4
    with pytest.raises(ValueError, match="no records"):
        next(evaluation_batches(FakeSource(0), CHAIN, 4))


def paired(*own):
    hidden = HideRegions(RegionMasking(0.5, (0.2, 0.6, 0.2)), 2)
    exchanged = ExchangeTexts(PAIRINGS["caption"])
    return chain(hidden, exchanged, *own, regions=2, augment="crop_flip", region_pixels=2)


PAIRED = paired(questions(), words(Masking(0.5)))


@pytest.mark.parametrize("hosts", [2, 4])
def test_wrong_pairs_and_hidden_regions_are_the_same_on_any_number_of_hosts(hosts):
    alone = Pipeline(FakeSource(), PAIRED, 8, seed=3)
    shares = [Pipeline(FakeSource(), PAIRED, 8, 3, host=h, hosts=hosts) for h in range(hosts)]
    for step in (0, 7):
        parts = [share.batch(step) for share in shares]
        joined = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
        assert same(joined, alone.batch(step))
    labels = np.concatenate([alone.batch(step)["pair_labels"] for step in range(20)])
    assert 50 < labels.sum() < 110


def test_a_wrong_pair_shows_the_caption_of_another_image():
    source = FakeSource(60)
    pipeline = Pipeline(source, paired(), 20)
    for step in range(3):
        batch = pipeline.batch(step)
        for index, label, row in zip(ids(batch), batch["pair_labels"], batch["text_ids"]):
            own = TOKENIZER.decode(row) in source[index]["captions"]
            assert own == (label == 0)


def test_evaluation_shows_every_image_whole_with_its_own_caption():
    options = dict(regions=2, augment="crop_flip", region_pixels=2, train=False)
    made = tasks_chain(PairTask(), RegionFeatureTask(probability=0.5), **options)
    batch = next(evaluation_batches(FakeSource(8), made, 8))
    assert {"pair_labels", "region_hidden", "region_targets"}.isdisjoint(batch)


class CountedSource(FakeSource):
    """Counts how often each record is read."""

    def __init__(self, size):
        super().__init__(size)
        self.reads = []

    def __getitem__(self, index):
        self.reads.append(index)
        return super().__getitem__(index)


def test_the_first_batch_is_made_once_and_belongs_to_nobody():
    pipeline = Pipeline(CountedSource(20), CHAIN, 4, seed=3)
    first = pipeline.first
    pipeline.batch(0)["image_id"] = None  # a caller's own dictionary
    assert same(pipeline.batch(0), first) and len(pipeline._reader.source.reads) == 4
    assert same(take(pipeline.iterate(), 1)[0], first)
