"""Optimizers for parameters that are points of a manifold, as optax transformations, and a learnable curvature."""

from hypjax.optim.curvature import bounded_curvature, unbounded_curvature
from hypjax.optim.riemannian import riemannian_adam, riemannian_gradient, riemannian_sgd
