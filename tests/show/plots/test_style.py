import io

import matplotlib
import numpy as np
import pytest
from IPython.core.formatters import DisplayFormatter
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

from hypjax.retrieval import reliability
from hypjax.show import plots
from hypjax.show.plots import style

CURVE = np.linspace(0.1, 1, 9), np.linspace(0.1, 0.4, 9)
ROWS = [{"step": step, "loss": 1.0 / (step + 1), "learning_rate": 0.1} for step in range(9)]
SEARCH = np.array([[1, 2], [2, 0], [0, 1]]), np.ones((3, 2)), np.array([0, 0, 1]), np.array([0.1, 0.5, 0.9])
RELIABILITY = reliability(np.array([0.2, 0.2, 0.8]), np.array([False, True, True]), bins=5)
POINTS = np.array([[0.1, 0.2], [0.3, -0.4], [-0.5, 0.1]])


def image(index):
    return np.full((8, 8, 3), 40 * index, np.uint8)


# Each with the number of its panels
PLOTS = {
    "comparison": (2, lambda axes=None: plots.comparison({"a": {"x": [1.0, 2.0]}, "b": {"x": [0.5]}}, axes=axes)),
    "training_curves": (2, lambda axes=None: plots.training_curves(ROWS, axes=axes)),
    "disk": (2, lambda axes=None: plots.disk(POINTS, SEARCH[2], ["a", "b"], SEARCH[3], c=1.0, axes=axes)),
    "gallery": (2, lambda axes=None: plots.gallery(image, *SEARCH, axes=axes)),
    "degradation_response": (
        2,
        lambda axes=None: plots.degradation_response(
            [0, 1], {"blur": [0.1, 0.2]}, recall_by_kind={"blur": [0.9, 0.8]}, axes=axes
        ),
    ),
    "ancestors": (1, lambda ax=None: plots.ancestors(POINTS, SEARCH[2][:, None], ["class"], ["a", "b"], c=1.0, ax=ax)),
    "layers": (1, lambda ax=None: plots.layers(image, np.arange(3.0), ax=ax)),
    "tree": (1, lambda ax=None: plots.tree(np.array([3, 3, 3, -1]), image, SEARCH[2], ["a", "b"], ax=ax)),
    "reliability_diagram": (1, lambda ax=None: plots.reliability_diagram(RELIABILITY, ax=ax)),
    "risk_coverage_curve": (1, lambda ax=None: plots.risk_coverage_curve({"u": CURVE}, ideal=CURVE, ax=ax)),
}


def drawn_into(axes):
    return any(child for child in (*axes.lines, *axes.images, *axes.collections))


def test_each_plot_is_looked_at():
    public = {name for name in vars(plots) if callable(getattr(plots, name))} - {"Panel", "choose_leaves"}
    assert public == set(PLOTS)


@pytest.mark.slow
@pytest.mark.parametrize(("panels", "plot"), PLOTS.values(), ids=PLOTS)
def test_plots_leave_no_trace(panels, plot, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = dict(matplotlib.rcParams)
    figure = plot()
    assert isinstance(figure, Figure)
    assert len(figure.axes) == panels
    assert all(map(drawn_into, figure.axes))
    assert dict(matplotlib.rcParams) == before
    assert not plt.get_fignums()
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(("panels", "plot"), PLOTS.values(), ids=PLOTS)
@pytest.mark.parametrize("sub", [False, True])
def test_given_axes_are_drawn_into_and_no_others(panels, plot, sub):
    whole = Figure(figsize=(12, 4), layout="constrained")
    left, right = whole.subfigures(1, 2) if sub else (whole, whole)
    axes = left.subplots(1, panels + 1)
    spare, mine = axes[0], axes[1] if panels == 1 else axes[1:]
    assert plot(mine) is whole
    assert all(map(drawn_into, np.ravel(mine)))
    assert not drawn_into(spare)
    assert len(whole.axes) == panels + 1
    assert left.get_suptitle() == right.get_suptitle() == ""


@pytest.mark.parametrize("name", [name for name, (panels, _) in PLOTS.items() if panels > 1])
def test_too_few_axes_are_refused(name):
    panels, plot = PLOTS[name]
    with pytest.raises(ValueError, match=f"{panels} panels need as many axes, got 1"):
        plot([Figure().subplots()])


@pytest.mark.slow
@pytest.mark.parametrize(("panels", "plot"), PLOTS.values(), ids=PLOTS)
def test_the_style_that_is_set_is_taken(panels, plot):
    with plt.style.context("dark_background"):
        figure = plot()
    words = [text.get_color() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]
    assert figure.get_facecolor() == (0, 0, 0, 1)
    assert style.INK not in words
    assert (0, 0, 0) not in words


def test_a_notebook_shows_a_figure_without_pyplot():
    figure = plots.training_curves(ROWS)
    with Image.open(io.BytesIO(DisplayFormatter().format(figure)[0]["image/png"])) as shown:
        np.testing.assert_array_equal(shown.size, figure.get_size_inches() * figure.dpi)


def test_ink_fades_into_the_paper():
    with matplotlib.rc_context({"text.color": "#ff0000", "axes.facecolor": "#0000ff"}):
        assert style.ink() == (1, 0, 0)
        assert style.ink(0) == (0, 0, 1)
        assert style.ink(0.25) == (0.25, 0, 0.75)


def test_names_in_any_script_are_drawn_without_a_warning(tmp_path):
    picture = Figure(figsize=(2, 1))
    picture.suptitle("犬 🐕 كلب")  # warnings are errors in the tests
    style.save(picture, tmp_path / "new" / "a.png")
    with Image.open(tmp_path / "new" / "a.png") as held:
        assert held.format == "PNG"
    assert style.RC["font.family"][0] == "DejaVu Sans"


def test_a_picture_is_whole_or_not_there(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def fail(picture, file, **options):
        file.write(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="no space"):
        style.save(Figure(), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
