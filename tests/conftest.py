import contextlib

import pytest

from tests import compiling


@pytest.fixture
def quickly_compiled(request):
    """For tests that compile more than they compute, unless marked as being about what the compiler makes."""
    fully = request.node.get_closest_marker("fully_compiled")
    with contextlib.nullcontext() if fully else compiling.quickly():
        yield
