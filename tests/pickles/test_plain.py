"""Plain data and numpy values are read as pickle reads them; nothing else is."""

import pickle
from collections import OrderedDict

import numpy as np
import pytest

from vlp_jax.pickles import read_pickle
from vlp_jax.pickles.safety import Opaque


class Persistent(pickle.Pickler):
    def persistent_id(self, value):
        return "outside" if value == "me" else None


@pytest.mark.parametrize("protocol", range(6))
def test_like_pickle(protocol):
    rng = np.random.default_rng()
    rows = OrderedDict(image_h="480", n=36, boxes=rng.standard_normal((3, 4)).astype(np.float32))
    moved = [rows["boxes"].T, rng.random((2, 3, 4)).transpose(1, 0, 2), rng.random((0, 4))]
    read = read_pickle(pickle.dumps([rows, b"text", moved, np.float32(0.5)], protocol))
    assert read[0]["image_h"] == "480" and read[0]["n"] == 36 and read[1] == b"text"
    np.testing.assert_array_equal(read[0]["boxes"], rows["boxes"])
    for found, wanted in zip(read[2], moved):
        np.testing.assert_array_equal(found, wanted)
    assert read[3] == np.float32(0.5)


def test_other_classes_are_only_names():
    import fractions

    read = read_pickle(pickle.dumps({"x": fractions.Fraction(1, 2)}))
    assert isinstance(read["x"], Opaque) and read["x"].name == "Fraction"


def test_code_is_refused():
    with pytest.raises(ValueError, match="could run code on this machine"):
        read_pickle(b"cos\nsystem\n(S'true'\ntR.")


def test_references_to_the_outside_are_refused():
    import io

    stream = io.BytesIO()
    Persistent(stream, 4).dump(["me"])
    with pytest.raises(ValueError, match="refers to an object outside of itself"):
        read_pickle(stream.getvalue())
