"""The networks of `step.py` in PyTorch, by the names of the published weights."""

import os

import torch
from torch import nn
from torch.nn import functional as F

from hypjax import encoders
from hypjax.encoders.efficientnet import LITE0


class Block(nn.Module):
    """A transformer's, by timm's names."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn, self.mlp = nn.Module(), nn.Module()
        self.attn.qkv, self.attn.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp.fc1, self.mlp.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Tokens to tokens."""
        b, n, width = x.shape
        q, k, v = self.attn.qkv(self.norm1(x)).view(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v)
        x = x + self.attn.proj(y.transpose(1, 2).reshape(b, n, width))
        return x + self.mlp.fc2(F.gelu(self.mlp.fc1(self.norm2(x))))


class ViT(nn.Module):
    """ViT-S/16, by timm's names."""

    def __init__(self, width: int = 384, depth: int = 12, heads: int = 6, patch: int = 16, size: int = 224) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 1 + (size // patch) ** 2, width))
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, width, patch, patch)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.patch_embed.requires_grad_(False)  # as Hyp-ViT's recipe holds it

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The normalized class token."""
        x = self.patch_embed.proj(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.norm(x[:, 0])


class Residual(nn.Module):
    """EfficientNet-Lite's inverted residual, by the published names; statistics stand still."""

    def __init__(self, into: int, out: int, size: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = into * expand
        self.same = stride == 1 and into == out
        if expand != 1:
            self._expand_conv, self._bn0 = nn.Conv2d(into, hidden, 1, bias=False), nn.BatchNorm2d(hidden, 1e-3)
        self._depthwise_conv = Padded(hidden, hidden, size, stride, groups=hidden, bias=False)
        self._project_conv = nn.Conv2d(hidden, out, 1, bias=False)
        self._bn1, self._bn2 = nn.BatchNorm2d(hidden, 1e-3), nn.BatchNorm2d(out, 1e-3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Activations to activations."""
        y = F.relu6(self._bn0(self._expand_conv(x))) if hasattr(self, "_expand_conv") else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.same else y


class Padded(nn.Conv2d):
    """A convolution with TensorFlow's padding, an odd zero at the end."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Activations to activations."""
        (size, _), (stride, _) = self.kernel_size, self.stride
        total = [max((-(-n // stride) - 1) * stride + size - n, 0) for n in x.shape[:1:-1]]
        return super().forward(F.pad(x, [pad for t in total for pad in (t // 2, t - t // 2)]))


class Lite0(nn.Module):
    """EfficientNet-Lite0, by the published names."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = Padded(3, 32, 3, 2, bias=False), nn.BatchNorm2d(32, 1e-3)
        self._blocks, into = nn.ModuleList(), 32
        for repeats, size, stride, expand, out in LITE0:
            for index in range(repeats):
                self._blocks.append(Residual(into, out, size, stride if index == 0 else 1, expand))
                into = out
        self._conv_head, self._bn1 = nn.Conv2d(into, 1280, 1, bias=False), nn.BatchNorm2d(1280, 1e-3)
        for held in (self._conv_stem, self._bn0, *self._blocks[:5], *(b._depthwise_conv for b in self._blocks)):
            held.requires_grad_(False)  # hypjax.config.settings.FROZEN
        self.eval()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Pooled features."""
        x = F.relu6(self._bn0(self._conv_stem(images.contiguous(memory_format=torch.channels_last))))
        for block in self._blocks:
            x = block(x)
        return F.relu6(self._bn1(self._conv_head(x))).mean((2, 3))


def saved(encoder: str, folder: str) -> tuple[nn.Module, str]:
    """PyTorch's network, and its weights as a published checkpoint."""
    torch.manual_seed(0)
    net = {"vit_s16": ViT, "efficientnet_lite0": Lite0}[encoder]()
    if encoder == "efficientnet_lite0":
        published = torch.load(encoders.packaged_weights(encoder), weights_only=True)
        net.load_state_dict({name: value for name, value in published.items() if not name.startswith("_fc.")})
        net = net.to(memory_format=torch.channels_last)
    path = os.path.join(folder, f"{encoder}.pth")
    torch.save(net.state_dict(), path)
    return net, path
