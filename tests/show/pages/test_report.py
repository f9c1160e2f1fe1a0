import re
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from hypjax.config.settings import default_settings
from hypjax.show import pages
from hypjax.show.pages.figures import meaning

FIGURES = {"recall@1": 0.546, "map@r": 0.3, "uncertainty_auroc": None, "agreement@<i>odd</i>": 0.25, "queries": 4282.0}


class Balanced(HTMLParser):
    """Fails on a tag that is never closed, or closed where it is not open; gathers addresses."""

    def __init__(self):
        super().__init__()
        self.open, self.addresses = [], []

    def handle_starttag(self, tag, attributes):
        self.addresses += [value for name, value in attributes if name in ("src", "href")]
        if tag not in ("meta", "img", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parse(page):
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    return parser.addresses


@pytest.fixture
def workdir(tmp_path):
    for name in ("curves.png", "tree.png"):
        Image.new("RGB", (40, 20), "red").save(tmp_path / name)
    return tmp_path


def write(workdir, figures=FIGURES, **options):
    config = default_settings().to_dict()
    config["data"]["dir"] = "/photos of Müller & <script>alert(1)</script>"
    chosen = {"pictures": workdir, "title": "mein <Lauf>", "status": "finished after 420 steps"} | options
    pages.report(workdir / "report.html", figures, config, **chosen)
    return (workdir / "report.html").read_text(encoding="utf-8")


def test_the_page_needs_nothing_but_itself(workdir):
    page = write(workdir)
    addresses = parse(page)
    assert len(addresses) == 2
    assert all(address.startswith("data:image/png;base64,") for address in addresses)
    assert not re.search(r"https?://|@import|url\(|<script|<link", page)
    assert "default-src 'none'" in page


def test_names_are_text_and_never_tags(workdir):
    page = write(workdir, made_with={"command": "python -m hypjax.train '--workdir=<b>'", "seconds": 433.0})
    assert not re.search(r"<script|<Lauf|<i>|<b>'", page)
    read = unescape(re.sub(r"<[^>]+>", "", page))
    assert "mein <Lauf>" in read
    assert "/photos of Müller & <script>alert(1)</script>" in read
    assert "python -m hypjax.train '--workdir=<b>'" in read
    assert "7 min 13 s" in read


def rows(page):
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", page)]
    return {row[0]: row[1:] for row in cells if row}


def test_figures_stand_beside_what_they_are(workdir):
    found = rows(write(workdir))
    assert found["Recall@1"][:2] == ["0.546", "↑\u00a0higher"]
    assert found["AUROC of u"][0] == "–"  # null in results.json
    assert found["Queries"][0] == "4,282"
    assert found["Agreement, &lt;i&gt;odd&lt;/i&gt;"][0] == "0.250"
    assert all(len(cells) < 3 or cells[2] for cells in found.values())


def test_the_page_opens_with_how_far_answers_can_be_relied_on(workdir):
    promised = {"coverage_by_class@0.1": 0.0, "error_by_class@0.1": 0.0, "level_coverage_by_class@0.1": 0.9}
    promised |= {"level_error_by_class@0.1": 0.071, "coverage_by_image@0.1": 0.6, "error_by_image@0.1": 0.081}
    promised |= {"level_coverage_by_image@0.1": 0.95, "level_error_by_image@0.1": 0.09}
    page = write(workdir, FIGURES | promised, promise="Learned of 9 classes & few.")
    assert "Learned of 9 classes &amp; few." in page
    assert page.index("How far answers can be relied on") < page.index("<h2>Figures")
    told = ["none is proven", "90%, wrong 7.1%", "60%, wrong 8.1%", "95%, wrong 9.0%"]
    assert rows(page)["at most 10%"] == told
    assert "for images of known classes, by class or a group above" in page.lower()
    assert "relied on" not in write(workdir)
    flat = {name: value for name, value in promised.items() if not name.startswith("level_")}
    assert rows(write(workdir, flat))["at most 10%"] == ["none is proven", "60%, wrong 8.1%"]
    for name in promised:
        assert meaning(name).text
        assert "0.1" in meaning(name).title


def test_changed_settings_stand_before_all_others(workdir):
    defaults = default_settings().to_dict()
    defaults["steps"] = 7
    found = re.findall(r"<table>(.*?)</table>", write(workdir, defaults=defaults), re.DOTALL)
    changed = [table for table in found if "Changed from the defaults" in table]
    assert set(rows(changed[0])) == {"data.dir", "steps"}
    assert rows(changed[0])["steps"] == ["420", "7"]
    assert rows(found[-1])["head.radius_range"] == ["(0.7, 0.9)"]


def test_a_bare_workdir_still_has_a_page(tmp_path):
    page = write(tmp_path, figures={})
    assert parse(page) == []
    assert "There are none." in page
    assert "were not recorded" in page


def test_a_resumed_run_says_since_when_its_time_counts(workdir):
    assert "45 s, since it went on from step 6" in write(workdir, made_with={"seconds": 45.0, "resumed_at": 6})


@pytest.mark.parametrize(
    "name", ["recall@16", "body_recall@1", "noise_recall@1", "linkage_tree_purity@group", "nmi", "answer_auroc"]
)
def test_every_kind_of_figure_is_explained(name):
    assert meaning(name).text
    assert meaning(name).better == "higher"
    assert "\\" not in meaning(name).title + meaning(name).text


def test_the_gallery_escapes_names_and_bears_missing_files(tmp_path):
    pixels = np.full((600, 300, 3), 128, np.uint8)
    found = pages.Found("a<b>.png", 0.25, lambda: pixels, ["x/ü.png", "gone.png"], [0.5, 1.25], [0.1, 0.9],
                        [lambda: pixels, lambda: None])  # fmt: skip
    pages.gallery(tmp_path / "g.html", [found], title="Nearest", caption="18 images & more")
    page = (tmp_path / "g.html").read_text(encoding="utf-8")
    addresses = parse(page)
    assert len(addresses) == 2
    assert "the file is not there" in page
    assert "1. <b>d 0.500</b> · u 0.100" in page
    assert "2. <b>d 1.250</b> · u 0.900" in page
    assert "x/<wbr>ü.png" in page
    assert "a&lt;b&gt;.png" in page
    assert "18 images &amp; more" in page


def test_names_that_are_no_utf8_do_not_stop_the_page(workdir):
    assert "caf?.png" in write(workdir, title="caf\udce9.png")
