"""Weights made on the spot under the original names, against the original forwards written a second time in NumPy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax import encoders

WIDTH, DEPTH, HEADS, PATCH = 16, 2, 2, 4
SIZES = {"width": WIDTH, "depth": DEPTH, "heads": HEADS, "patch": PATCH}


def draw(generator, *shape):
    return generator.normal(0, 0.3, shape).astype(np.float32)


def timm_vit(grid, *, distilled=False, seed=0):
    """A vision transformer as timm names it, in PyTorch's layout."""
    g = np.random.default_rng(seed)
    tensors = {
        "cls_token": draw(g, 1, 1, WIDTH),
        "pos_embed": draw(g, 1, 1 + distilled + grid * grid, WIDTH),
        "patch_embed.proj.weight": draw(g, WIDTH, 3, PATCH, PATCH),
        "patch_embed.proj.bias": draw(g, WIDTH),
        "norm.weight": 1 + draw(g, WIDTH),
        "norm.bias": draw(g, WIDTH),
        "head.weight": draw(g, 10, WIDTH),
        "head.bias": draw(g, 10),
    }
    if distilled:
        tensors |= {"dist_token": draw(g, 1, 1, WIDTH), "head_dist.weight": draw(g, 10, WIDTH)}
    dense = {"attn.qkv": 3 * WIDTH, "attn.proj": WIDTH, "mlp.fc1": 4 * WIDTH, "mlp.fc2": WIDTH}
    for index in range(DEPTH):
        block = f"blocks.{index}."
        for name, out in dense.items():
            tensors[f"{block}{name}.weight"] = draw(g, out, 4 * WIDTH if name == "mlp.fc2" else WIDTH)
            tensors[f"{block}{name}.bias"] = draw(g, out)
        for name in ("norm1", "norm2"):
            tensors |= {f"{block}{name}.weight": 1 + draw(g, WIDTH), f"{block}{name}.bias": draw(g, WIDTH)}
    return tensors


def cubic_matrix(size, out):
    """Keys' cubic (a = −1/2) between pixel centers, widened where it shrinks, each row normalized: [out, size]."""
    step = size / out
    wide = max(step, 1.0)
    t = np.abs((np.arange(out)[:, None] + 0.5) * step - 0.5 - np.arange(size)[None]) / wide
    near, far = (1.5 * t - 2.5) * t * t + 1, ((-0.5 * t + 2.5) * t - 4) * t + 2
    rows = np.where(t < 1, near, np.where(t < 2, far, 0.0))
    return rows / rows.sum(1, keepdims=True)


def numpy_vit(tensors, image):
    """The class token's features, by timm's names, in float64."""
    p = {name: value.astype(np.float64) for name, value in tensors.items()}

    def norm(x, name):
        y = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
        return y * p[f"{name}.weight"] + p[f"{name}.bias"]

    def dense(x, name):
        return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    rows, columns = image.shape[0] // PATCH, image.shape[1] // PATCH
    cut = image.reshape(rows, PATCH, columns, PATCH, 3)
    patches = np.einsum("iajbc,fcab->ijf", cut, p["patch_embed.proj.weight"]) + p["patch_embed.proj.bias"]
    first = np.concatenate([p[name][0] for name in ("cls_token", "dist_token") if name in p])
    positions = p["pos_embed"][0]
    side = math.isqrt(len(positions) - len(first))
    square = positions[len(first) :].reshape(side, side, -1)
    square = np.einsum("is,jt,stf->ijf", cubic_matrix(side, rows), cubic_matrix(side, columns), square)
    x = np.concatenate([first + positions[: len(first)], (patches + square).reshape(-1, WIDTH)])
    gelu = np.vectorize(lambda t: 0.5 * t * (1 + math.erf(t / math.sqrt(2))))
    for index in range(DEPTH):
        block = f"blocks.{index}."
        qkv = dense(norm(x, f"{block}norm1"), f"{block}attn.qkv").reshape(len(x), 3, HEADS, -1)
        q, k, v = np.moveaxis(qkv, 1, 0)
        weights = np.exp(np.einsum("nhd,mhd->hnm", q, k) / math.sqrt(q.shape[-1]))
        mixed = np.einsum("hnm,mhd->nhd", weights / weights.sum(-1, keepdims=True), v)
        x = x + dense(mixed.reshape(len(x), -1), f"{block}attn.proj")
        x = x + dense(gelu(dense(norm(x, f"{block}norm2"), f"{block}mlp.fc1")), f"{block}mlp.fc2")
    return norm(x[0], "norm")


def augreg(tensors):
    """The same weights as the authors of ViT publish them: JAX's layout, heads apart."""
    renamed = {"norm1": "LayerNorm_0", "norm2": "LayerNorm_2", "mlp.fc1": "MlpBlock_3/Dense_0"}
    renamed |= {"mlp.fc2": "MlpBlock_3/Dense_1", "attn.proj": "MultiHeadDotProductAttention_1/out"}
    found = {
        "cls": tensors["cls_token"],
        "Transformer/posembed_input/pos_embedding": tensors["pos_embed"],
        "embedding/kernel": tensors["patch_embed.proj.weight"].transpose(2, 3, 1, 0),
        "embedding/bias": tensors["patch_embed.proj.bias"],
        "Transformer/encoder_norm/scale": tensors["norm.weight"],
        "Transformer/encoder_norm/bias": tensors["norm.bias"],
        "head/kernel": tensors["head.weight"].T,
        "head/bias": tensors["head.bias"],
    }
    for index in range(DEPTH):
        for name, ours in renamed.items():
            place = f"Transformer/encoderblock_{index}/{ours}"
            weight, bias = (tensors[f"blocks.{index}.{name}.{kind}"] for kind in ("weight", "bias"))
            weight = weight.T.reshape(HEADS, -1, WIDTH) if name == "attn.proj" else weight.T
            found[f"{place}/{'scale' if name.startswith('norm') else 'kernel'}"] = weight
            found[f"{place}/bias"] = bias
        place = f"Transformer/encoderblock_{index}/MultiHeadDotProductAttention_1"
        for part, name in enumerate(("query", "key", "value")):
            rows = slice(part * WIDTH, (part + 1) * WIDTH)
            weight, bias = (tensors[f"blocks.{index}.attn.qkv.{kind}"][rows] for kind in ("weight", "bias"))
            found[f"{place}/{name}/kernel"] = weight.T.reshape(WIDTH, HEADS, -1)
            found[f"{place}/{name}/bias"] = bias.reshape(HEADS, -1)
    return found


def transformers(tensors):
    """The same weights as Hugging Face's transformers names them."""
    layer = {
        "norm1": "layernorm_before",
        "norm2": "layernorm_after",
        "attn.proj": "attention.output.dense",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
    }
    found = {"pooler.dense.bias": tensors["head.bias"]}
    whole = {
        "cls_token": "embeddings.cls_token",
        "dist_token": "embeddings.distillation_token",
        "pos_embed": "embeddings.position_embeddings",
        "patch_embed.proj.weight": "embeddings.patch_embeddings.projection.weight",
        "patch_embed.proj.bias": "embeddings.patch_embeddings.projection.bias",
        "norm.weight": "layernorm.weight",
        "norm.bias": "layernorm.bias",
    }
    found |= {f"deit.{whole[name]}": tensors[name] for name in whole if name in tensors}
    for index in range(DEPTH):
        for kind in ("weight", "bias"):
            for name, theirs in layer.items():
                found[f"deit.encoder.layer.{index}.{theirs}.{kind}"] = tensors[f"blocks.{index}.{name}.{kind}"]
            parts = np.split(tensors[f"blocks.{index}.attn.qkv.{kind}"], 3)
            for part, value in zip(("query", "key", "value"), parts, strict=True):
                found[f"deit.encoder.layer.{index}.attention.attention.{part}.{kind}"] = value
    return found


CASES = {  # encoder, its own grid of patches, image size, what becomes of the tensors, wrapper and prefix
    "timm ViT": ("vit_s16", 4, 16, None, None, ""),
    "DeiT": ("deit_s16", 4, 16, None, "model", ""),
    "distilled DeiT": ("deit_s16_distilled", 3, 20, None, "state_dict", "module."),
    "DINO": ("dino_vits16", 4, 24, None, "teacher", "module.backbone."),
    "ViT of its authors": ("vit_s16", 4, 20, augreg, None, ""),
    "transformers": ("deit_s16_distilled", 4, 12, transformers, None, ""),
}
QUICK = ("DINO",)


@pytest.mark.parametrize(
    "case", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)
def test_features_of_a_transformer_are_the_originals(case, tmp_path, write_checkpoint):
    name, grid, size, change, wrapper, prefix = CASES[case]
    tensors = timm_vit(grid, distilled="distilled" in name)
    published = {prefix + key: value for key, value in (change(tensors) if change else tensors).items()}
    path = tmp_path / ("w.npz" if change is augreg else "w.pth" if wrapper else "w.safetensors")
    write_checkpoint(path, published, wrapper)
    encoder = encoders.create(name, **SIZES)
    variables = encoders.load_weights(path, encoder, image_size=size)
    image = np.random.default_rng(1).normal(size=(size, size, 3))
    features = np.asarray(jax.jit(encoder.apply)(variables, jnp.asarray(image[None], jnp.float32)))[0]
    expected = numpy_vit(tensors, image)
    assert np.abs(features - expected).max() <= 1e-4 * np.abs(expected).max()


def timm_resnet(stages=(2, 1), width=4, seed=0):
    """A ResNet of bottlenecks as torchvision and timm name it."""
    g = np.random.default_rng(seed)
    tensors = {"fc.weight": draw(g, 10, 8), "fc.bias": draw(g, 10)}

    def unit(conv, bn, out, into, size):
        tensors[f"{conv}.weight"] = draw(g, out, into, size, size)
        tensors[f"{bn}.weight"], tensors[f"{bn}.bias"] = 1 + draw(g, out), draw(g, out)
        tensors[f"{bn}.running_mean"], tensors[f"{bn}.running_var"] = draw(g, out), 1 + np.abs(draw(g, out))
        tensors[f"{bn}.num_batches_tracked"] = np.array(7, np.int64)

    unit("conv1", "bn1", width, 3, 7)
    into = width
    for stage, blocks in enumerate(stages):
        inside = width * 2**stage
        for index in range(blocks):
            block = f"layer{stage + 1}.{index}."
            unit(f"{block}conv1", f"{block}bn1", inside, into, 1)
            unit(f"{block}conv2", f"{block}bn2", inside, inside, 3)
            unit(f"{block}conv3", f"{block}bn3", 4 * inside, inside, 1)
            if index == 0:
                unit(f"{block}downsample.0", f"{block}downsample.1", 4 * inside, into, 1)
            into = 4 * inside
    return tensors


def windows(x, size, stride, fill):
    padded = np.pad(x, ((size // 2,) * 2, (size // 2,) * 2, (0, 0)), constant_values=fill)
    return np.lib.stride_tricks.sliding_window_view(padded, (size, size), (0, 1))[::stride, ::stride]


def numpy_resnet(tensors, image, stages=(2, 1)):
    p = {name: value.astype(np.float64) for name, value in tensors.items()}

    def unit(x, conv, bn, stride=1):
        kernel = p[f"{conv}.weight"]
        y = np.einsum("hwcij,ocij->hwo", windows(x, kernel.shape[-1], stride, 0.0), kernel)
        y = (y - p[f"{bn}.running_mean"]) / np.sqrt(p[f"{bn}.running_var"] + 1e-5)
        return y * p[f"{bn}.weight"] + p[f"{bn}.bias"]

    def relu(x):
        return np.maximum(x, 0)

    x = windows(relu(unit(image, "conv1", "bn1", 2)), 3, 2, -np.inf).max((-1, -2))
    for stage, blocks in enumerate(stages):
        for index in range(blocks):
            block, stride = f"layer{stage + 1}.{index}.", 2 if stage and index == 0 else 1
            y = relu(unit(x, f"{block}conv1", f"{block}bn1"))
            y = unit(relu(unit(y, f"{block}conv2", f"{block}bn2", stride)), f"{block}conv3", f"{block}bn3")
            x = unit(x, f"{block}downsample.0", f"{block}downsample.1", stride) if index == 0 else x
            x = relu(x + y)
    return x.mean((0, 1))


@pytest.mark.slow
def test_features_of_a_resnet_are_the_originals(tmp_path, write_checkpoint):
    tensors = timm_resnet()
    write_checkpoint(tmp_path / "w.pth", {f"model.{name}": value for name, value in tensors.items()}, "state_dict")
    encoder = encoders.create("resnet50", stages=(2, 1), width=4)
    variables = encoders.load_weights(tmp_path / "w.pth", encoder, image_size=20)
    image = np.random.default_rng(1).normal(size=(20, 20, 3))
    features = np.asarray(jax.jit(encoder.apply)(variables, jnp.asarray(image[None], jnp.float32)))[0]
    expected = numpy_resnet(tensors, image)
    assert np.abs(features - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("change", [pytest.param(augreg, marks=pytest.mark.slow), transformers])
def test_other_dialects_name_what_does_not_fit(change, tmp_path):
    tensors = change(timm_vit(4))
    lost = next(name for name in tensors if "key" in name)
    del tensors[lost]
    tensors["somewhere/else"] = np.zeros(1, np.float32)
    np.savez(tmp_path / "w.npz", **tensors)
    with pytest.raises(ValueError, match="does not fit") as caught:
        encoders.load_weights(tmp_path / "w.npz", encoders.create("vit_s16", **SIZES), image_size=16)
    assert "missing: blocks.0.attn.qkv" in str(caught.value)
    assert "somewhere/else" in str(caught.value)


def test_a_distilled_checkpoint_in_a_plain_encoder_names_the_second_token(tmp_path):
    np.savez(tmp_path / "w.npz", **timm_vit(4, distilled=True))
    with pytest.raises(ValueError, match="unexpected: dist_token"):
        encoders.load_weights(tmp_path / "w.npz", encoders.create("deit_s16", **SIZES), image_size=16)


def test_two_networks_in_one_file_are_refused(tmp_path):
    tensors = timm_vit(4)
    tensors |= {f"module.{name}": value for name, value in tensors.items()}
    np.savez(tmp_path / "w.npz", **tensors)
    with pytest.raises(ValueError, match="twice"):
        encoders.load_weights(tmp_path / "w.npz", encoders.create("vit_s16", **SIZES), image_size=16)


def test_positions_of_a_strange_shape_are_refused(tmp_path):
    np.savez(tmp_path / "w.npz", **(timm_vit(4) | {"pos_embed": np.zeros(5, np.float32)}))
    with pytest.raises(ValueError, match=r"pos_embed \(5,\) instead of \(1, 17, 16\)"):
        encoders.load_weights(tmp_path / "w.npz", encoders.create("vit_s16", **SIZES), image_size=16)
