"""Vision transformers: one module that covers ViT, DeiT, DINO, DINOv2, DINOv3, CLIP and SigLIP by its settings."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from hypjax.encoders import rotary, tokens
from hypjax.encoders.layers import ACTIVATIONS, Dense, LayerNorm, LayerScale, PatchEmbedding
from hypjax.encoders.lora import Lora
from hypjax.encoders.pooling import AttentionPooling
from hypjax.encoders.positions import RESAMPLINGS

POOLS = ("class", "mean", "attention")
POSITIONS = ("learned", "rotary")


class TransformerBlock(nn.Module):
    """Self-attention, then a two-layer perceptron; each is normalized first and added to its input.

    x ← x + γ₁ attention(norm(x)),   x ← x + γ₂ mlp(norm(x)),   γ = 1 without layer scale

    Attributes:
        heads: Of the attention.
        asking: Leading tokens that are asked for, or None for all. The others are attended to and not made.
        dtype: Of the computation.
        mlp: Of `ACTIVATIONS`.
        hidden: Features between the two maps of the perceptron; 0 for four times the width.
        layer_scale: Whether there are learned gains.
        epsilon: Of the normalizations.
        key_bias: Whether keys have a bias, as queries and values have.
        lora: Low-rank adapters of the kernels.
    """

    heads: int
    dtype: DTypeLike = jnp.float32
    asking: int | None = None
    mlp: str = "gelu"
    hidden: int = 0
    layer_scale: bool = False
    epsilon: float = 1e-6
    key_bias: bool = True
    lora: Lora = Lora()

    @nn.compact
    def __call__(self, x: Float[Array, "b n f"], rotation: rotary.Rotation | None = None) -> Float[Array, "b m f"]:
        """Maps tokens to tokens."""
        width, asking = x.shape[-1], slice(self.asking)
        dense = partial(Dense, dtype=self.dtype, lora=self.lora)
        norm = partial(LayerNorm, self.dtype, self.epsilon)
        gains = [LayerScale(width, name=f"scale_{n}")() if self.layer_scale else None for n in (1, 2)]
        y = norm(name="norm_1")(x)
        qkv = dense(3 * width, biased=(True, self.key_bias, True), name="qkv")(y)
        q, k, v = rearrange(qkv, "b n (three h d) -> three b n h d", three=3, h=self.heads)
        if rotation is not None:
            q, k = rotary.rotate(q, rotation), rotary.rotate(k, rotation)
        x = x[:, asking]
        y = tokens.attend(q[:, asking], k, v).reshape(x.shape)
        x = x + dense(width, name="proj")(y, gains[0])
        y = norm(name="norm_2")(x)
        function, widening = ACTIVATIONS[self.mlp]
        hidden = self.hidden or 4 * width
        y = function(dense(widening * hidden, biased=(True,) * widening, name="fc_1")(y))
        return x + dense(width, name="fc_2")(y, gains[1])


class VisionTransformer(nn.Module):
    """Vision transformer without its classifier: [n, h, w, 3] → [n, features].

    Tokens stand in this order: class token, distillation token, registers, patches row by row.

    Attributes:
        patch: Height and width of a patch; must divide the images'.
        width: Of a token; must be a multiple of `heads`.
        depth: Blocks.
        heads: Of the attention.
        distilled: Carries DeiT's second token, beside the class token.
        dtype: Of the computation; features are float32.
        blocks: "unrolled"; "scanned", one program for all but the last, which is compiled in less time; or "remade",
            scanned, and a gradient keeps the tokens between blocks alone and makes what it needs inside of them anew.
            Scanned ones all have their gradients made, also where some are frozen.
        class_token: Whether there is one.
        registers: Tokens that are learned, attended to and left out in the end.
        positions: "learned", added to class token and patches; or "rotary", by which patches' queries and keys turn.
        resampling: How published positions are brought to another size of image, of `positions.RESAMPLINGS`.
        mlp: "gelu", "gelu_tanh", "quick_gelu" or "swiglu".
        hidden: Features inside of a block's perceptron; 0 for four times the width.
        layer_scale: Whether what a block adds has learned gains.
        epsilon: Of the normalizations.
        key_bias: Whether keys have a bias, as queries and values have.
        patch_bias: Whether the map of a patch has a bias.
        first_norm: Whether tokens are normalized before the first block, too.
        pool: What the features are: the normalized "class" token; the "mean" of the normalized patches; or what an
            "attention" with one learned query makes of the normalized tokens.
        projection: Features that the pooled ones are mapped to, without bias; 0 for none.
        lora: Low-rank adapters of every kernel that maps tokens.

    Source: Dosovitskiy et al., An Image is Worth 16x16 Words, ICLR 2021; Touvron et al., Training
    data-efficient image transformers & distillation through attention, ICML 2021; Oquab et al., DINOv2, TMLR 2024;
    Darcet et al., Vision Transformers Need Registers, ICLR 2024; Siméoni et al., DINOv3, arXiv 2508.10104; Radford et
    al., Learning Transferable Visual Models From Natural Language Supervision, ICML 2021; Zhai et al., Sigmoid Loss
    for Language Image Pre-Training, ICCV 2023.
    """

    patch: int = 16
    width: int = 384
    depth: int = 12
    heads: int = 6
    distilled: bool = False
    dtype: DTypeLike = jnp.float32
    blocks: str = "unrolled"
    class_token: bool = True
    registers: int = 0
    positions: str = "learned"
    resampling: str = "antialiased"
    mlp: str = "gelu"
    hidden: int = 0
    layer_scale: bool = False
    epsilon: float = 1e-6
    key_bias: bool = True
    patch_bias: bool = True
    first_norm: bool = False
    pool: str = "class"
    projection: int = 0
    lora: Lora = Lora()

    @nn.compact
    def __call__(self, images: Float[Array, "b h w 3"], train: bool = False) -> Float[Array, "b features"]:
        """Maps normalized images to features.

        Raises:
            ValueError: If the patches do not tile the images, the heads do not share the width, or a setting is none.
        """
        del train  # nothing here is random or has statistics
        self._check(*images.shape[1:3])
        rows, columns = (side // self.patch for side in images.shape[1:3])
        embed = PatchEmbedding(self.patch, self.width, self.dtype, self.patch_bias, name="patch_embed")
        x, leading = self._placed(embed(images))
        rotation = None
        if self.positions == "rotary":
            rotation = rotary.grid_rotation(rows, columns, features=self.width // self.heads, leading=leading)
        if self.first_norm:
            x = LayerNorm(self.dtype, self.epsilon, name="norm_pre")(x)
        x = self._through(x, rotation)
        # LayerNorm is for each token alone, and only the class token leaves, where that is what is asked for.
        norm = LayerNorm(epsilon=self.epsilon, name="norm")
        if self.pool == "class":
            y = norm(x[:, 0].astype(jnp.float32))
        else:
            y = norm(x.astype(jnp.float32))
            y = y[:, leading:].mean(axis=1) if self.pool == "mean" else self._attend(y.astype(self.dtype))
        y = y.astype(jnp.float32)
        if self.projection:
            projected = Dense(self.projection, self.dtype, (False,), self.lora, name="head")(y[:, None])
            y = projected[:, 0].astype(jnp.float32)
        return y

    def _check(self, height: int, width: int) -> None:
        if height % self.patch or width % self.patch:
            raise ValueError(f"images of {height} × {width} cannot be cut into patches of {self.patch}; resize them")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads {self.heads}; change one of them")
        chosen = {"pool": POOLS, "positions": POSITIONS, "resampling": RESAMPLINGS, "mlp": tuple(ACTIVATIONS)}
        for name, known in chosen.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} {getattr(self, name)!r} is unknown; there are: {', '.join(known)}")
        if self.pool == "class" and not self.class_token:
            raise ValueError("pool 'class' needs a class token; choose: mean, attention")

    @property
    def placed_tokens(self) -> int:
        """Leading tokens that have learned positions."""
        return self.class_token + self.distilled

    def _placed(self, x: Float[Array, "b n f"]) -> tuple[Float[Array, "b m f"], int]:
        """Leading tokens and patches with their positions, and how many lead."""
        normal = nn.initializers.normal(0.02)
        names = [name for name, there in (("cls_token", self.class_token), ("dist_token", self.distilled)) if there]
        leading = [self.param(name, normal, (1, 1, self.width)) for name in names]
        first = [jnp.broadcast_to(t.astype(self.dtype), (x.shape[0], 1, self.width)) for t in leading]
        if self.positions == "learned":
            positions = self.param("pos_embed", normal, (1, len(leading) + x.shape[1], self.width))
            x = jnp.concatenate([*first, x], axis=1) + positions.astype(self.dtype)
        else:
            x = jnp.concatenate([*first, x], axis=1)
        if self.registers:
            registers = self.param("reg_token", normal, (1, self.registers, self.width)).astype(self.dtype)
            registers = jnp.broadcast_to(registers, (x.shape[0], self.registers, self.width))
            x = jnp.concatenate([x[:, : len(names)], registers, x[:, len(names) :]], axis=1)
        return x, len(names) + self.registers

    def _attend(self, x: Float[Array, "b n f"]) -> Float[Array, "b f"]:
        pooling = AttentionPooling(
            self.heads, self.dtype, self.mlp, self.hidden, self.epsilon, self.lora, name="attn_pool"
        )
        return pooling(x)

    def _through(self, x: Float[Array, "b n f"], rotation: rotary.Rotation | None) -> Float[Array, "b m f"]:
        """All blocks; the last gives the class token alone, where that is all that is asked for."""
        names = [f"block_{index}" for index in range(self.depth)]
        make = partial(
            TransformerBlock,
            self.heads,
            self.dtype,
            mlp=self.mlp,
            hidden=self.hidden,
            layer_scale=self.layer_scale,
            epsilon=self.epsilon,
            key_bias=self.key_bias,
            lora=self.lora,
        )
        last = make(asking=1 if self.pool == "class" else None, name=names.pop())
        if self.blocks == "unrolled" or self.is_initializing() or not names:
            for name in names:
                x = make(name=name)(x, rotation)
            return last(x, rotation)
        block = make(parent=None)

        def step(x: Array, params: dict[str, Any]) -> tuple[Any, None]:
            return block.apply({"params": params}, x, rotation), None

        params = [self.variables["params"][name] for name in names]
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *params)
        step = jax.checkpoint(step, prevent_cse=False) if self.blocks == "remade" else step
        return last(jax.lax.scan(step, x, stacked)[0], rotation)


_UNITS = {
    "norm_1": "norm1",
    "qkv": "attn.qkv",
    "proj": "attn.proj",
    "scale_1": "ls1",
    "norm_2": "norm2",
    "fc_1": "mlp.fc1",
    "fc_2": "mlp.fc2",
    "scale_2": "ls2",
    "patch_embed": "patch_embed.proj",
}
_KINDS = {"bias": "bias", "gamma": "gamma"}


def published_name(place: tuple[str, ...]) -> str:
    """Name of a tensor in the checkpoints of timm, DeiT and DINO.

    Example:
        >>> published_name(("block_3", "qkv", "kernel")), published_name(("attn_pool", "proj", "bias"))
        ('blocks.3.attn.qkv.weight', 'attn_pool.proj.bias')
    """
    if len(place) == 1:
        return place[0]
    *around, unit, kind = place
    if around == ["attn_pool"]:
        unit = unit if unit not in ("fc_1", "fc_2") else _UNITS[unit]
        return f"attn_pool.{unit}.{_KINDS.get(kind, 'weight')}"
    if unit == "attn_pool":
        return f"attn_pool.{kind}"
    prefix = "".join(f"blocks.{name.removeprefix('block_')}." for name in around)
    return f"{prefix}{_UNITS.get(unit, unit)}.{_KINDS.get(kind, 'weight')}"


def is_unused(name: str) -> bool:
    """Whether a published tensor is none of the features' business: classifiers and what leads only to them."""
    return name.startswith(("head.", "head_dist.", "pre_logits."))
