from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax.encoders.head import Head, calibrate, clip_norm

R = 2.3


def sample(n=200, f=24, seed=0):
    """Features as an encoder gives them: not negative, correlated, of very unlike deviations, one of them dead."""
    generator = np.random.default_rng(seed)
    x = np.maximum(generator.normal(size=(n, f)) @ generator.normal(size=(f, f)), 0)
    x *= np.geomspace(0.1, 10, f)[None, :]
    x[:, 3] = 0
    return jnp.asarray(x.astype(np.float32))


def fitted(features, **settings):
    head = Head(**{"dim": 8, **settings})
    _, variables = head.init_with_output(jax.random.key(0), features)
    return head, calibrate(head, variables, features)


def lengths(head, variables, features):
    return np.linalg.norm(head.apply(variables, features), axis=1)


clip = jax.jit(clip_norm, static_argnames=("radius", "kind"))


@partial(jax.jit, static_argnames=("radius", "kind"))
def clip_jacobian(v, *, radius, kind):
    return jax.jacobian(lambda v: clip_norm(v, radius=radius, kind=kind))(v)


def test_clip_by_value():
    v = np.array([[0.3, 0.4], [3.0, 4.0], [300.0, 400.0], [0.0, 0.0]])
    norms = np.array([0.5, 5.0, 500.0])
    directions = v[:3] / norms[:, None]
    clipped = {kind: np.asarray(clip(v.astype(np.float32), radius=R, kind=kind)) for kind in ("soft", "hard", "none")}
    np.testing.assert_allclose(clipped["soft"][:3], directions * R * np.tanh(norms / R)[:, None], rtol=1e-6)
    np.testing.assert_allclose(clipped["hard"][:3], directions * np.minimum(norms, R)[:, None], rtol=1e-6)
    np.testing.assert_array_equal(clipped["none"], v.astype(np.float32))
    assert all((c[3] == 0).all() for c in clipped.values())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["soft", "hard", "none"])
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-8, 1.0, R, 50.0, 1e15])
def test_clip_gradients_are_finite(kind, size):
    v = np.full((1, 4), size / 2, np.float32)
    jacobian = clip_jacobian(v, radius=R, kind=kind)
    assert np.isfinite(jacobian).all()
    if size < 1e-7:  # the identity, near the origin
        np.testing.assert_allclose(np.asarray(jacobian)[0, :, 0], np.eye(4), atol=1e-6)


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_clip_gradients_against_differences(kind):
    v, u, step = np.array([[0.9, -0.4, 0.2, 0.0]]), np.array([[0.3, 0.5, -0.7, 0.1]]), 1e-2
    slope = np.asarray(clip_jacobian(v.astype(np.float32), radius=0.8, kind=kind))[0, :, 0] @ u[0]
    ends = [np.asarray(clip((v + s * step * u).astype(np.float32), radius=0.8, kind=kind)) for s in (1, -1)]
    np.testing.assert_allclose(slope, (ends[0] - ends[1])[0] / (2 * step), atol=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("clip", "normalize", "init"),
    [
        ("soft", "standardize", "orthogonal"),
        pytest.param("soft", "none", "pca", marks=pytest.mark.slow),
        pytest.param("hard", "none", "orthogonal", marks=pytest.mark.slow),
        pytest.param("none", "layer", "orthogonal", marks=pytest.mark.slow),
    ],
)
def test_training_starts_at_the_start_radius(clip, normalize, init):
    features = sample()
    for start in (None, 0.7):
        head, variables = fitted(features, clip=clip, normalize=normalize, kernel_init=init, start_radius=start)
        norms = lengths(head, variables, features)
        assert float(norms.mean()) == pytest.approx(start or R / 2, rel=1e-4)
        assert clip == "none" or float(norms.max()) <= R * (1 + 1e-6)


@pytest.mark.slow
def test_calibrated_kernels_are_orthogonal_up_to_scale():
    for init in ("orthogonal", "pca"):
        _, variables = fitted(sample(), kernel_init=init, normalize="standardize")
        kernel = np.asarray(variables["params"]["kernel"])
        gram = kernel.T @ kernel
        np.testing.assert_allclose(gram / gram[0, 0], np.eye(8), atol=1e-4)
        np.testing.assert_array_equal(variables["params"]["bias"], 0)


@pytest.mark.slow
def test_statistics_are_those_of_the_sample_with_a_floor():
    features = sample()
    _, variables = fitted(features, normalize="standardize")
    exact = np.asarray(features, np.float64)
    statistics = variables["statistics"]
    np.testing.assert_allclose(statistics["mean"], exact.mean(0), rtol=1e-4, atol=1e-6)
    floor = 0.1 * exact.std(0).mean()
    assert exact.std(0).min() < floor < exact.std(0).max()
    np.testing.assert_allclose(statistics["std"], np.maximum(exact.std(0), floor), rtol=1e-4)


@pytest.mark.slow
def test_pca_keeps_more_of_the_sample_than_chance():
    features = sample()
    kept = {}
    for init in ("orthogonal", "pca"):
        _, variables = fitted(features, kernel_init=init, clip="none", start_radius=1.0, normalize="standardize")
        statistics, kernel = jax.tree.map(np.asarray, (variables["statistics"], variables["params"]["kernel"]))
        x = (np.asarray(features) - statistics["mean"]) / statistics["std"]
        kept[init] = np.square(x @ kernel / np.linalg.norm(kernel[:, 0])).sum() / np.square(x).sum()
        centered = np.asarray(x, np.float64)
        best = np.linalg.svd(centered - centered.mean(0), compute_uv=False)
    assert kept["pca"] == pytest.approx((best[:8] ** 2).sum() / (best**2).sum(), rel=1e-3)
    assert kept["pca"] > kept["orthogonal"] + 0.1


@pytest.mark.slow
def test_standardizing_keeps_the_lengths_that_layer_norm_levels():
    features = jnp.asarray(sample() * np.linspace(0.2, 2, 200, dtype=np.float32)[:, None])
    spread = {}
    for normalize in ("layer", "standardize"):
        head, variables = fitted(features, normalize=normalize, dim=24)
        norms = lengths(head, variables, features)
        spread[normalize] = float(norms.std() / norms.mean())
    assert spread["standardize"] > 2 * spread["layer"]


def test_centering_takes_the_mean_off_and_leaves_deviations():
    features = sample()
    head, variables = fitted(features, normalize="center", clip="none", start_radius=1.0)
    exact = np.asarray(features, np.float64)
    np.testing.assert_allclose(variables["statistics"]["mean"], exact.mean(0), rtol=1e-4, atol=1e-6)
    expected = (exact - exact.mean(0)) @ np.asarray(variables["params"]["kernel"], np.float64)
    np.testing.assert_allclose(head.apply(variables, features), expected, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 3])
def test_a_residual_starts_at_nothing_and_is_added_to_the_kernel(rank):
    features = sample()
    plain, held = fitted(features, kernel_init="pca")
    head, variables = fitted(features, kernel_init="pca", kernel="residual", rank=rank)
    np.testing.assert_allclose(head.apply(variables, features), plain.apply(held, features), rtol=1e-5, atol=1e-6)
    params = dict(variables["params"])
    assert params.keys() == {"kernel", "bias", *(("down", "up") if rank else ("residual",))}
    change = np.random.default_rng(1).normal(size=(rank or 24, 8)).astype(np.float32)
    params["up" if rank else "residual"] = change
    whole = np.asarray(params["kernel"]) + (np.asarray(params["down"]) @ change if rank else change)
    moved = plain.apply({"params": {"kernel": whole, "bias": params["bias"]}}, features)
    np.testing.assert_allclose(head.apply({"params": params}, features), moved, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_an_orthogonal_kernel_turns_and_scales_nothing():
    features = sample()
    head, variables = fitted(features, kernel="orthogonal", clip="none", start_radius=1.0)
    plain, held = fitted(features, clip="none", start_radius=1.0)
    np.testing.assert_allclose(head.apply(variables, features), plain.apply(held, features), rtol=1e-4, atol=1e-5)
    kernel = np.asarray(variables["params"]["kernel"])
    kernel = kernel + 0.3 * kernel.std() * np.random.default_rng(5).normal(size=kernel.shape).astype(np.float32)

    def applied(kernel, features):
        return head.apply({"params": {"kernel": kernel, "bias": jnp.zeros(8)}}, features)

    effective = np.asarray(jax.jit(applied)(kernel, np.eye(24, dtype=np.float32)))
    gram = effective.T @ effective
    np.testing.assert_allclose(gram, np.eye(8) * np.square(kernel).sum() / 8, atol=1e-4 * gram[0, 0])
    slope = jax.jit(jax.grad(lambda kernel: applied(kernel, features).sum()))(kernel)
    assert np.isfinite(slope).all()


def test_what_is_kept_is_named():
    kept = {kind: Head(kernel=kind).kept_parameters() for kind in ("kept", "trained", "orthogonal", "residual")}
    assert kept == {"kept": ("kernel", "bias"), "trained": (), "orthogonal": (), "residual": ("kernel",)}


def test_dropout_only_while_training():
    features = sample()
    head, variables = fitted(features, dropout=0.5)
    y = head.apply(variables, features)
    np.testing.assert_array_equal(y, fitted(features)[0].apply(variables, features))
    dropped = [head.apply(variables, features, train=True, rngs={"dropout": jax.random.key(s)}) for s in (0, 0, 1)]
    np.testing.assert_array_equal(dropped[0], dropped[1])
    assert not np.array_equal(dropped[0], dropped[2])
    assert not np.array_equal(dropped[0], y)


def test_bfloat16_features_come_out_as_float32_and_jit_agrees():
    features = sample().astype(jnp.bfloat16)
    head, variables = fitted(features, normalize="standardize")
    y = head.apply(variables, features)
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(jax.jit(head.apply)(variables, features), y, atol=1e-6)


def test_statistics_carry_no_gradient_and_parameters_do():
    features = sample()
    head, variables = fitted(features, normalize="standardize")
    slope = jax.jit(jax.grad(lambda p: jnp.sin(head.apply({**variables, "params": p}, features)).sum()))
    gradient = slope(variables["params"])
    assert gradient.keys() == {"kernel", "bias"}
    assert all(np.isfinite(g).all() and np.abs(g).max() > 0 for g in gradient.values())


@pytest.mark.slow
def test_constant_features_do_not_break_calibration():
    features = jnp.asarray(np.ones_like(sample()))
    head, variables = fitted(features, normalize="standardize")
    assert np.isfinite(head.apply(variables, features)).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clip": "softly"}, "clip must be one of soft, hard, none, got 'softly'"),
        ({"clip_radius": 0.0}, "clip_radius must be positive, got 0.0"),
        ({"normalize": "batch"}, "normalize must be one of none, layer, center, standardize"),
        ({"kernel_init": "zeros"}, "kernel_init must be one of orthogonal, pca"),
        ({"kernel": "frozen"}, "kernel must be one of kept, trained, orthogonal, residual, got 'frozen'"),
        ({"rank": -1}, "rank must be positive, or 0 for a residual of full rank, got -1"),
        ({"start_radius": 2.5}, "start_radius must lie between 0 and 2.3, got 2.5"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        Head(**settings)


@pytest.mark.slow
def test_pca_needs_enough_features():
    with pytest.raises(ValueError, match="at most 24 dimensions"):
        fitted(sample(), kernel_init="pca", dim=25)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["orthogonal", "residual"])
def test_a_head_of_several_spaces_is_one_of_each_side_by_side(kernel):
    features = sample()
    whole, variables = fitted(features, shares=(5, 3), kernel_init="pca", kernel=kernel, rank=2, start_radius=0.7)
    parts = [fitted(features, dim=d, kernel_init="pca", kernel=kernel, rank=2, start_radius=0.7) for d in (5, 3)]
    each = [fit["params"] for _, fit in parts]
    assert {name: value.ndim for name, value in variables["params"].items()} == {n: v.ndim for n, v in each[0].items()}
    params = {name: jnp.concatenate([one[name] for one in each], axis=-1) for name in each[0]}
    for name in {"kernel", "bias"}:
        np.testing.assert_allclose(variables["params"][name], params[name], rtol=1e-4, atol=1e-6)
    if kernel == "residual":  # let it be more than the nothing that it starts as
        params |= {"up": jnp.ones((2, 8)), "down": variables["params"]["down"]}
        halves = jnp.split(params["down"], 2, axis=1)
        each = [one | {"up": jnp.ones((2, d)), "down": down} for one, d, down in zip(each, (5, 3), halves, strict=True)]
    expected = [head.apply({"params": own}, features) for (head, _), own in zip(parts, each, strict=True)]
    np.testing.assert_allclose(whole.apply({"params": params}, features), np.concatenate(expected, axis=1), atol=1e-5)
    with pytest.raises(ValueError, match="shares must be positive and add up to dim 8"):
        Head(dim=8, shares=(5, 4))
