import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax.geometry import Euclidean, Lorentz, Poincare, Product, Sphere


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Poincare(0.7), Lorentz(0.7), Euclidean()])
def test_the_squared_sum_is_that_of_the_distance_and_smooth_in_each_component(kind):
    with jax.enable_x64(True):
        space = Product((kind, Sphere()), (3, 2), (0.5, 2.0), combine="sum")
        rng = np.random.default_rng(0)
        x, y = (space.embed(jnp.asarray(rng.normal(size=5))) for _ in range(2))
        np.testing.assert_allclose(space.sqdist(x, y), space.dist(x, y) ** 2, rtol=1e-12)

        # Where one component moves away from x the square is w² d²: its second derivative tells of the metric.
        parts = space.split(x)
        for k, (manifold, weight) in enumerate(zip(space.manifolds, (0.5, 2.0), strict=True)):
            v = manifold.project_tangent(parts[k], jnp.asarray(rng.normal(size=parts[k].shape)))

            def moved(t, k=k, manifold=manifold, v=v):
                return space.sqdist(
                    x, jnp.concatenate([*parts[:k], manifold.retract(parts[k], t * v), *parts[k + 1 :]])
                )

            second = jax.jit(jax.hessian(moved))(0.0)
            np.testing.assert_allclose(second, 2 * weight**2 * manifold.inner(parts[k], v, v), rtol=1e-8)
        slope = jax.jit(jax.grad(lambda y: space.sqdist(x, y)))(x)
        np.testing.assert_allclose(slope, np.zeros_like(x), atol=1e-12)
