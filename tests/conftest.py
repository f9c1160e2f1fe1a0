"""Pictures for the programs."""

import pytest

from tests.pictures import save_pictures


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ten classes of four noisy color fields."""
    return save_pictures(tmp_path_factory.mktemp("images with spaces"), classes=10, each=4)
