"""Drawings of emoji by icons, and which of them look alike; for `build_emoji.py`."""

import io

import numpy as np
import resvg_py
from PIL import Image

SIZE = 96
LEVELS = 63  # 64 levels a channel: invisible, and gradients shrink by a sixth
SAME = 2.0  # mean absolute difference, of 255, below which two drawings are one
BLANK = 32  # least contrast, of 255, of a drawing that can be seen on white


def resolved(icons: dict, name: str) -> dict:
    """An icon's body and box; an alias is its parent, perhaps mirrored."""
    defaults = {k: icons[k] for k in ("width", "height", "left", "top") if k in icons}
    if name in icons["icons"]:
        return {"width": 16, "height": 16, "left": 0, "top": 0} | defaults | icons["icons"][name]
    alias = icons["aliases"][name]
    icon = resolved(icons, alias["parent"]) | {k: alias[k] for k in ("width", "height", "left", "top") if k in alias}
    if alias.keys() & {"rotate", "vFlip"}:
        raise NotImplementedError(f"alias {name!r} is turned; only hFlip is handled")
    if alias.get("hFlip"):
        shift = 2 * icon["left"] + icon["width"]
        icon["body"] = f'<g transform="translate({shift} 0) scale(-1 1)">{icon["body"]}</g>'
    return icon


def rasterized(icon: dict) -> np.ndarray:
    """The icon on white, uint8 [96, 96, 3] at 64 levels a channel."""
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{icon["left"]} {icon["top"]} {icon["width"]} {icon["height"]}" '
        f'width="{SIZE}" height="{SIZE}">{icon["body"]}</svg>'
    )
    png = resvg_py.svg_to_bytes(svg_string=svg, width=SIZE, height=SIZE, background="#ffffff", skip_system_fonts=True)
    pixels = np.asarray(Image.open(io.BytesIO(bytes(png))).convert("RGB"), np.float64)
    if pixels.shape != (SIZE, SIZE, 3):
        canvas = np.full((SIZE, SIZE, 3), 255.0)
        top, left = (SIZE - pixels.shape[0]) // 2, (SIZE - pixels.shape[1]) // 2
        canvas[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
        pixels = canvas
    return np.rint(np.rint(pixels * (LEVELS / 255)) * (255 / LEVELS)).astype(np.uint8)


def encoded(pixels: np.ndarray) -> bytes:
    """The image as lossless WebP."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "WEBP", lossless=True, quality=90, method=4)
    return out.getvalue()


def distinct(drawings: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The drawings that can be seen and that no earlier vendor has drawn just so."""
    kept: dict[str, np.ndarray] = {}
    for vendor, pixels in drawings.items():
        others = (np.abs(pixels.astype(int) - other).mean() for other in kept.values())
        if np.ptp(pixels) >= BLANK and all(difference >= SAME for difference in others):
            kept[vendor] = pixels
    return kept
