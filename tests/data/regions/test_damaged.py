"""Files of every format, damaged at random, are read or refused; nothing else is raised."""

import itertools

import numpy as np
import pytest

from tests.data.damage import TIMES, damaged
from tests.data.regions.pictures import random_pictures
from tests.data.regions.test_formats import FORMATS
from vlp_jax.data.kept_arrays import is_kept
from vlp_jax.data.regions import open_regions
from vlp_jax.data.regions.convert import check, convert


def converted(folder, pictures):
    """Writes what `data convert` makes of an LXMERT file."""
    write = next(write for write in FORMATS if write.__name__ == "lxmert")
    (folder / "from").mkdir()
    kind, path, _, expected = write(folder / "from", pictures)
    convert(open_regions(kind, str(path)), folder / "to")
    return "array_record", folder / "to", {}, expected


def files_of(path):
    found = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return [file for file in found if not is_kept(file) and file.name != "lock.mdb"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("write", [*FORMATS, converted], ids=lambda write: write.__name__)
def test_damaged_files_are_read_or_refused(tmp_path, write):
    rng = np.random.default_rng()
    kind, path, options, _ = write(tmp_path, random_pictures(4))
    whole = {file: file.read_bytes() for file in files_of(path)}
    outcomes = set()
    for file in itertools.islice(itertools.cycle(whole), 60 * TIMES):
        file.unlink()  # another file, so that none that is mapped changes
        file.write_bytes(damaged(whole[file], rng))
        try:
            found = check(open_regions(kind, str(path), **options))
            outcomes.add("refused" if found.problems else "read")
        except (ValueError, FileNotFoundError) as error:
            outcomes.add("refused")
            assert len(str(error)) < 900, error
        file.unlink()  # libraries may have kept the damaged one open
        file.write_bytes(whole[file])
    assert "refused" in outcomes
    assert not check(open_regions(kind, str(path), **options)).problems
