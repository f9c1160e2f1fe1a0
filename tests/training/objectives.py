"""What the tests of objectives share: a batch of twelve images of three classes, spaces, objectives and gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from hypjax.config.settings import default_settings
from hypjax.encoders.model import ModelOutput
from hypjax.training.objective import create_objective
from hypjax.training.space import create_space

SETTINGS = default_settings().loss.to_dict() | {"temperature": 0.2, "strength": 1.0}
HIER = {
    "weight": 0.5,
    "proxies": 6,
    "proxies_as": "points",
    "margin": 0.1,
    "neighbors": 5,
    "triplets": 4,
    "temperature": 0.1,
    "anchor": 0.0,
}
REGULARIZERS = {"hier": HIER, "nodes": {"weight": 0.7, "decay": 0.5, "temperature": 0.2}}
REGULARIZERS["cones"] = {"weight": 1.5, "k": 0.1, "margin": 0.2}
ANCESTORS = np.array([[0, 0], [1, 0], [1, 0]])
LABELS = jnp.asarray(np.repeat(np.arange(3), 4))
DOUBT = np.linspace(0.1, 0.9, 12, dtype=np.float32)


def output(seed=0, doubt=None):
    tangent = jnp.asarray((0.5 * np.random.default_rng(seed).normal(size=(12, 5))).astype(np.float32))
    return ModelOutput(features=tangent, tangent=tangent, doubt=doubt)


def space(geometry="poincare", **options):
    chosen = {"c": 0.3, "distance": "geodesic", "uncertainty": "radius", "clip_radius": 2.3, **options}
    return create_space(geometry, **chosen)


def objective(loss, where=None, **options):
    where = where or space()
    chosen = {
        "samples_per_class": 4,
        "settings": SETTINGS,
        "regularizers": REGULARIZERS,
        "classes": 3,
        "dimension": 5,
        **options,
    }
    return create_objective(lambda params: where, loss, **chosen)


@functools.cache
def with_gradients(made):
    @jax.jit
    def run(tangent, doubt, own, memory):
        def value(tangent, doubt, own):
            says = ModelOutput(tangent, tangent, doubt)
            return made(says, LABELS, params=own, key=jax.random.key(2), memory=memory)[0]

        return jax.value_and_grad(value, argnums=(0, 1, 2))(tangent, doubt, own)

    return run


def gradients(made, *, memory=None, doubt=None):
    """Value and gradients of an objective by tangent, doubt and its own parameters."""
    own = made.initial(jax.random.key(1), 5)

    return with_gradients(made)(output().tangent, doubt, own, memory)


def assert_alive(value, grads):
    assert value > 0
    for leaf in jax.tree.leaves(grads):
        assert np.isfinite(leaf).all()
        assert np.abs(leaf).max() > 0
