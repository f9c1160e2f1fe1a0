import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax.encoders.head import Head
from hypjax.encoders.model import EmbeddingModel, calibrate_head

FEATURES = jnp.asarray(np.random.default_rng(0).random((40, 12), np.float32))


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
    np.testing.assert_allclose(np.linalg.norm(output.tangent, axis=1), 1.0, rtol=1e-5)


@pytest.mark.slow
def test_the_radius_is_the_certainty():
    made = model((0.5, 1.5))
    variables = fitted(made)
    variables["params"]["doubt"]["kernel"] = np.random.default_rng(2).normal(size=(12, 1)).astype(np.float32)
    output = made.apply(variables, FEATURES, method="project")
    assert np.std(output.doubt) > 0.1
    np.testing.assert_allclose(np.linalg.norm(output.tangent, axis=1), 1.5 - output.doubt, rtol=1e-5)


@pytest.mark.slow
def test_without_a_range_the_radius_is_the_heads_own():
    plain, doubtful = model(doubt=False), model()
    alone = plain.apply(fitted(plain), FEATURES, method="project")
    beside = doubtful.apply(fitted(doubtful), FEATURES, method="project")
    assert alone.doubt is None
    np.testing.assert_allclose(np.linalg.norm(alone.tangent, axis=1).mean(), 1.0, rtol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(beside.tangent, axis=1).mean(), 1.0, rtol=1e-3)


@functools.partial(jax.jit, static_argnums=0)
def doubt_and_slope(model, variables, features):
    def doubt(features):
        return model.apply(variables, features, method="project").doubt.sum()

    return jax.value_and_grad(doubt)(features)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_doubt_reads_the_features_and_moves_them_by_its_share(share):
    made = model((0.5, 1.5)).clone(doubt_gradient=share)
    variables = fitted(made)
    variables["params"]["doubt"]["kernel"] = np.ones((12, 1), np.float32)
    value, slope = doubt_and_slope(made, variables, FEATURES)
    undivided, whole = doubt_and_slope(made.clone(doubt_gradient=1.0), variables, FEATURES)
    assert np.abs(whole).max() > 0
    np.testing.assert_allclose(slope, share * np.asarray(whole), rtol=1e-5)
    np.testing.assert_allclose(value, undivided, rtol=1e-6)
