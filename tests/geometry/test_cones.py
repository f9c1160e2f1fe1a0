import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax.geometry import Euclidean, Lorentz, Poincare, Sphere, cones, lorentz

K = 0.1


def ganea(x, y, c):
    """The ball's closed forms, of points scaled to c = 1: aperture of x, angle at x."""
    x, y = np.sqrt(c) * np.float64(x), np.sqrt(c) * np.float64(y)
    xx, yy, xy = np.sum(x * x, -1), np.sum(y * y, -1), np.sum(x * y, -1)
    above = xy * (1 + xx) - xx * (1 + yy)
    below = np.sqrt(xx) * np.linalg.norm(x - y, axis=-1) * np.sqrt(1 + xx * yy - 2 * xy)
    return np.arcsin(np.minimum(1, K * (1 - xx) / np.sqrt(xx))), np.arccos(np.clip(above / below, -1, 1))


def meru(x, y, c):
    """Those of the Lorentz model, of its points."""
    x, y = np.float64(x), np.float64(y)
    inner = c * (np.sum(x[..., 1:] * y[..., 1:], -1) - x[..., 0] * y[..., 0])
    space = np.linalg.norm(x[..., 1:], axis=-1)
    cosine = (y[..., 0] + x[..., 0] * inner) / (space * np.sqrt(inner**2 - 1))
    return np.arcsin(np.minimum(1, 2 * K / (np.sqrt(c) * space))), np.arccos(np.clip(cosine, -1, 1))


@jax.jit
def everything(x, y, c):
    """Aperture, angles of rows and of all pairs, in both models."""
    found = {}
    for space, points in ((Poincare(c), (x, y)), (Lorentz(c), [lorentz.from_poincare(z, c=c) for z in (x, y)])):
        angles = cones.exterior_angle(space, *points), cones.pairwise_exterior_angle(space, *points)
        found[type(space).__name__] = points, (cones.half_aperture(space, points[0], k=K), *angles)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("c", [0.1, 2.5])
def test_cones_are_those_of_the_closed_forms_in_both_models(dtype, c, ball_points):
    x, y = (ball_points(seed, 20, 3, c=c, dtype=dtype, reach=5.0) for seed in (0, 1))
    tolerance = {"float32": 2e-4, "float64": 1e-7}[dtype]  # what arccos leaves of sixteen digits near the axis
    for model, ((x_there, y_there), (aperture, angle, angles)) in everything(x, y, c).items():
        closed = {"Poincare": ganea, "Lorentz": meru}[model]
        np.testing.assert_allclose(aperture, closed(x_there, y_there, c)[0], rtol=tolerance)
        np.testing.assert_allclose(angle, closed(x_there, y_there, c)[1], atol=tolerance)
        expected = closed(np.asarray(x_there)[:, None], np.asarray(y_there)[None], c)[1]
        np.testing.assert_allclose(angles, expected, atol=tolerance)


@pytest.mark.slow
def test_the_angle_is_the_one_by_which_a_geodesic_leaves_the_axis(ball_points):
    """Also where closed forms keep no digits: next to the axis, at a millionth of a step, 9 out."""
    c = 0.5
    angles = np.array([0, 1e-6, 1e-3, 0.5, np.pi / 2, 3.0, np.pi])
    x = ball_points(3, 8, 3, c=c, dtype="float64", reach=6.0)

    @jax.jit
    def found(x, angles, length):
        space = Poincare(c)
        axis = x / jnp.linalg.norm(x, axis=1, keepdims=True)
        across = jnp.cross(axis, jnp.roll(axis, 1, axis=0))
        across /= jnp.linalg.norm(across, axis=1, keepdims=True)
        turned = angles[:, None, None]
        velocity = jnp.cos(turned) * axis[None] + jnp.sin(turned) * across[None]
        there = jnp.broadcast_to(x[None], velocity.shape)
        velocity = length * velocity / space.norm(there, velocity)[..., None]
        return cones.exterior_angle(space, there, space.expmap(there, velocity))

    with jax.enable_x64(True):
        for length, tolerance in ((1e-4, 1e-7), (1.0, 1e-8), (9.0, 1e-5)):
            expected = np.broadcast_to(angles[:, None], (len(angles), 8))
            np.testing.assert_allclose(found(np.float64(x), angles, length), expected, atol=tolerance)


@pytest.mark.slow
def test_a_cone_within_a_cone_stays_within_it():
    """Transitivity: z in the cone of y and y in that of x puts z in that of x."""
    rng, n, c = np.random.default_rng(0), 4000, 0.7
    space = Poincare(c)

    @jax.jit
    def chain(x, first, second):
        def within(x, chosen):
            """A point of the cone of x, up to its edge."""
            axis = x / jnp.linalg.norm(x, axis=1, keepdims=True)
            across = chosen["direction"] - jnp.sum(chosen["direction"] * axis, axis=1, keepdims=True) * axis
            across /= jnp.linalg.norm(across, axis=1, keepdims=True)
            angle = (chosen["share"] * cones.half_aperture(space, x))[:, None]
            velocity = jnp.cos(angle) * axis + jnp.sin(angle) * across
            return space.expmap(x, velocity * (chosen["length"] / space.norm(x, velocity))[:, None])

        y = within(x, first)
        z = within(y, second)
        return [cones.exterior_angle(space, a, b) - cones.half_aperture(space, a) for a, b in ((x, y), (y, z), (x, z))]

    def chosen():
        share = np.where(rng.uniform(size=n) < 0.5, 1.0, rng.uniform(size=n))  # half of them on the edge itself
        return {"direction": rng.normal(size=(n, 3)), "share": share, "length": rng.uniform(0.01, 4, size=n)}

    directions = rng.normal(size=(n, 3))
    tangent = directions / np.linalg.norm(directions, axis=1, keepdims=True) * rng.uniform(0.13, 2, size=(n, 1))
    with jax.enable_x64(True):
        x = space.embed(jnp.asarray(tangent))
        assert np.sinh(np.sqrt(c) * np.asarray(space.dist0(x))).min() > 2 * 0.1  # cones narrower than half-spaces
        excess = [np.asarray(one) for one in chain(x, chosen(), chosen())]
    for one in excess:
        assert one.max() < 1e-7
    assert (excess[2] < -0.01).mean() > 0.3


@pytest.mark.slow
def test_hard_points_give_finite_angles_and_gradients():
    c = 0.5
    far = np.float32([1.0, 0.0, 0.0]) / np.sqrt(c)
    x = np.float32([[0, 0, 0], [1e-30, 0, 0], [1e-6, 0, 0], [0.3, 0.1, 0], far, -far, [0.3, 0.1, 1e-3], [0.14, 0, 0]])

    @jax.jit
    def with_slopes(x, y):
        def value(x, y):
            space = Poincare(c)
            in_ball = cones.pairwise_exterior_angle(space, x, y), cones.half_aperture(space, x)
            on_sheet = [lorentz.from_poincare(z, c=c) for z in (x, y)]
            of_rows = cones.exterior_angle(Lorentz(c), on_sheet[0][:, None], on_sheet[1][None])
            return *in_ball, of_rows

        values, pull = jax.vjp(value, x, y)
        return values, [
            pull(jax.tree.map(lambda v, k=k: jnp.where(k == 0, 1, (-1.0) ** k) * jnp.ones_like(v), values))
            for k in range(2)
        ]

    (angles, apertures, rows), slopes = with_slopes(x, x)
    for leaf in jax.tree.leaves(slopes):
        assert np.isfinite(leaf).all()
    assert np.isfinite(apertures).all()
    np.testing.assert_allclose(apertures[:3], np.pi / 2, rtol=1e-6)
    np.testing.assert_array_equal(angles[:1], 0)  # all of space is in the cone of the origin
    np.testing.assert_array_equal(np.diag(angles), 0)
    np.testing.assert_allclose(angles[3, 0], np.pi, rtol=1e-6)
    np.testing.assert_allclose(angles[4, 5], np.pi, rtol=1e-6)
    np.testing.assert_allclose(rows, angles, atol=2e-3)


@pytest.mark.parametrize("space", [Euclidean(), Sphere()])
def test_flat_space_and_the_sphere_have_no_cones(space):
    with pytest.raises(ValueError, match=r"has no entailment cones; Poincare\(c\) and Lorentz\(c\) have"):
        cones.half_aperture(space, jnp.ones((2, 3)))
