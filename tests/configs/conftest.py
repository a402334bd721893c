"""What several tests of the shipped configs share."""

import pytest

from tests.configs.published_files import write_all


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with made files in the published forms."""
    folder = tmp_path_factory.mktemp("published")
    write_all(folder)
    return folder
