import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax.encoders.head import Head
from hypjax.encoders.model import EmbeddingModel, calibrate_head

FEATURES = jax.random.uniform(jax.random.key(0), (40, 12))


def model(radius_range=None, doubt=True):
    return EmbeddingModel(
        encoder=Head(dim=12, clip="none"),  # stands for an encoder; `project` does not call it
        head=Head(dim=5, normalize="standardize", clip_radius=2.0),
        doubt=Head(dim=1, normalize="standardize", clip="none") if doubt else None,
        radius_range=radius_range,
    )


def fitted(made):
    variables = made.init_with_output(jax.random.key(1), FEATURES, method="project")[1]
    return calibrate_head(made, dict(variables), FEATURES)


@pytest.mark.slow
def test_every_doubt_starts_undecided():
    made = model((0.5, 1.5))
    output = made.apply(fitted(made), FEATURES, method="project")
    np.testing.assert_allclose(output.doubt, 0.5)
    np.testing.assert_allclose(jnp.linalg.norm(output.tangent, axis=1), 1.0, rtol=1e-5)


@pytest.mark.slow
def test_the_radius_is_the_certainty():
    made = model((0.5, 1.5))
    variables = fitted(made)
    variables["params"]["doubt"]["kernel"] = jax.random.normal(jax.random.key(2), (12, 1))
    output = made.apply(variables, FEATURES, method="project")
    assert output.doubt.std() > 0.1
    np.testing.assert_allclose(jnp.linalg.norm(output.tangent, axis=1), 1.5 - output.doubt, rtol=1e-5)


@pytest.mark.slow
def test_without_a_range_the_radius_is_the_heads_own():
    plain, doubtful = model(doubt=False), model()
    alone = plain.apply(fitted(plain), FEATURES, method="project")
    beside = doubtful.apply(fitted(doubtful), FEATURES, method="project")
    assert alone.doubt is None
    np.testing.assert_allclose(jnp.linalg.norm(alone.tangent, axis=1).mean(), 1.0, rtol=1e-3)
    np.testing.assert_allclose(jnp.linalg.norm(beside.tangent, axis=1).mean(), 1.0, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_doubt_reads_the_features_and_moves_them_by_its_share(share):
    made = model((0.5, 1.5)).clone(doubt_gradient=share)
    variables = fitted(made)
    variables["params"]["doubt"]["kernel"] = jnp.ones((12, 1))

    def doubt(features, model=made):
        return model.apply(variables, features, method="project").doubt.sum()

    whole = jax.grad(doubt)(FEATURES, made.clone(doubt_gradient=1.0))
    assert np.abs(whole).max() > 0
    np.testing.assert_allclose(jax.grad(doubt)(FEATURES), share * whole, rtol=1e-5)
    np.testing.assert_allclose(doubt(FEATURES), doubt(FEATURES, made.clone(doubt_gradient=1.0)), rtol=1e-6)
