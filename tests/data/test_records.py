"""Tests of reading records: the list of those skipped, and the draw of other ones."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from vlp_jax.data.records import OtherRecords, RecordReader, SkippedRecords


def test_records_count_once_and_the_list_is_bounded():
    skipped = SkippedRecords()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: skipped.add(i % 1500, f"reason {i % 1500}"), range(6000)))
    assert skipped.total == 1500 and len(skipped.reasons) == 1000
    assert all(reason == f"reason {index}" for index, reason in skipped.reasons.items())
    skipped.reasons.clear()  # a copy
    assert len(skipped.reasons) == 1000


class Numbers:
    """Records that are numbers; three each show the same image, and multiples of 10 are broken."""

    def __init__(self, size=60):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        if index % 10 == 0:
            raise OSError("gone")
        return {"image_id": index // 3, "number": index}


def test_other_records_show_another_image_and_can_be_read():
    for index in range(200):
        others = OtherRecords(Numbers(), 4, (0, 0, index))
        record = others(0)
        assert record["image_id"] != 4 and record["number"] % 10
        assert others(0) == record


def test_draws_depend_on_seed_epoch_index_and_their_number():
    keys = [(0, 0, 7), (1, 0, 7), (0, 1, 7), (0, 0, 8)]
    drawn = {
        (*key, draw): [OtherRecords(Numbers(600), -1, (*key[:2], key[2] + 10 * i))(draw)["number"]
                       for i in range(8)]
        for key in keys for draw in (0, 1)
    }  # fmt: skip
    assert len({tuple(numbers) for numbers in drawn.values()}) == 8


def test_a_data_set_of_one_image_has_no_other():
    with pytest.raises(ValueError, match="no record of another image was found in 100 draws"):
        OtherRecords(Numbers(3), 0, (0, 0, 0))(0)


def test_the_reader_hands_out_the_records_of_its_source():
    seen = []
    chain = lambda record, rng, others: seen.append((record, others(0))) or {}
    RecordReader(Numbers(), chain, 0, SkippedRecords()).read(5)
    ((record, other),) = seen
    assert record["number"] == 5 and other["image_id"] != 1
