"""Files that people give by mistake, or to do harm."""

import struct
import zlib
from pathlib import Path

import numpy as np


def write_bomb(path: Path, side: int = 10_000) -> Path:
    """Writes a PNG that says it has side x side pixels and holds none of them."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = {b"IHDR": header, b"IDAT": zlib.compress(bytes(64)), b"IEND": b""}
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts.items()
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    return path


def write_regions(path: Path, width: int, height: int, feature_width: int = 12) -> Path:
    """Writes features of two regions of a picture of that size."""
    boxes = np.float32([[0, 0, width / 2, height], [width / 2, 0, width, height]])
    features = np.ones((2, feature_width), np.float32)
    np.savez(path, features=features, boxes=boxes, image_w=width, image_h=height)
    return path
