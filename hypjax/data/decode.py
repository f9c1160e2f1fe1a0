"""Any image file to RGB: orientation, grey, palette, alpha over white, CMYK, 16 bits."""

import io
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image

from hypjax.data.errors import DataError
from hypjax.data.places import Place, size

MAX_PIXELS = 64_000_000  # 8000 x 8000: beyond lies a damaged header, a bomb, or an image to be shrunk beforehand
# What the last bytes of a file hold that was not cut short; WebP says its length at the start.
ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
TAIL = 64
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright(image: Image.Image) -> Image.Image:
    """Turn an image as its EXIF orientation says; one that cannot be read says nothing."""
    image.load()
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # cameras and editors write EXIF that makes Pillow raise many types; the pixels are sound
        orientation = 1
    return image.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else image


def to_rgb(image: Image.Image) -> Image.Image:
    """Turn upright by EXIF, put alpha over white, and bring any mode to 8-bit RGB."""
    image = upright(image)
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, np.float64)
        # Pillow would clip 16-bit grey at 255, turning it white.
        image = Image.fromarray(np.clip(values / (257.0 if values.max() > 255 else 1.0), 0, 255).astype(np.uint8))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.new("RGBA", rgba.size, "white")
        image.alpha_composite(rgba)
    return image.convert("RGB")


def shrunk(image: Image.Image, shorter_side: int) -> Image.Image:
    """An image with its shorter side brought down to a number of pixels; smaller ones, and all for 0, stay."""
    factor = min(image.size) / shorter_side if shorter_side else 0
    if factor <= 1:
        return image
    size = max(1, round(image.width / factor)), max(1, round(image.height / factor))
    return image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)


def decode(
    data: bytes | Place, *, name: str, shorter_side: int = 0, formats: tuple[str, ...] | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """Decode an encoded image to RGB.

    Args:
      data: the bytes of an image file, or its path.
      name: what to call it in the error.
      shorter_side: of a larger image, shrunk to it on the way, in pixels; 0 for as it is. A camera's JPEG takes a tenth
        of the time then.
      formats: those that are tried, by Pillow's names; all that it knows by default.

    Raises:
      DataError: it does not decode, or has more than `MAX_PIXELS` pixels; the message names it.
    """
    try:
        with _open(data, formats) as image:
            if shorter_side:
                # Lets a JPEG decode at a half, a quarter or an eighth, not below this size; else does nothing.
                image.draft(None, (shorter_side, shorter_side))
            return np.array(shrunk(to_rgb(image), shorter_side))
    except Exception as error:  # Pillow's decoders raise a dozen unrelated types on damaged files
        raise _refusal(error, data, name) from error


def check_header(path: Place) -> None:
    """Check that a file begins like an image that can be decoded, and ends like one; reads a few hundred bytes.

    One that does not end as its format ends may be sound all the same, so that it is decoded; so is one at an address,
    which is read whole anyway.

    Raises:
      DataError: it does not, or does not decode; the message names it.
    """
    try:
        with _open(path) as image:
            whole = isinstance(path, Path) and _ends(path, image.format)
    except Exception as error:
        raise _refusal(error, path, str(path)) from error
    if not whole:
        decode(path, name=str(path), shorter_side=1)


def _ends(path: Path, kind: str | None) -> bool:
    size = path.stat().st_size
    with path.open("rb") as file:
        if kind == "WEBP":
            return int.from_bytes(file.read(8)[4:], "little") + 8 <= size
        file.seek(max(0, size - TAIL))
        return ENDS.get(kind or "", b"") in file.read()


def _open(data: bytes | Place, formats: tuple[str, ...] | None = None) -> Image.Image:
    if not isinstance(data, Path):
        data = io.BytesIO(data if isinstance(data, bytes) else data.read_bytes())
    image = Image.open(data, formats=formats)
    width, height = image.size
    if width * height > MAX_PIXELS:
        image.close()
        raise ValueError(f"{width} x {height} pixels are more than {MAX_PIXELS:,}")
    return image


def _refusal(error: Exception, data: bytes | Place, name: str) -> DataError:
    reason = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, Image.DecompressionBombError):  # Pillow refuses by itself what is larger still
        reason = f"its pixels are more than {MAX_PIXELS:,}"
    if isinstance(error, Image.UnidentifiedImageError):
        empty = not data if isinstance(data, bytes) else size(data) == 0
        reason = "the file is empty" if empty else "not an image Pillow knows"
    return DataError(
        f"{name}: cannot decode this image ({reason}); --config.data.skip_corrupt=true leaves such out of a new run, "
        "and one that has begun goes on once the file is mended or, unless it is trained on, deleted"
    )
