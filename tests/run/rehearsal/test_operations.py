import jax
import jax.numpy as jnp
import pytest
from jax import lax

from hypjax.run.rehearsal.operations import operations

IMAGES = ("NHWC", "HWIO", "NHWC")


def convolution(strides, padding, groups=1, dilation=(1, 1)):
    return lambda x, kernel: lax.conv_general_dilated(
        x,
        kernel,
        strides,
        padding,
        rhs_dilation=dilation,
        dimension_numbers=IMAGES,
        feature_group_count=groups,
    )


CASES = {
    "product": (lambda a, b: jnp.einsum("bij,bjk->bik", a, b), [(3, 4, 5), (3, 5, 6)]),
    "padded, strided": (convolution((2, 2), ((1, 1), (1, 1))), [(2, 9, 9, 6), (3, 3, 6, 8)]),
    "as TensorFlow pads": (convolution((2, 2), "SAME"), [(2, 10, 7, 3), (7, 7, 3, 4)]),
    "depthwise": (convolution((1, 1), "SAME", groups=6), [(2, 9, 9, 6), (3, 3, 1, 6)]),
    "dilated": (convolution((1, 1), "VALID", dilation=(2, 3)), [(1, 12, 12, 2), (3, 3, 2, 5)]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_xla_counts_the_same_of_values_and_gradients(name):
    function, shapes = CASES[name]
    arguments = [jnp.zeros(shape) for shape in shapes]
    pulled = jnp.zeros(jax.eval_shape(function, *arguments).shape)
    for counted in (function, *(lambda *a, i=i: pull(function, a, i, pulled) for i in (0, 1))):
        traced = jax.jit(counted).trace(*arguments)
        assert operations(traced.jaxpr) == traced.lower().cost_analysis()["flops"]


def pull(function, arguments, by, cotangent):
    """The gradient of a function that is linear in each argument, with no forward pass that nobody asked for."""

    def of_one(x):
        return function(*(x if i == by else value for i, value in enumerate(arguments)))

    return jax.linear_transpose(of_one, arguments[by])(cotangent)[0]


def test_every_turn_of_a_loop_counts_and_one_branch_of_a_condition():
    square = jnp.zeros((7, 4, 4))
    once = 2 * 4**3
    assert operations(jax.jit(lambda a: lax.map(lambda r: r @ r, a)).trace(square).jaxpr) == 7 * once

    def either(a):
        return lax.cond(a.sum() > 0, lambda x: x @ x @ x, lambda x: x @ x, a)

    assert operations(jax.jit(either).trace(square[0]).jaxpr) == 2 * once
    remade = jax.grad(lambda a: jax.checkpoint(lambda x: jnp.sin(x @ x).sum())(a))
    assert operations(jax.jit(remade).trace(square[0]).jaxpr) >= 3 * once
