"""Numbers that TSV files hold as base64 text."""

import base64

import numpy as np

try:
    import pybase64  # uses vector instructions, some forty times as fast
except ImportError:
    pybase64 = None


def decode_array(name: str, text: bytes | memoryview | str, dtype: str, rows: int) -> np.ndarray:
    """Returns read-only numbers [rows, columns], or [rows] if there is one in each.

    Raises ValueError for damaged text and for a length that `rows` does not divide.
    """
    if rows < 1:
        raise ValueError(f"num_boxes is {rows}, expected at least 1")
    try:
        if pybase64 is not None:
            data = pybase64.b64decode(text, validate=True)
        else:
            data = base64.b64decode(text)
    except ValueError as error:
        raise ValueError(f"{name} are not whole base64 text: {error}") from None
    size = np.dtype(dtype).itemsize
    if len(data) % (size * rows) or not data:
        raise ValueError(
            f"{name} hold {len(data)} bytes, which are not {rows} rows of {dtype} numbers: the "
            "text is cut off, or num_boxes is wrong"
        )
    numbers = np.frombuffer(data, dtype).reshape(rows, -1)
    return numbers[:, 0] if numbers.shape[1] == 1 else numbers
