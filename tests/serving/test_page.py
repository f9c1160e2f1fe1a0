"""The page as people use it, in a browser: against made-up answers, and once against the server itself."""

import csv
import shutil
from base64 import b64encode
from pathlib import Path

import jax
import numpy as np
import pytest

from hypjax.data.listing import ListedImages
from hypjax.geometry import poincare
from tests import programs
from tests.serving import made_up
from tests.serving.browsing import disk, eventually, needs_browser, neighbors

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [pytest.mark.slow, needs_browser]


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


DROP = """bytes => {
  const carried = new DataTransfer();
  const content = Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0));
  carried.items.add(new File([content], "mine.png", { type: "image/png" }));
  document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: carried, bubbles: true }));
}"""


def test_a_picture_that_is_dropped_finds_itself_on_the_server_itself(opens, port, indexed):
    page = opens(f"http://127.0.0.1:{port}/")
    page.evaluate(DROP, b64encode((indexed.photos / "class 3" / "1.png").read_bytes()).decode())
    assert neighbors(page, 12)[0] == "class 3/1.png"
    playwright.expect(page.locator(".neighbors button").first).to_contain_text("distance 0.00")
    playwright.expect(page.locator("#found")).to_contain_text("the first is wrong with probability")
    eventually(page, "[...document.querySelectorAll('.neighbors img')].every((image) => image.naturalWidth > 0)")
    place = disk(page, "disk.focusPlace()")
    assert place == pytest.approx([0, 0], abs=1e-9)
    page.click("#tab-queue")
    playwright.expect(page.locator(".card")).to_contain_text("1 of 18")


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
    evil = f"odd/{made_up.EVIL}"
    page.evaluate("path => { location.hash = '#path=' + encodeURIComponent(path); location.reload(); }", evil)
    playwright.expect(page.locator(".query h2")).to_have_text(evil)
    page.click("#tab-tree")
    page.locator("[role=treeitem]", has_text="odd").click()
    playwright.expect(page.locator("[role=treeitem][aria-level='2']", has_text=made_up.EVIL)).to_be_visible()
    page.click("#tab-queue")
    playwright.expect(page.locator(".queue")).to_contain_text(made_up.EVIL)
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
    playwright.expect(page.locator("#options")).to_be_hidden()
    assert page.locator(".ask").bounding_box()["height"] < 70
    page.click("#more")
    playwright.expect(page.locator("#options")).to_be_visible()
    for tab in ("found", "tree", "queue", "disk"):
        page.click(f"#tab-{tab}")
        playwright.expect(page.locator(f"#{tab}")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    playwright.expect(page.locator(".hint").first).to_be_hidden()
    eventually(page, "document.querySelector('.disk canvas').disk.view.width > 300")
