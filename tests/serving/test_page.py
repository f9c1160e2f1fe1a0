"""The page as people use it, in a browser, against a server of made-up answers."""

import csv
import json
import shutil
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import jax
import numpy as np
import pytest

import hypjax
from hypjax.data.listing import ListedImages
from hypjax.geometry import poincare
from hypjax.show import explore
from tests import programs
from tests.pictures import save_pictures

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

PACKAGE = Path(hypjax.__file__).parent
FOLDERS = (PACKAGE / "serving" / "page", PACKAGE / "show" / "explore")
KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
POLICY = "default-src 'self'; img-src 'self' blob: data:; style-src 'self'"
PATIENCE = 15_000  # milliseconds, on a busy machine
EVIL = "<img src=x onerror=document.title='gone'>.png"
QUIET = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync"]  # fmt: skip


class Answers:
    """Seven classes of pictures at made-up places; who asks for one finds it, and the next ones in order."""

    def __init__(self, root):
        self.root = save_pictures(root, classes=6, each=3)
        (root / "odd").mkdir()
        (root / "odd" / EVIL).write_bytes((root / "class 0" / "0.png").read_bytes()[:-12] + b"\0" * 12)
        shutil.copy(root / "class 1" / "0.png", root / "odd" / "1.png")
        self.paths = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
        generator = np.random.default_rng(0)
        directions = generator.normal(size=(len(self.paths), 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        points = generator.uniform(0.1, 0.9, (len(self.paths), 1)) * directions
        self.uncertainty = np.linspace(0.9, 0.1, len(self.paths)).tolist()
        self.world = explore.world(points, self.paths, self.uncertainty, geometry="poincare", curvature=1.0)
        self.asked = []

    def get(self, path, query):
        if path == "/about":
            return {"run": "tiny", "step": 3, "geometry": "poincare", "curvature": 1.0, "distance": "geodesic",
                    "count": len(self.paths), "calibrated": True, "risks": [0.05, 0.1], "levels": ["class"],
                    "folder": self.root.name, "changes": 1}  # fmt: skip
        if path == "/map":
            return self.world
        if path == "/queue":
            rows = zip(self.paths, self.uncertainty, strict=True)
            return {"items": [{"path": path, "label": path.split("/")[0], "uncertainty": u, "p_wrong": None}
                              for path, u in rows]}  # fmt: skip
        return None

    def search(self, body, kind):
        if kind.startswith("application/json"):
            told = json.loads(body)
            start, own, k = self.paths.index(told["path"]) + 1, told["path"], told["k"]
            self.asked.append(told)
            if told.get("where") == "nonsense":
                return None
        else:
            start = next(i for i, path in enumerate(self.paths) if (self.root / path).read_bytes() in body)
            own, k = None, 5
        found = [(start + i) % len(self.paths) for i in range(k)]
        return {
            "query": {"path": own, "uncertainty": 0.25, "x": 0.3, "y": -0.4},
            "neighbors": [{"path": self.paths[row], "distance": 0.5 + rank, "uncertainty": self.uncertainty[row]}
                          for rank, row in enumerate(found)],
            "p_wrong": 0.31, "given": None if own is None else False, "unlike": own is None, "higher": "", "enough": 3,
            "words": ["the first is wrong with probability 0.31"],
        }  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    def __init__(self, answers, token, *rest):
        self.answers, self.token = answers, token
        super().__init__(*rest)

    def log_message(self, *_):
        pass

    def send(self, status, body, kind="application/json"):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in (("Content-Type", kind), ("Content-Length", len(body)), ("Content-Security-Policy", POLICY)):
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def refused(self):
        if self.token and self.headers.get("Authorization") != f"Bearer {self.token}":
            self.send(401, {"error": "give the token"})
            return True
        return False

    def do_GET(self):
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        name = "index.html" if url.path == "/" else url.path.removeprefix("/page/")
        file = next((folder / name for folder in FOLDERS if (folder / name).is_file()), None)
        if file:
            self.send(200, file.read_bytes(), KINDS[file.suffix])
        elif not self.refused():
            if url.path == "/image":
                self.send(200, (self.answers.root / query["path"]).read_bytes(), "image/png")
            else:
                found = self.answers.get(url.path, query)
                self.send(200 if found else 404, found or {"error": "there is no such thing"})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.refused():
            found = self.answers.search(body, self.headers["Content-Type"])
            self.send(200 if found else 400, found or {"error": "where: nonsense is no filter"})


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    return Answers(tmp_path_factory.mktemp("photos") / "my photos")


@pytest.fixture(scope="module")
def serve(answers):
    """Starts servers that know a token, or none; their addresses."""
    running = []

    def start(token=""):
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, answers, token))
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        running.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def browser():
    playwright.expect.set_options(timeout=PATIENCE)
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield started
        started.close()


@pytest.fixture(scope="module")
def address(serve):
    return serve()


@pytest.fixture
def opens(browser):
    """Opens a page of its own; whatever it complains of fails the test."""
    contexts, complaints = [], []

    def start(url, **options):
        contexts.append(
            browser.new_context(**{"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce"} | options)
        )
        page = contexts[-1].new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda line: line.type == "error" and complaints.append(line.text))
        page.goto(url)
        page.locator(".disk canvas, #token[open]").wait_for()
        return page

    yield start
    for context in contexts:
        context.close()
    expected = ("status of 400", "status of 401")
    assert [line for line in complaints if not any(word in line for word in expected)] == []


def neighbors(page, count):
    cards = page.locator(".neighbors button")
    playwright.expect(cards).to_have_count(count)
    return [card.get_attribute("title") for card in cards.all()]


def eventually(page, expression):
    """Waits for an expression to be true; the page's policy would not let Playwright's own waiting evaluate it."""
    for _ in range(250):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(20)
    raise AssertionError(expression)


def disk(page, expression):
    return page.evaluate(
        f"(() => {{ const disk = document.querySelector('.disk canvas').disk; return {expression}; }})()"
    )


def test_a_picture_finds_its_like_and_one_goes_on_from_there(opens, address, answers):
    page = opens(address)
    playwright.expect(page).to_have_title("my photos – hypjax")
    page.set_input_files("#file", answers.root / "class 4" / "1.png")
    assert neighbors(page, 5)[0] == "class 4/1.png"
    first = page.locator(".neighbors button").first
    playwright.expect(first).to_contain_text("distance 0.500")
    playwright.expect(first).to_contain_text("certainty")
    playwright.expect(page.locator("#found")).to_contain_text("nothing like it")
    playwright.expect(page.locator("#found")).to_contain_text("wrong with probability 0.31")
    assert disk(page, "[disk.selected, disk.neighbors.length, disk.query]") == [-1, 5, [0.3, -0.4]]
    first.click()
    assert neighbors(page, 12)[0] == "class 4/2.png"
    playwright.expect(page.locator("#found")).to_contain_text("not sure")
    assert disk(page, "disk.world.paths[disk.selected]") == "class 4/1.png"
    assert disk(page, "Math.hypot(...disk.focusPlace())") == pytest.approx(0, abs=1e-9)
    page.fill("#k", "3")
    page.select_option("#risk", "0.1")
    page.fill("#where", "uncertainty < 0.4")
    page.press("#where", "Enter")
    assert neighbors(page, 3)[0] == "class 4/2.png"
    asked = {"path": "class 4/1.png", "k": 3, "where": "uncertainty < 0.4", "risk": 0.1}
    assert answers.asked[-1] == asked
    page.go_back()
    playwright.expect(page.locator(".query h2")).to_have_text("1.png")
    page.fill("#where", "nonsense")
    page.go_forward()
    playwright.expect(page.locator("#error")).to_have_text("where: nonsense is no filter")


def test_a_drag_moves_the_plane_by_an_isometry(opens, address, answers):
    page = opens(address)
    start, end = [0.35, 0.2], [-0.3, 0.45]
    box = page.locator(".disk canvas").bounding_box()
    points = disk(page, f"[disk.view.toScreen(...{start}), disk.view.toScreen(...{end})]")
    places = np.round([[x + box["x"], y + box["y"]] for x, y in points])
    page.mouse.move(*places[0])
    page.mouse.down()
    page.mouse.move(*places.mean(axis=0), steps=3)
    page.mouse.move(*places[1])
    page.mouse.up()
    corner = [box["x"], box["y"]]
    p, q = ((disk(page, f"disk.view.toDisk(...{(place - corner).tolist()})")) for place in places)
    assert disk(page, f"disk.view.toView(...{p})") == pytest.approx(q, abs=1e-12)
    with jax.enable_x64(True):
        (px, py), (qx, qy) = p, q
        p, q = complex(px, py), complex(qx, qy)
        a = (q - p + q * p * np.conj(q - p)) / (1 - abs(p * q) ** 2)
        before = np.array([disk(page, "[...disk.x]"), disk(page, "[...disk.y]")]).T
        shift = np.broadcast_to([a.real, a.imag], before.shape)
        wanted = np.asarray(poincare.mobius_add(jax.numpy.asarray(shift), jax.numpy.asarray(before), c=1.0))
    eventually(page, "document.querySelector('.disk canvas').disk.waiting === false")
    after = np.array([disk(page, "[...disk.viewX]"), disk(page, "[...disk.viewY]")]).T
    np.testing.assert_allclose(after, wanted, atol=1e-9)
    page.mouse.wheel(0, -600)
    eventually(page, "document.querySelector('.disk canvas').disk.view.zoom > 2")


def save(page, answers, folder):
    """Saves the listing into a copy of the pictures, where a user puts it; its path."""
    with page.expect_download() as saved:
        page.click("text=Save listing")
    listing = folder / "my photos" / saved.value.suggested_filename
    shutil.copytree(answers.root, listing.parent)
    saved.value.save_as(listing)
    return listing


def test_marks_become_a_listing_that_training_reads(opens, address, answers, tmp_path):
    page = opens(address)
    page.click("#tab-queue")
    playwright.expect(page.locator(".queue")).to_be_focused()
    for key in ("r", "w", "n"):
        page.keyboard.press(key)
    page.keyboard.type('owl, "snowy"')
    page.keyboard.press("Enter")
    playwright.expect(page.locator(".card")).to_contain_text("4 of 20")
    for key in ("j", "j", "k", "w", "k", "u", "ArrowDown", "ArrowUp"):
        page.keyboard.press(key)
    playwright.expect(page.locator(".card")).to_contain_text("5 of 20")
    page.reload()
    page.click("#tab-queue")
    playwright.expect(page.locator(".mark:not(:empty)")).to_have_text(["✓ right", "✗ wrong", '✎ owl, "snowy"'])
    listing = save(page, answers, tmp_path)
    labels = {row["path"]: row["label"] for row in csv.DictReader(listing.read_text("utf-8").splitlines())}
    wrong, renamed = answers.paths[1], answers.paths[2]
    assert labels == {path: path.split("/")[0] for path in answers.paths if path != wrong} | {renamed: 'owl, "snowy"'}
    source = ListedImages(listing)
    assert len(source) == 19
    assert 'owl, "snowy"' in source.class_names
    page.uncheck("text=with all others")
    with page.expect_download() as saved:
        page.click("text=Save listing")
    lines = Path(saved.value.path()).read_text().splitlines()
    assert lines == ["path,label", "class 0/0.png,class 0", 'class 0/2.png,"owl, ""snowy"""']


@pytest.mark.slow
def test_training_takes_the_listing(opens, address, answers, tmp_path):
    page = opens(address)
    page.click("#tab-queue")
    playwright.expect(page.locator(".queue")).to_be_focused()
    page.keyboard.press("w")
    listing = save(page, answers, tmp_path)
    status, out, err = programs.run(*programs.tiny(listing, tmp_path / "run", *programs.LIGHT))
    assert status == 0, err
    assert "train 5 images of 2 classes, validation 5 of 2, test 9 of 3" in out  # 19 of 20, one is wrong


def test_names_are_text_wherever_they_stand(opens, address, answers):
    page = opens(address)
    evil = f"odd/{EVIL}"
    page.evaluate("path => { location.hash = '#path=' + encodeURIComponent(path); location.reload(); }", evil)
    playwright.expect(page.locator(".query h2")).to_have_text(evil)
    page.click("#tab-tree")
    page.locator("[role=treeitem]", has_text="odd").click()
    playwright.expect(page.locator("[role=treeitem][aria-level='2']", has_text=EVIL)).to_be_visible()
    page.click("#tab-queue")
    playwright.expect(page.locator(".queue")).to_contain_text(EVIL)
    playwright.expect(page).to_have_title("my photos – hypjax")
    assert page.locator("img[onerror]").count() == 0


def test_everything_is_reached_by_keys(opens, address, answers):
    page = opens(address)
    page.focus("#tab-found")
    page.keyboard.press("ArrowRight")
    playwright.expect(page.locator("#tab-tree")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    item = page.locator("[role=treeitem]:focus")
    playwright.expect(item).to_have_attribute("aria-expanded", "false")
    for key in ("ArrowDown", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    playwright.expect(item).to_contain_text("0.png")
    page.keyboard.press("ArrowLeft")
    playwright.expect(item).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    playwright.expect(page.locator(".query h2")).to_have_text("class 1/0.png")
    page.focus(".disk canvas")
    before = disk(page, "[...disk.view.isometry]")
    for key in ("ArrowLeft", "ArrowUp", "+"):
        page.keyboard.press(key)
    assert disk(page, "disk.view.zoom") == pytest.approx(1.3)
    assert disk(page, "[...disk.view.isometry]") != before
    page.keyboard.press("Home")
    assert disk(page, "[disk.view.zoom, ...disk.view.isometry]") == [1, 1, 0, 0, 0]
    page.keyboard.press("Tab")
    playwright.expect(page.locator(".disk-status")).to_contain_text("certainty")
    pointed = disk(page, "disk.world.paths[disk.pointed]")
    page.keyboard.press("Enter")
    playwright.expect(page.locator(".query h2")).to_have_text(pointed)
    for _ in range(13):
        page.keyboard.press("Tab")
    playwright.expect(page.locator(".disk canvas")).not_to_be_focused()


def test_it_fits_a_phone_and_asks_for_a_token(opens, serve, answers):
    page = opens(serve("secret"), viewport={"width": 390, "height": 844}, has_touch=True, color_scheme="dark")
    playwright.expect(page.locator("#token")).to_be_visible()
    page.fill("#token-value", "secret")
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#about")).to_contain_text("20 pictures")
    playwright.expect(page.locator("#camera")).to_be_visible()
    page.set_input_files("#shot", answers.root / "class 2" / "0.png")
    assert neighbors(page, 5)[0] == "class 2/0.png"
    eventually(page, "document.querySelector('.neighbors img').naturalWidth > 0")
    for tab in ("found", "tree", "queue", "disk"):
        page.click(f"#tab-{tab}")
        playwright.expect(page.locator(f"#{tab}")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    eventually(page, "document.querySelector('.disk canvas').disk.view.width > 300")
