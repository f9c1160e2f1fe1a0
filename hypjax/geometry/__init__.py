"""Points, distances and maps of hyperbolic, Euclidean and spherical space, as free functions on arrays."""

from hypjax.geometry import euclidean, hyperbolicity, lorentz, numerics, poincare, sphere
