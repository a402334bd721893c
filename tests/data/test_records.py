"""Tests of the list of skipped records."""

from concurrent.futures import ThreadPoolExecutor

from vlp_jax.data.records import SkippedRecords


def test_records_count_once_and_the_list_is_bounded():
    skipped = SkippedRecords()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: skipped.add(i % 1500, f"reason {i % 1500}"), range(6000)))
    assert skipped.total == 1500 and len(skipped.reasons) == 1000
    assert all(reason == f"reason {index}" for index, reason in skipped.reasons.items())
    skipped.reasons.clear()  # a copy
    assert len(skipped.reasons) == 1000
