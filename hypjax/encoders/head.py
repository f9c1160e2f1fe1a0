"""The head: encoder features to tangent vectors at the origin, of a length that can carry certainty."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from hypjax.encoders.discriminant import Scatter, discriminant_directions
from hypjax.geometry import numerics

CLIPS = ("soft", "hard", "none")
NORMALIZATIONS = ("none", "layer", "center", "standardize")
INITS = ("orthogonal", "pca")
KERNELS = ("kept", "trained", "orthogonal", "residual")
# A feature that hardly varies in the sample would be blown up by its own small deviation.
_STD_FLOOR = 0.1


def clip_norm(v: Float[Array, "n d"], *, radius: float, kind: str = "soft") -> Float[Array, "n d"]:
    """Tangent vectors held to a length.

        soft: v · r·tanh(‖v‖/r)/‖v‖        hard: v · min(1, r/‖v‖)        none: v

    The soft form increases strictly with ‖v‖, so the order of lengths survives it; the hard one is Hyp-ViT's. Both
    are finite, with finite gradients, at 0.

    Args:
        v: Tangent vectors at the origin.
        radius: r > 0.
        kind: "soft", "hard" or "none".

    Raises:
        ValueError: For an unknown kind or a radius that is not positive.

    Example:
        >>> v = jnp.array([[0.3, 0.4], [30.0, 40.0], [0.0, 0.0]])
        >>> [round(float(norm), 3) for norm in jnp.linalg.norm(clip_norm(v, radius=2.0), axis=1)]
        [0.49, 2.0, 0.0]
    """
    _check_clip(radius, kind)
    if kind == "soft":
        return v * numerics.tanhc(numerics.safe_norm(v) / radius)[:, None]
    return v if kind == "none" else numerics.limit_norm(v, jnp.asarray(radius, v.dtype))


def _check_clip(radius: float, kind: str) -> None:
    if kind not in CLIPS:
        raise ValueError(f"clip must be one of {', '.join(CLIPS)}, got {kind!r}")
    if not radius > 0:
        raise ValueError(f"clip_radius must be positive, got {radius}")


class Head(nn.Module):
    """A linear map of features to tangent vectors at the origin, clipped: [n, features] → [n, dim], float32.

    Normalizing each sample (`layer`) makes all vectors about equally long and so takes away what is to carry
    certainty; normalizing each feature over the data (`standardize`) keeps it and conditions the map as well.

    A kernel that is trained fits the training classes and forgets what tells others apart. The other kinds hold on to
    the directions that `calibrate` found: `kept` leaves all learning to the encoder below, `orthogonal` turns them
    but scales none, and `residual` adds to them a map that starts at zero, K + ΔK or, of rank r, K + A B.

    Where several spaces share the dimensions out, each has a map of its own, which is a block of the kernel's columns
    with directions, length and clip of its own: what is said below of the kernel and of a vector holds for each.

    Attributes:
        dim: d, dimensions out.
        clip_radius: r, the length that no vector exceeds.
        clip: "soft", "hard" or "none", see `clip_norm`.
        normalize: "none"; "layer", of each sample, learned; or, by what `calibrate` measured (collection `statistics`,
            not trained), "center", the mean of each feature taken off, or "standardize", also divided by its deviation.
        kernel_init: Kernel that `calibrate` leaves: "orthogonal", random; or "pca", the principal directions of the
            sample, which keep the neighbors that the features have [ours].
        kernel: What training does to it: "kept", "trained", "orthogonal" or "residual" [ours]. Whoever trains leaves
            the parameters out that `kept_parameters` names.
        rank: r of the residual; 0 for one of full rank.
        dropout: Share of features dropped in training (rng `dropout`).
        start_radius: Mean length that `calibrate` sets; r/2 where None.
        shares: Dimensions of each of several spaces, which add up to d; empty for one space.

    Raises:
        ValueError: For an unknown clip, normalization, init or kernel, a negative rank, a start radius beyond the clip,
            or shares that do not add up to d.

    Source: orthogonal kernel, zero bias and hard clip are Hyp-ViT's (Ermolov et al., CVPR 2022).
    """

    dim: int = 128
    clip_radius: float = 2.3
    clip: str = "soft"
    normalize: str = "none"
    kernel_init: str = "orthogonal"
    kernel: str = "trained"
    rank: int = 0
    dropout: float = 0.0
    start_radius: float | None = None
    shares: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Checks the settings once, where they are made."""
        if self.normalize not in NORMALIZATIONS:
            raise ValueError(f"normalize must be one of {', '.join(NORMALIZATIONS)}, got {self.normalize!r}")
        if self.kernel_init not in INITS:
            raise ValueError(f"kernel_init must be one of {', '.join(INITS)}, got {self.kernel_init!r}")
        if self.kernel not in KERNELS:
            raise ValueError(f"kernel must be one of {', '.join(KERNELS)}, got {self.kernel!r}")
        if self.rank < 0:
            raise ValueError(f"rank must be positive, or 0 for a residual of full rank, got {self.rank}")
        _check_clip(self.clip_radius, self.clip)
        limit = float("inf") if self.clip == "none" else self.clip_radius
        if self.start_radius is not None and not 0 < self.start_radius < limit:
            raise ValueError(f"start_radius must lie between 0 and {limit}, got {self.start_radius}")
        if self.shares and (sum(self.shares) != self.dim or min(self.shares) < 1):
            raise ValueError(f"shares must be positive and add up to dim {self.dim}, got {self.shares}")
        super().__post_init__()

    @nn.compact
    def __call__(self, features: Float[Array, "n f"], train: bool = False) -> Float[Array, "n d"]:
        """Maps features to clipped tangent vectors at the origin."""
        x = features.astype(jnp.float32)
        if self.normalize in ("center", "standardize"):
            x = x - self.variable("statistics", "mean", jnp.zeros, x.shape[1:]).value[None]
            if self.normalize == "standardize":
                x = x / self.variable("statistics", "std", jnp.ones, x.shape[1:]).value[None]
        elif self.normalize == "layer":
            x = nn.LayerNorm(epsilon=1e-6, name="norm")(x)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        kernel = self.param("kernel", nn.initializers.orthogonal(), (x.shape[1], self.dim))
        bias = self.param("bias", nn.initializers.zeros, (self.dim,))
        if self.kernel == "orthogonal":
            kernel = jnp.concatenate([_orthogonalized(block) for block in self.blocks(kernel)], axis=1)
        y = numerics.matmul(x, kernel)
        if self.kernel == "residual":
            y = y + self._residual(x)
        clipped = [clip_norm(v, radius=self.clip_radius, kind=self.clip) for v in self.blocks(y + bias[None])]
        return jnp.concatenate(clipped, axis=1)

    def _residual(self, x: Array) -> Array:
        if not self.rank:
            return numerics.matmul(x, self.param("residual", nn.initializers.zeros, (x.shape[1], self.dim)))
        maps = len(self.shares) or 1
        down = self.param("down", nn.initializers.lecun_normal(), (x.shape[1], maps * self.rank))
        up = self.param("up", nn.initializers.zeros, (self.rank, self.dim))
        lower = jnp.split(numerics.matmul(x, down), maps, axis=1)
        parts = zip(lower, self.blocks(up), strict=True)
        return jnp.concatenate([numerics.matmul(low, block) for low, block in parts], axis=1)

    def blocks(self, columns: Float[Array | np.ndarray, "n d"]) -> list[Array]:
        """What of these columns, of the kernel or of vectors, is each space's."""
        edges = [sum(self.shares[:k]) for k in range(1, len(self.shares))]
        return jnp.split(columns, edges, axis=-1)

    def kept_parameters(self) -> tuple[str, ...]:
        """The parameters that training leaves as `calibrate` made them."""
        return {"kept": ("kernel", "bias"), "residual": ("kernel",)}.get(self.kernel, ())


def _orthogonalized(kernel: Array) -> Array:
    """The kernel's columns made orthogonal, of one length: Q R = K, and Q times the root mean square of theirs."""
    scale = jnp.sqrt(jnp.square(kernel).sum() / kernel.shape[1])
    # By Cholesky, whose gradient is cheap; the columns start orthogonal and an optimizer moves them little.
    factor = jnp.linalg.cholesky(numerics.matmul(kernel.T, kernel))
    return scale * jax.scipy.linalg.solve_triangular(factor, kernel.T, lower=True).T


def refit(
    head: Head, variables: dict[str, Any], features: Float[Array, "n f"], scatter: Scatter, *, shrinkage: float
) -> dict[str, Any]:
    """Fits a head anew to features that have changed since: its kernel to their discriminant directions, centered.

    Clip and scale stay: the mean length of the clipped vectors is the same after it as before.

    Args:
        head: The head, which divides features by nothing itself.
        variables: Its variables.
        features: A sample of the features, for the scale.
        scatter: Of all of them, with their classes.
        shrinkage: See `discriminant_directions`.

    Returns:
        New variables; the given ones are left alone.

    Raises:
        ValueError: If the head normalizes otherwise than by centering, or as `discriminant_directions` does.
    """
    if head.normalize not in ("none", "center") or head.kernel not in ("kept", "trained"):
        raise ValueError(
            f"a head with normalize {head.normalize!r} and kernel {head.kernel!r} cannot be fitted anew: it must be "
            "'none' or 'center', and 'kept' or 'trained'"
        )
    shares = head.shares or (head.dim,)
    directions = discriminant_directions(scatter, max(shares), shrinkage=shrinkage)
    kernel = np.concatenate([directions[:, :share] for share in shares], axis=1)
    taken_off = np.asarray(variables["statistics"]["mean"]) if head.normalize == "center" else 0
    bias = (taken_off - scatter.mean) @ kernel
    features = jnp.asarray(features, jnp.float32)
    lengths = [norms.mean() for norms in _norms(head, variables, features)]
    params = {**variables["params"], "kernel": jnp.asarray(kernel, jnp.float32), "bias": jnp.asarray(bias, jnp.float32)}
    factor = _factors(head, {**variables, "params": params}, features, lengths)
    params |= {"kernel": params["kernel"] * factor[None], "bias": params["bias"] * factor}
    return {**variables, "params": params}


def calibrate(head: Head, variables: dict[str, Any], features: Float[Array, "n f"]) -> dict[str, Any]:
    """Fits a fresh head to a sample of features, so that training starts well inside the clip.

    Sets mean and standard deviation of each feature (`center`, `standardize`; a deviation below a tenth of the mean one
    is raised to it), then the kernel's directions (`pca`), then the kernel's scale: the one factor for which the mean
    length of the clipped vectors is `start_radius` on the sample.

    Args:
        head: The head.
        variables: Its variables, as initialization made them.
        features: A sample of the encoder's output, a few hundred rows or more.

    Returns:
        New variables; the given ones are left alone.

    Raises:
        ValueError: If "pca" is asked for more dimensions than there are features.

    Example:
        >>> features = jax.random.normal(jax.random.key(0), (64, 16))
        >>> head = Head(dim=8, clip_radius=2.0)
        >>> _, variables = head.init_with_output(jax.random.key(1), features)
        >>> variables = calibrate(head, variables, features)
        >>> round(float(jnp.linalg.norm(head.apply(variables, features), axis=1).mean()), 3)
        1.0
    """
    features = jnp.asarray(features, jnp.float32)
    params, variables = dict(variables["params"]), dict(variables)
    if head.normalize in ("center", "standardize"):
        variables["statistics"] = {"mean": features.mean(axis=0)}
    if head.normalize == "standardize":
        std = features.std(axis=0)
        floor = jnp.where(std.mean() > 0, _STD_FLOOR * std.mean(), 1.0)
        variables["statistics"]["std"] = jnp.where(std > floor, std, floor)
    if head.kernel_init == "pca":
        shares = head.shares or (head.dim,)
        directions = _principal_directions(_normalized(head, variables, features), max(shares))
        params["kernel"] = jnp.concatenate([directions[:, :share] for share in shares], axis=1)
    start = head.clip_radius / 2 if head.start_radius is None else head.start_radius
    starts = [start] * (len(head.shares) or 1)
    params["kernel"] = params["kernel"] * _factors(head, {**variables, "params": params}, features, starts)[None]
    return {**variables, "params": params}


def _norms(head: Head, variables: dict[str, Any], features: Array) -> list[Array]:
    """The lengths [n] of each space's vectors."""
    return [jnp.linalg.norm(block, axis=1) for block in head.blocks(jnp.asarray(head.apply(variables, features)))]


def _factors(head: Head, variables: dict[str, Any], features: Array, lengths: Sequence[ArrayLike]) -> Array:
    """The factor of each column of the kernel [d], at which each space's vectors have that mean length."""
    each = zip(_norms(head.clone(clip="none", start_radius=None), variables, features), lengths, strict=True)
    found = [_scale_for(norms, length, radius=head.clip_radius, kind=head.clip) for norms, length in each]
    shares = head.shares or (head.dim,)
    return jnp.concatenate([jnp.full(share, factor) for share, factor in zip(shares, found, strict=True)])


def _normalized(head: Head, variables: dict[str, Any], features: Array) -> Array:
    """What the kernel will see: a linear map by the identity shows it."""
    width = features.shape[1]
    shown = head.clone(dim=width, shares=(), kernel="trained", clip="none", start_radius=None)
    params = {**variables["params"], "kernel": jnp.eye(width), "bias": jnp.zeros(width)}
    return jnp.asarray(shown.apply({**variables, "params": params}, features))


def _principal_directions(x: Array, dim: int) -> Array:
    if dim > x.shape[1]:
        raise ValueError(f"pca gives at most {x.shape[1]} dimensions, one a feature; dim is {dim}")
    centered = x - x.mean(axis=0)[None]
    _, directions = jnp.linalg.eigh(numerics.matmul(centered.T, centered) / len(x))
    return directions[:, ::-1][:, :dim]


@partial(jax.jit, static_argnames=("radius", "kind"))
def _scale_for(norms: Array, start: ArrayLike, *, radius: float, kind: str) -> Array:
    """The factor s at which the mean of clip(s · norms) is `start`, by bisection of log s."""

    def halve(_: ArrayLike, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = (low + high) / 2
        mean = clip_norm(jnp.exp(middle) * norms[:, None], radius=radius, kind=kind).mean()
        return jnp.where(mean < start, middle, low), jnp.where(mean < start, high, middle)

    center = jnp.log(start / jnp.where(norms.mean() > 0, norms.mean(), 1))
    low, high = lax.fori_loop(0, 40, halve, (center - 1, center + 15))
    return jnp.exp((low + high) / 2)
