"""A folder of pictures as it is now: files may come, change and go while the page is served."""

from pathlib import Path

from vlp_jax.data.paths import existing_path
from vlp_jax.inference import ImageIndex, Model
from vlp_jax.inference.index import picture_stamps


class Album:
    """A folder whose index is made anew once its pictures are no longer the same.

    Raises FileNotFoundError for no folder, ValueError for one without pictures.
    """

    def __init__(self, folder: str | Path, index: str | Path | None = None):
        self.folder = existing_path(folder, "the folder of pictures")
        picture_stamps(self.folder)
        self._file = index
        self._known: tuple[dict, ImageIndex] | None = None

    def index(self, model: Model) -> ImageIndex:
        """Returns the index of the pictures there now; ValueError where there are none."""
        stamps = picture_stamps(self.folder)
        if self._known is None or self._known[0] != stamps:
            self._known = stamps, ImageIndex(model, self.folder, self._file)
        return self._known[1]
