import pytest


@pytest.fixture(autouse=True)
def _quickly_compiled(quickly_compiled):
    """All of this folder's tests."""
