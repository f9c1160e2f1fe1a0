import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from hypjax.data.decode import check_header, decode
from hypjax.data.errors import DataError


def encoded(image, kind="PNG", **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


@pytest.mark.parametrize(
    ("image", "kind", "expected"),
    [
        (Image.new("L", (3, 2), 77), "PNG", (77, 77, 77)),
        (Image.new("1", (3, 2), 1), "PNG", (255, 255, 255)),
        (Image.new("RGBA", (3, 2), (255, 0, 0, 0)), "PNG", (255, 255, 255)),
        (Image.new("RGBA", (3, 2), (0, 0, 0, 128)), "PNG", (127, 127, 127)),
        (Image.new("LA", (3, 2), (0, 0)), "PNG", (255, 255, 255)),
        (Image.fromarray(np.full((2, 3), 257 * 130, np.uint16)), "PNG", (130, 130, 130)),
        (Image.new("RGB", (3, 2), (9, 8, 7)).quantize(4), "PNG", (9, 8, 7)),
        (Image.new("CMYK", (3, 2), (0, 255, 255, 0)), "TIFF", (255, 0, 0)),
    ],
)
def test_every_mode_becomes_rgb(image, kind, expected):
    pixels = decode(encoded(image, kind), name="x")
    assert pixels.shape == (2, 3, 3)
    np.testing.assert_allclose(pixels[1, 2], expected, atol=1)


def test_cmyk_jpeg_keeps_its_color():
    pixels = decode(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95), name="x")
    np.testing.assert_allclose(pixels[8, 8], (255, 0, 0), atol=8)


def test_transparent_palette_goes_over_white():
    image = Image.new("P", (3, 2), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    np.testing.assert_array_equal(decode(encoded(image, transparency=1), name="x"), 255)


def test_exif_orientation_turns_the_image_upright():
    image = Image.new("RGB", (4, 2), "black")
    image.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    pixels = decode(encoded(image, exif=exif.tobytes()), name="x")
    assert pixels.shape == (4, 2, 3)
    assert pixels[0, 1].tolist() == [255, 255, 255]


@pytest.mark.parametrize("side", [9000, 12000, 60000])
def test_decompression_bomb_is_refused_by_its_header(side, tmp_path):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    with pytest.raises(DataError, match=r"huge\.png: cannot decode this image .*pixels"):
        decode(bomb, name="huge.png")
    (tmp_path / "huge.png").write_bytes(bomb)
    with pytest.raises(DataError, match=r"huge\.png: cannot decode this image .*pixels"):
        check_header(tmp_path / "huge.png")


def test_exif_that_cannot_be_read_turns_nothing():
    data = encoded(Image.new("RGB", (4, 2)), exif=b"Exif\0\0rubbish that is no TIFF")
    assert decode(data, name="x").shape == (2, 4, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_large_images_are_shrunk_on_the_way(kind):
    ramp = np.tile(np.linspace(0, 255, 900).astype(np.uint8)[None, :, None], (300, 1, 3))
    data = encoded(Image.fromarray(ramp), kind)
    small = decode(data, name="x", shorter_side=100)
    assert small.shape == (100, 300, 3)
    np.testing.assert_allclose(small[50, 15::30, 0], ramp[0, 45::90, 0], atol=4)
    assert decode(data, name="x", shorter_side=300).shape == (300, 900, 3)
    upright = Image.Exif()
    upright[0x0112] = 6
    turned = encoded(Image.fromarray(ramp), kind, exif=upright.tobytes())
    assert decode(turned, name="x", shorter_side=100).shape == (300, 100, 3)


def test_damage_is_found_however_an_image_is_shrunk():
    pixels = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    data = encoded(Image.fromarray(pixels), "JPEG")
    for side in (0, 25):
        with pytest.raises(DataError, match="truncated"):
            decode(data[: len(data) // 2], name="x", shorter_side=side)


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
def test_a_file_cut_short_is_found_by_its_end(kind, tmp_path):
    path = tmp_path / f"a.{kind}"
    pixels = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, kind)
    check_header(path)
    whole = path.read_bytes()
    path.write_bytes(whole + b"\0" * 200)  # what some cameras leave behind harms nothing
    check_header(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=rf"a.{kind}: cannot decode this image"):
        check_header(path)
