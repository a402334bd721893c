"""Writes small tar shards in the layout of img2dataset, for the tests of this folder."""

import io
import json
import tarfile

import numpy as np

from tests.data.fakes import png


def write_tar(file, members):
    """Writes (name, bytes or text) pairs in order and returns the path as text."""
    with tarfile.open(file, "w") as tar:
        for name, content in members:
            content = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return str(file)


def sample(key, caption="a dog", rng=None, **extra):
    """Returns the three members of one sample; `extra` goes into its json file."""
    rng = rng or np.random.default_rng()
    picture = png(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8), ".jpg")
    return [(f"{key}.jpg", picture), (f"{key}.json", json.dumps(extra)), (f"{key}.txt", caption)]


def write_shards(folder, shards=3, size=4):
    """Writes shards 00000.tar, … of `size` samples with captions "caption <number>"."""
    folder.mkdir(exist_ok=True)
    for shard in range(shards):
        numbers = range(shard * size, (shard + 1) * size)
        members = [m for n in numbers for m in sample(f"{n:09d}", f"caption {n}", alt=f"alt {n}")]
        write_tar(folder / f"{shard:05d}.tar", members)
    return folder
