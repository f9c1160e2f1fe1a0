"""A figure as the pixels that a file of it would hold."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg


def pixels(figure, dpi=150):
    """Red, green and blue of each pixel [h, w, 3], 0 to 255."""
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(int)
