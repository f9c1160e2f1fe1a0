"""What the radius means: images of each layer from the origin outward."""

from collections.abc import Callable
from os import PathLike

import matplotlib
import numpy as np
from jaxtyping import Array, Bool, Float, UInt8
from matplotlib.patches import Rectangle

from hypjax.plots import style

INCHES, LABEL = 0.55, 2.6  # of an image; image widths left for the words before it


@matplotlib.rc_context(style.RC)
def layers(
    path: str | PathLike[str],
    image: Callable[[int], UInt8[np.ndarray, "h w 3"]],
    radius: Float[Array | np.ndarray, "n"],
    *,
    wrong: Bool[Array | np.ndarray, "n"] | None = None,
    rows: int = 8,
    columns: int = 14,
    title: str = "From the origin outward",
) -> None:
    """Draw images in layers of equal count by their distance from the origin, the nearest on top.

    Of each layer evenly spaced images are shown, ordered by radius. On the left stand the layer's radii and,
    where `wrong` is given, how many of its images find their class first.

    Args:
        path: Where the PNG goes.
        image: An image by its index, uint8 [h, w, 3], of any size.
        radius: Of each image, ≥ 0.
        wrong: Whether the nearest neighbor of each image is of another class.
        rows: Layers, as far as there are so many images.
        columns: Images shown of a layer, as far as it has so many.
        title: Title of the picture.

    Raises:
        ValueError: there are no images.
    """
    radius = np.asarray(radius)
    if not len(radius):
        raise ValueError("no images to draw")
    bands = np.array_split(np.argsort(radius, kind="stable"), min(rows, len(radius)))
    columns = min(columns, max(len(band) for band in bands))
    picture = style.figure(max(INCHES * (columns + LABEL) + 0.2, 5.0), INCHES * 1.08 * len(bands) + 0.8)
    picture.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold", parse_math=False)
    axes = picture.subplots()
    style.plain(axes)
    axes.set(xlim=(-LABEL, columns), ylim=(1.08 * len(bands), -0.06), aspect="equal", anchor="NW")
    for row, band in enumerate(bands):
        top = 1.08 * row
        words = f"{radius[band[0]]:.2f} – {radius[band[-1]]:.2f}"
        axes.text(-LABEL, top + 0.38, words, fontsize=8, va="center")
        if wrong is not None:
            found = 1 - np.mean(np.asarray(wrong)[band])
            axes.text(-LABEL, top + 0.68, f"{found:.0%} found", fontsize=7.5, color=style.MUTED, va="center")
        shown = band[np.unique(np.linspace(0, len(band) - 1, min(columns, len(band))).astype(int))]
        for column, index in enumerate(shown.tolist()):
            axes.imshow(image(index), extent=(column, column + 0.96, top + 0.96, top), interpolation="antialiased")
            frame = Rectangle((column, top), 0.96, 0.96, fill=False, edgecolor=style.FAINT, linewidth=0.5)
            axes.add_patch(frame)  # a white image on white has an edge too
    words = "Each row holds as many images" + ("" if wrong is None else "; found: the nearest other is of its class")
    picture.supxlabel(f"{words}.", x=0.01, ha="left", fontsize=8, color=style.MUTED)
    style.save(picture, path)
