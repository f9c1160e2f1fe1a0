from collections import Counter

import jax
import jax.numpy as jnp
import pytest

from hypjax.config.settings import default_settings
from hypjax.config.words import apply_arguments
from hypjax.run import rehearsal
from hypjax.run.rehearsal import hlo
from hypjax.run.rehearsal.collectives import FORBIDDEN, Known, by_kind, carried, total, transfers
from hypjax.training import sharding
from tests.run.rehearsal.programs import LOOP

ENCODER, OBJECTIVE = "jit(step)/jvp(Model)/encoder/block_0/fc/dot_general", "jit(step)/jvp(objective)/mul"
BACKWARD = "jit(step)/transpose(jvp(Model))/encoder/block_0/fc/dot_general"
KNOWN = Known(batch=720, widths={128, 129}, gradients={(False, 12 * 384): 1, (True, 512): 1}, statistics={64})


def test_each_array_of_each_collective_is_counted_once():
    found = transfers(hlo.parse(LOOP), KNOWN, devices=16)
    assert [(t.kind, t.carries, t.sent) for t in found] == [
        ("all-reduce", "gradients", 12 * 384 * 4 * 2 * 15 / 16),  # twelve turns of one parameter
        ("all-gather", "embeddings", 45 * 128 * 4 * 15),
        ("all-reduce", "terms", 720 * 4 * 2 * 3 / 4),  # in groups of four
        ("all-reduce", "terms", 4 * 2 * 3 / 4),
    ]
    assert by_kind(found) == {
        "all-gather": {"embeddings": 345600.0},
        "all-reduce": {"gradients": 34560.0, "terms": 4326.0},
    }
    assert total(found) == 345600 + 34560 + 4326


@pytest.mark.parametrize(
    ("dtype", "shape", "op_name", "expected"),
    [
        ("f32", (12, 384), BACKWARD, "gradients"),
        ("bf16", (384, 3, 4), BACKWARD, "gradients"),
        ("f32", (12, 384), ENCODER, "activations"),  # its size alone makes no gradient
        ("f32", (45, 197, 384), BACKWARD, "activations"),
        ("f32", (512,), BACKWARD, "activations"),  # nor the size of a parameter of the objective
        ("f32", (512,), "jit(step)/transpose(jvp(objective))/mul", "gradients"),
        ("f32", (64,), ENCODER, "statistics"),
        ("u8", (45, 224, 224, 3), "", "images"),
        ("bf16", (45, 224, 224, 3), "jit(step)/jvp(images)/sub", "images"),
        ("f32", (45, 128), "", "embeddings"),
        ("f32", (720, 129), OBJECTIVE, "embeddings"),
        ("s32", (720,), "", "labels"),
        ("pred", (45, 720), OBJECTIVE, "labels"),
        ("f32", (45, 720), OBJECTIVE, "terms"),
        ("f32", (), "jit(step)/reduce_sum", "terms"),
        ("f32", (64, 2), "jit(step)/update/mul", "updates"),
        ("f32", (45, 197, 384), "", "unknown"),
    ],
)
def test_what_an_array_is_shows_in_where_it_comes_from_and_its_size(dtype, shape, op_name, expected):
    array = hlo.Array(dtype, shape)
    assert carried(array, op_name, KNOWN, Counter(KNOWN.gradients), group=16) == expected


def test_a_parameter_has_one_gradient():
    left = Counter(KNOWN.gradients)
    seen = [carried(hlo.Array("f32", (12, 384)), BACKWARD, KNOWN, left) for _ in range(2)]
    assert seen == ["gradients", "activations"]


MOVED_IN_PIECES = """
%slicing (param: f32[6,4]) -> f32[3,4] {
  %param = f32[6,4]{1,0} parameter(0)
  ROOT %slice = f32[3,4]{1,0} slice(%param), slice={[0:3], [0:4]}
}

ENTRY %main (x: f32[6,4]) -> f32[6,4] {
  %x = f32[6,4]{1,0} parameter(0)
  %made = f32[6,4]{1,0} negate(%x), metadata={op_name="jit(step)/transpose(jvp(objective))/neg"}
  %start = ((f32[6,4]{1,0}), f32[3,4]{1,0:S(1)}, s32[]) async-start(%made), calls=%slicing
  %done = f32[3,4]{1,0:S(1)} async-done(%start)
  %joined = f32[6,4]{1,0:S(1)} custom-call(%done, %done), custom_call_target="ConcatBitcast"
  ROOT %sum = f32[6,4]{1,0} all-reduce(%joined), replica_groups={{0,1}}, metadata={op_name="jit(step)/encoder/other"}
}
"""


def test_where_an_array_comes_from_shows_also_where_it_was_moved_in_pieces():
    known = Known(batch=2, widths={5}, gradients={(True, 24): 1})
    (found,) = transfers(hlo.parse(MOVED_IN_PIECES), known, devices=2)
    assert (found.carries, found.op_name) == ("gradients", "jit(step)/transpose(jvp(objective))/neg")


TOGETHER = """
%scattering (input: f32[6,4]) -> f32[3,4] {
  %input = f32[6,4]{1,0} parameter(0)
  %all = f32[6,4]{1,0} all-reduce(%input), channel_id=1, replica_groups={{0,1}}
  ROOT %own = f32[3,4]{1,0} slice(%all), slice={[0:3], [0:4]}
}

ENTRY %main (x: f32[6,4], y: f32[7], z: f32[8]) -> f32[7] {
  %x = f32[6,4]{1,0} parameter(0)
  %part = f32[3,4]{1,0} fusion(%x), kind=kCustom, calls=%scattering, metadata={op_name="jit(step)/jvp(objective)/a"}
  %y = f32[7]{0} parameter(1)
  %z = f32[8]{0} parameter(2)
  %one = f32[7]{0} negate(%y), metadata={op_name="jit(step)/transpose(jvp(Model))/encoder/beside"}
  %two = f32[8]{0} negate(%z), metadata={op_name="jit(step)/transpose(jvp(Model))/encoder/norm"}
  %both = (f32[7]{0}, f32[8]{0}) all-reduce(%one, %two), channel_id=2, replica_groups={{0,1}}
  ROOT %taken = f32[7]{0} get-tuple-element(%both), index=0, metadata={op_name="jit(step)/transpose(jvp(objective))/b"}
}
"""


def test_where_arrays_come_from_that_the_compiler_sends_together_or_scatters():
    """The name of what takes one out is its own; what made it may have been fused with something else."""
    known = Known(batch=2, widths={5}, gradients={(False, 8): 1})
    found = transfers(hlo.parse(TOGETHER), known, devices=2)
    assert [(transfer.carries, transfer.op_name.removeprefix("jit(step)/")) for transfer in found] == [
        ("terms", "jvp(objective)/a"),
        ("terms", "transpose(jvp(objective))/b"),
        ("gradients", "transpose(jvp(Model))/encoder/norm"),
    ]


METHODS = {
    "hyp_vit": "loss=pairwise_cross_entropy",
    "hyp_uml": "uncertainty=learned",
    "uncertainty margin": "loss=uncertainty_margin",
    "hier": "loss=proxy_anchor,regularizer=hier,hier.proxies=16,hier.triplets=2",
    "eps": "loss=margin,miner=easy_positive+semihard_negative",
    "ghm in slices": "loss=pairwise_cross_entropy,distance=hybrid,batch.slices=3",
    "resnet": "encoder=resnet18,encoder.train_batch_norm=true",
}


def settings(words):
    """A tiny network in whose step no two kinds of array have the same size."""
    shared = "dry,data=cub,encoder=vit_s16,data.image_size=32,data.eval_image_size=32,batch.classes=8,head.dim=6"
    config = apply_arguments(default_settings(), f"{shared},{words}")
    vit = {"width": 32, "depth": 1, "heads": 2}
    config.encoder.sizes.update({"width": 4, "stages": (1, 1)} if "resnet" in config.encoder.name else vit)
    return config


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_no_image_and_no_activation_crosses_the_network(method):
    found = rehearsal.measure(settings(METHODS[method]), sharding.data_mesh(jax.devices()[:8]))
    assert [transfer for transfer in found.transfers if transfer.carries in FORBIDDEN] == []
    kinds = by_kind(found.transfers)
    # Every gradient crosses once, as it is: those of an objective that each device makes whole need not.
    summed = kinds["all-reduce"]["gradients"] / (4 * 2 * 7 / 8)
    assert found.trained <= summed <= found.trained + found.objective
    # So do the points, which HIER puts among its proxies.
    kind = "terms" if method == "hier" else "embeddings"
    assert sum(carries.get(kind, 0) for carries in kinds.values()) >= 7 / 8 * found.images * 6 * 4


@pytest.mark.parametrize("part", ["images", "encoder"])
def test_what_must_not_cross_is_found_where_it_does(part):
    mesh = sharding.data_mesh(jax.devices()[:8])

    def loss(kernel, images):
        with jax.named_scope("images"):
            seen = whole(images / 255, part == "images")
        with jax.named_scope("encoder"):
            features = whole(jnp.sin(seen @ kernel), part == "encoder")
        with jax.named_scope("objective"):
            return (features @ features.T).sum()

    def whole(x, wanted):
        return jax.lax.with_sharding_constraint(x, sharding.replicated(mesh)) if wanted else x

    images = jax.ShapeDtypeStruct((64, 48), jnp.float32, sharding=sharding.split(mesh))
    kernel = jax.ShapeDtypeStruct((48, 20), jnp.float32, sharding=sharding.replicated(mesh))
    text = jax.jit(loss, out_shardings=sharding.replicated(mesh)).lower(kernel, images).compile().as_text()
    known = Known(batch=64, widths={5}, gradients={(False, 48 * 20): 1})
    found = {transfer.carries for transfer in transfers(hlo.parse(text), known, devices=8)}
    assert found & set(FORBIDDEN) == {{"images": "images", "encoder": "activations"}[part]}
