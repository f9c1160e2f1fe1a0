"""What the radius means: images of each layer from the origin outward."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Array, Bool, Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from hypjax.show.plots import style

INCHES, LABEL = 0.55, 2.6  # of an image; image widths left for the words before it


def layers(
    image: Callable[[int], UInt8[np.ndarray, "h w 3"]],
    radius: Float[Array | np.ndarray, "n"],
    *,
    wrong: Bool[Array | np.ndarray, "n"] | None = None,
    rows: int = 8,
    columns: int = 14,
    title: str = "From the origin outward",
    ax: Axes | None = None,
) -> Figure:
    """Draw images in layers of equal count by their distance from the origin, the nearest on top.

    Of each layer evenly spaced images are shown, ordered by radius. On the left stand the layer's radii and,
    where `wrong` is given, how many of its images find their class first.

    Args:
        image: An image by its index, uint8 [h, w, 3], of any size.
        radius: Of each image, ≥ 0.
        wrong: Whether the nearest neighbor of each image is of another class.
        rows: Layers, as far as there are so many images.
        columns: Images shown of a layer, as far as it has so many.
        title: Title of a new figure.
        ax: Where to draw; in a new figure by default.

    Raises:
        ValueError: there are no images.
    """
    radius = np.asarray(radius)
    if not len(radius):
        raise ValueError("no images to draw")
    bands = np.array_split(np.argsort(radius, kind="stable"), min(rows, len(radius)))
    columns = min(columns, max(len(band) for band in bands))
    size = max(INCHES * (columns + LABEL) + 0.2, 5.0), INCHES * 1.08 * len(bands) + 0.8
    words = "Each row holds as many images" + ("" if wrong is None else "; found: the nearest other is of its class")
    figure, (ax,) = style.panels(ax, 1, size, title, caption=f"{words}.")
    style.plain(ax)
    ax.set(xlim=(-LABEL, columns), ylim=(1.08 * len(bands), -0.06), aspect="equal", anchor="NW")
    for row, band in enumerate(bands):
        top = 1.08 * row
        words = f"{radius[band[0]]:.2f} – {radius[band[-1]]:.2f}"
        ax.text(-LABEL, top + 0.38, words, fontsize=8, va="center")
        if wrong is not None:
            found = 1 - np.mean(np.asarray(wrong)[band])
            ax.text(-LABEL, top + 0.68, f"{found:.0%} found", fontsize=7.5, color=style.ink(0.65), va="center")
        shown = band[np.unique(np.linspace(0, len(band) - 1, min(columns, len(band))).astype(int))]
        for column, index in enumerate(shown.tolist()):
            ax.imshow(image(index), extent=(column, column + 0.96, top + 0.96, top), interpolation="antialiased")
            frame = Rectangle((column, top), 0.96, 0.96, fill=False, edgecolor=style.ink(0.15), linewidth=0.5)
            ax.add_patch(frame)  # a white image on white has an edge too
    return figure
