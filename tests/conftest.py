import jax
import pytest


@pytest.fixture
def quickly_compiled():
    """For tests that compile more than they compute."""
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
