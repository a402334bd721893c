"""Data in a bucket equal data on a disk; what is not there, or may not be read, is named."""

import pickle
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.data.sources.tars import write_shards
from tests.training.tiny import write_pairs
from vlp_jax.data.buckets import bucket_path
from vlp_jax.data.images import decode
from vlp_jax.data.paths import read_file
from vlp_jax.data.sources import JsonPairs, WebDataset
from vlp_jax.data.spool import Spool

pytestmark = pytest.mark.slow  # where gcsfs, s3fs and moto are installed


@pytest.fixture(scope="module")
def amazon() -> Iterator[Any]:
    """A client of an S3 on this machine with the bucket "amazon"."""
    server, boto3 = pytest.importorskip("moto.server"), pytest.importorskip("boto3")
    pytest.importorskip("s3fs")
    store = server.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    store.start()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "any")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*store.get_host_and_port()))
        client = boto3.client("s3")
        client.create_bucket(Bucket="amazon")
        yield client
    store.stop()


def upload(cloud, folder: Path, name: str) -> str:
    """Puts the files of a folder into the bucket, and returns the address."""
    for file in folder.rglob("*"):
        if file.is_file():
            cloud.put("here", f"{name}/{file.relative_to(folder)}", file.read_bytes())
    return f"gs://here/{name}"


def without_place(records: list[dict]) -> list[dict]:
    return [{k: v for k, v in record.items() if k != "name"} for record in records]


def test_shards_in_a_bucket(cloud, tmp_path):
    folder = write_shards(tmp_path / "cc", shards=3, size=4)
    address = upload(cloud, folder, "cc")
    wanted = without_place(list(WebDataset(path=str(folder), holdout=0)))
    for shards in ("", "/{00000..00002}.tar", "/*.tar", "/0000[0-2].tar"):
        path = f"{address}{shards}"
        source = WebDataset(path=path, holdout=0)
        assert without_place(list(source)) == wanted
    assert source[5]["name"] == f"{address}/00001.tar sample 000000005"
    copy = pickle.loads(pickle.dumps(source))
    with ThreadPoolExecutor(8) as pool:
        assert without_place(list(pool.map(copy.__getitem__, range(12)))) == wanted


def test_the_index_of_a_shard_is_kept_beside_it_until_the_shard_changes(cloud, tmp_path):
    address = upload(cloud, write_shards(tmp_path / "a", shards=1, size=3), "kept")
    assert len(WebDataset(path=address, holdout=0)) == 3
    kept = "kept/00000.tar.tar_index.npz"
    generation = cloud.buckets["here"][kept][0]
    assert len(WebDataset(path=address, holdout=0)) == 3
    assert cloud.buckets["here"][kept][0] == generation
    upload(cloud, write_shards(tmp_path / "b", shards=1, size=5), "kept")
    assert len(WebDataset(path=address, holdout=0)) == 5
    assert cloud.buckets["here"][kept][0] > generation


def test_a_json_list_and_its_pictures_in_a_bucket(cloud, tmp_path):
    path = write_pairs(tmp_path, 6)
    address = upload(cloud, tmp_path, "pairs")
    here = JsonPairs(path=str(path), holdout=0)
    there = JsonPairs(path=f"{address}/pairs.json", holdout=0)
    elsewhere = JsonPairs(path=str(path), image_root=address, holdout=0)
    assert [record["captions"] for record in there] == [record["captions"] for record in here]
    for wanted, *found in zip(here, there, elsewhere):
        for record in found:
            assert record["image"] == f"{address}/{Path(wanted['image']).name}"
            assert (decode(record["image"]) == decode(wanted["image"])).all()


def test_data_in_amazon_s_bucket(amazon, tmp_path):
    write_pairs(tmp_path, 3)
    folder = write_shards(tmp_path / "cc", shards=2, size=3)
    for file in (*tmp_path.glob("*.*"), *folder.glob("*.tar")):
        amazon.put_object(Bucket="amazon", Key=f"data/{file.name}", Body=file.read_bytes())
    found = WebDataset(path="s3://amazon/data/*.tar", holdout=0)
    assert without_place(list(found)) == without_place(
        list(WebDataset(path=str(folder), holdout=0))
    )
    picture = JsonPairs(path="s3://amazon/data/pairs.json", holdout=0)[1]["image"]
    assert (decode(picture) == decode(tmp_path / "1.png")).all()
    with pytest.raises(FileNotFoundError, match='does not exist. Did you mean "pairs.json"?'):
        JsonPairs(path="s3://amazon/data/pair.json")


def test_a_spool_s_files_come_to_the_bucket(cloud, tmp_path):
    spool = Spool(bucket_path("gs://here/spool", "folder"))
    (spool.local / "deep").mkdir()
    (spool.local / "deep/file").write_text("a")
    assert "spool/deep/file" not in cloud.buckets["here"]
    spool.copy()
    assert cloud.buckets["here"]["spool/deep/file"][1] == b"a"
    (spool.local / "deep/file").write_text("b")
    spool.close()
    assert cloud.buckets["here"]["spool/deep/file"][1] == b"b" and not spool.local.exists()
    assert Spool(tmp_path / "new").local == tmp_path / "new"


MISSING = {
    "gs://here/pairs/pair.json": ' does not exist. Did you mean "pairs.json"?',
    "gs://here/none/a.json": " does not exist. The folder gs://here/none does not exist either.",
    "gs://gone/a.json": ' does not exist. There is no bucket "gone", or it is empty.',
}


@pytest.mark.parametrize(("address", "message"), MISSING.items())
def test_what_is_not_there_is_named(cloud, address, message):
    cloud.put("here", "pairs/pairs.json", b"[]")
    with pytest.raises(FileNotFoundError, match=re.escape(f"JSON file {address}{message}")):
        JsonPairs(path=address)


def test_missing_shards_and_pictures_are_named(cloud, tmp_path):
    address = upload(cloud, write_shards(tmp_path / "cc", shards=1, size=2), "few")
    with pytest.raises(FileNotFoundError, match="1 of 2 match no file, the first is gs://here/f"):
        WebDataset(path=f"{address}/{{00000..00001}}.tar")
    with pytest.raises(FileNotFoundError, match='image file "gs://here/a.png" does not exist'):
        decode("gs://here/a.png")


def test_a_bucket_that_may_not_be_read_is_named(cloud):
    calls = {
        "text gs://forbidden/a: Forbidden": lambda: read_file("gs://forbidden/a", "text"),
        "shards gs://forbidden/a.tar: Forb": lambda: WebDataset(path="gs://forbidden/a.tar"),
        '"gs://forbidden/a.png" cannot be': lambda: decode("gs://forbidden/a.png"),
    }
    for message, call in calls.items():
        with pytest.raises(ValueError, match=re.escape(message)) as caught:
            call()
        assert "\n" not in str(caught.value)
