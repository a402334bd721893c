"""A pickle-sized read window over a large memory-mapped file."""

import numpy as np

# The tensors lie outside the pickle, so a checkpoint's pickle is a few megabytes at most.
MAX_PICKLE_BYTES = 64 * 2**20


class ByteWindow:
    """A binary stream over uint8 [N] from `start` on that ends after `MAX_PICKLE_BYTES`."""

    def __init__(self, data: np.ndarray, start: int):
        self.view = memoryview(data)[start : start + MAX_PICKLE_BYTES]
        self.start = start
        self.position = 0

    def tell(self) -> int:
        """Returns the position in the whole file."""
        return self.start + self.position

    def read(self, size: int) -> bytes:
        """Returns up to `size` bytes."""
        content = bytes(self.view[self.position : self.position + max(size, 0)])
        self.position += len(content)
        return content

    def readline(self) -> bytes:
        """Returns the bytes up to and including the next newline, or up to the end."""
        end = self.position
        while end < len(self.view):
            block = bytes(self.view[end : end + 4096])
            newline = block.find(b"\n")
            if newline >= 0:
                return self.read(end + newline + 1 - self.position)
            end += len(block)
        return self.read(len(self.view))
