import jax
import pytest


@pytest.fixture(autouse=True)
def quickly_compiled():
    """These tests compile more than they compute."""
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
