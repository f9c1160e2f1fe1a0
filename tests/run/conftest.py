"""Addresses on storage without a network (`tests/storage.py`)."""

import pytest

from hypjax.run.lease import Lease
from tests import storage


@pytest.fixture
def objects(tmp_path, monkeypatch):
    monkeypatch.setitem(Lease.__init__.__kwdefaults__, "settles", 0.0)
    return storage.install(tmp_path / "objects", monkeypatch)
