"""Points, distances and maps of hyperbolic, Euclidean and spherical space, as free functions and as objects."""

from hypjax.geometry import cones, euclidean, hyperbolicity, layers, lorentz, numerics, poincare, sphere, wrapped_normal
from hypjax.geometry.manifold import Euclidean, Lorentz, Manifold, Poincare, Sphere
from hypjax.geometry.names import divided, name_of, named
from hypjax.geometry.product import Product, radial
