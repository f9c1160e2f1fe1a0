import jax
import pytest


@pytest.fixture
def quickly_compiled(request):
    """For tests that compile more than they compute, unless marked as being about what the compiler makes."""
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", not request.node.get_closest_marker("fully_compiled"))
    yield
    jax.config.update("jax_disable_most_optimizations", before)
