"""Image transforms on uint8 RGB with an explicit generator: crops, flips, color, rotation, degradation."""

import dataclasses
import math

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageFilter

FITS = ("crop", "squash")
DEGRADATIONS = ("blur", "noise", "occlusion")
BLUR_SIGMA = 1 / 16  # of the shorter side, at level 1
NOISE_STD = 80.0  # of 255, at level 1
OCCLUDED_AREA = 0.6  # of the image, at level 1
INTERPOLATIONS = tuple(kind.name.lower() for kind in Image.Resampling)
GREY = np.array([0.299, 0.587, 0.114])
WHITE = (255, 255, 255)


def _resampling(interpolation: str) -> Image.Resampling:
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"unknown interpolation {interpolation!r}; there are {', '.join(INTERPOLATIONS)}")
    return Image.Resampling[interpolation.upper()]


def random_crop_box(
    height: int, width: int, rng: np.random.Generator, *, scale: tuple[float, float], ratio: tuple[float, float]
) -> tuple[float, float, float, float]:
    """A random box `(left, top, right, bottom)` whose share of the area and width : height lie in the ranges.

    The share is uniform, the ratio log-uniform; after ten misses the largest centered box of an allowed ratio is taken.

    Source: Szegedy et al., "Going deeper with convolutions", CVPR 2015, section 6.
    """
    for _ in range(10):
        area = height * width * rng.uniform(*scale)
        shape = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = math.sqrt(area * shape), math.sqrt(area / shape)
        if w <= width and h <= height:
            left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
            return left, top, left + w, top + h
    shape = min(max(width / height, ratio[0]), ratio[1])
    w, h = min(width, height * shape), min(height, width / shape)
    return (width - w) / 2, (height - h) / 2, (width + w) / 2, (height + h) / 2


def color_matrix(rng: np.random.Generator, *, jitter: float, tint: float) -> tuple[float, ...]:
    """A random 3 × 4 color matrix: saturation, contrast and brightness within 1 ± jitter, then a tint of white.

    The tint multiplies each channel by a factor in [1 − tint, 1], so it colors white and leaves black. [ours]
    """
    saturation, contrast, brightness = rng.uniform(1 - jitter, 1 + jitter, 3)
    matrix = saturation * np.eye(3) + (1 - saturation) * GREY[None, :]
    factors = brightness * rng.uniform(1 - tint, 1, 3)
    offset = np.full((3, 1), 127.5 * (1 - contrast))
    return tuple((factors[:, None] * np.hstack([contrast * matrix, offset])).ravel().tolist())


def degrade(
    image: UInt8[np.ndarray, "h w 3"], kind: str, level: float, rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """Damage an image by a level; for one state of the generator, more level is more of the same damage.

    The kinds and their strengths are [ours]:

    - `blur`: Gaussian of sigma `level` / 16 of the shorter side;
    - `noise`: white Gaussian noise of standard deviation 80 · `level`, of 255;
    - `occlusion`: a rectangle of the image's proportions in one random color over 0.6 · `level` of the area.

    Args:
      image: RGB.
      kind: one of `DEGRADATIONS`.
      level: in [0, 1]; 0 returns the image as it is.
      rng: place and color of the occlusion, and the noise.

    Raises:
      ValueError: an unknown kind, or a level out of range.
    """
    if kind not in DEGRADATIONS:
        raise ValueError(f"unknown degradation {kind!r}; there are {', '.join(DEGRADATIONS)}")
    if not 0 <= level <= 1:
        raise ValueError(f"level must lie in [0, 1]; got {level}")
    height, width, _ = image.shape
    if level == 0:
        return image
    if kind == "blur":
        sigma = level * BLUR_SIGMA * min(height, width)
        return np.array(Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma)))
    if kind == "noise":
        noise = rng.standard_normal(image.shape, np.float32) * np.float32(NOISE_STD * level)
        return np.clip(noise + image, 0, 255).astype(np.uint8)
    side = math.sqrt(OCCLUDED_AREA * level)
    h, w = round(side * height), round(side * width)
    top, left = (rng.random(2) * (height - h, width - w)).astype(int)
    occluded = image.copy()
    occluded[top : top + h, left : left + w] = rng.integers(0, 256, 3, np.uint8)
    return occluded


@dataclasses.dataclass(frozen=True)
class TrainTransform:
    """Random resized crop, then by choice a flip, a rotation and a change of color.

    `DRAWINGS` and `PHOTOGRAPHS` are the settings for the two kinds of images.

    Args:
      size: side of the square result, pixels.
      scale: range of the crop's share of the area, in (0, 1].
      ratio: range of the crop's width : height.
      flip: mirror every other image; leave it off where arrows, hands and letters have a direction.
      rotation: largest angle, degrees, to either side; corners are filled with white.
      jitter: largest relative change of saturation, contrast and brightness, in [0, 1).
      tint: largest coloring of white, in [0, 1].
      interpolation: of the crop, one of `INTERPOLATIONS`.

    Raises:
      ValueError: a setting out of range.
    """

    size: int
    scale: tuple[float, float] = (0.2, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: bool = True
    rotation: float = 0.0
    jitter: float = 0.0
    tint: float = 0.0
    interpolation: str = "bicubic"

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size must be positive; got {self.size}")
        if not 0 < self.scale[0] <= self.scale[1] <= 1 or not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(f"need 0 < scale[0] <= scale[1] <= 1 and 0 < ratio[0] <= ratio[1]; got {self}")
        if not (0 <= self.jitter < 1 and 0 <= self.tint <= 1):
            raise ValueError(f"jitter and tint are shares in [0, 1]; got {self}")
        _resampling(self.interpolation)

    def __call__(self, image: UInt8[np.ndarray, "h w 3"], rng: np.random.Generator) -> UInt8[np.ndarray, "size size 3"]:
        """Draw one view of an image."""
        box = random_crop_box(image.shape[0], image.shape[1], rng, scale=self.scale, ratio=self.ratio)
        view = Image.fromarray(image).resize((self.size, self.size), _resampling(self.interpolation), box)
        if self.flip and rng.random() < 0.5:
            view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if self.rotation:
            angle = rng.uniform(-self.rotation, self.rotation)
            view = view.rotate(angle, Image.Resampling.BILINEAR, fillcolor=WHITE)
        if self.jitter or self.tint:
            view = view.convert("RGB", color_matrix(rng, jitter=self.jitter, tint=self.tint))
        return np.array(view)


@dataclasses.dataclass(frozen=True)
class RandomDegradation:
    """One random degradation of a level uniform in [0, 1] on a share of the images.

    Args:
      share: in [0, 1].

    Raises:
      ValueError: a share out of range.
    """

    share: float

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"share must lie in [0, 1]; got {self.share}")

    def __call__(
        self, image: UInt8[np.ndarray, "h w 3"], rng: np.random.Generator
    ) -> tuple[UInt8[np.ndarray, "h w 3"], float]:
        """The image, damaged or not, and the level of the damage: 0 for none."""
        if rng.random() >= self.share:
            return image, 0.0
        kind, level = DEGRADATIONS[rng.integers(len(DEGRADATIONS))], rng.random()
        return degrade(image, kind, level, rng), level


PHOTOGRAPHS = {"scale": (0.2, 1.0), "flip": True}
DRAWINGS = {"scale": (0.5, 1.0), "flip": False, "rotation": 10.0, "jitter": 0.3, "tint": 0.2}


@dataclasses.dataclass(frozen=True)
class EvaluationTransform:
    """Resize the shorter side, or both, and take the central square; with a degradation by choice.

    Args:
      size: side of the square result, pixels.
      resize: what the shorter side becomes first, at least `size`; `None` for `size` itself.
      degradation: one of `DEGRADATIONS`, or `None`.
      level: of the degradation, in [0, 1].
      fit: one of `FITS`; `crop` keeps the proportions, `squash` makes both sides `resize`.
      interpolation: one of `INTERPOLATIONS`.

    Raises:
      ValueError: `resize` is below `size`, or an unknown fit or interpolation.
    """

    size: int
    resize: int | None = None
    degradation: str | None = None
    level: float = 0.0
    fit: str = "crop"
    interpolation: str = "bicubic"

    def __post_init__(self) -> None:
        if self.fit not in FITS:
            raise ValueError(f"unknown fit {self.fit!r}; there are {', '.join(FITS)}")
        _resampling(self.interpolation)
        if self.size < 1 or (self.resize is not None and self.resize < self.size):
            raise ValueError(f"need 1 <= size <= resize; got {self}")

    def __call__(self, image: UInt8[np.ndarray, "h w 3"], rng: np.random.Generator) -> UInt8[np.ndarray, "size size 3"]:
        """The view; the generator serves the degradation only."""
        height, width, _ = image.shape
        share, shorter = self.size / (self.resize or self.size), min(height, width)
        w, h = (share * width, share * height) if self.fit == "squash" else (share * shorter, share * shorter)
        left, top = (width - w) / 2, (height - h) / 2
        box = (left, top, left + w, top + h)
        view = np.array(Image.fromarray(image).resize((self.size, self.size), _resampling(self.interpolation), box))
        return view if self.degradation is None else degrade(view, self.degradation, self.level, rng)
