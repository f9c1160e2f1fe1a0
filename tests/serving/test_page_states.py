"""The page where something is not as it was, or not as it should be: in a browser, against made-up answers."""

import copy

import pytest

from tests.serving import made_up
from tests.serving.browsing import disk, needs_browser, neighbors

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [pytest.mark.slow, needs_browser]
STRANGE = "odd/caf\udce9.png"


@pytest.fixture
def index(answers):
    """An index of its own, which a test may change."""
    own = copy.copy(answers)
    own.paths, own.world, own.asked = [*answers.paths], copy.deepcopy(answers.world), []
    return own


@pytest.fixture
def own(index):
    with made_up.serving(index) as address:
        yield address


def test_the_last_part_of_a_known_class_is_that_class(own, opens, index):
    classes = ["animals/crab", "animals/owl", "birds/owl", *(f"class {i}" for i in range(4))]
    index.world["levels"][0]["names"] = classes
    page = opens(own)
    page.click("#tab-queue")
    playwright.expect(page.locator(".queue")).to_be_focused()
    playwright.expect(page.locator(".card h2")).to_have_text("animals/crab")
    said = page.locator(".card [role=status]")
    for typed, becomes in (("crab", "animals/crab"), ("owl", "owl, a new class"), ("birds/owl", "birds/owl")):
        page.keyboard.press("n")
        page.keyboard.type(typed)
        playwright.expect(said).to_have_text(f"→ {becomes}")
        page.keyboard.press("Enter")
    playwright.expect(page.locator(".mark:not(:empty)")).to_have_text(["✎ animals/crab", "✎ owl", "✎ birds/owl"])
    assert [option.get_attribute("value") or option.text_content() for option in
            page.locator("#classes option").all()] == classes  # fmt: skip


def test_only_risks_that_are_proven_can_be_chosen(own, opens):
    page = opens(own)
    playwright.expect(page.locator("#promise")).to_have_text("5% is proven by no threshold")
    playwright.expect(page.locator("#risk option[disabled]")).to_have_text("5 %")
    page.select_option("#risk", "0.1")
    playwright.expect(page.locator("#promise")).to_have_text("answered is what 61% would be")


def test_an_index_that_has_changed_is_taken_anew(own, opens, index):
    page = opens(own)
    gone, added = index.paths[2], "class 0/new.png"
    (index.root / added).write_bytes((index.root / gone).read_bytes())
    unfold = page.locator("[role=treeitem][aria-level='1']", has_text="class 0")
    leaves = page.locator("[role=treeitem][aria-level='2']")
    page.click("#tab-tree")
    unfold.click()
    index.paths[2] = index.world["paths"][2] = added
    index.changes, index.notices = 2, ["calibrate anew"]
    leaves.filter(has_text="0.png").click()
    assert added in neighbors(page, 12)
    playwright.expect(page.locator("#notice")).to_have_text(
        "The index has changed: map, tree and queue are new. calibrate anew"
    )
    assert disk(page, "disk.world.paths[disk.selected]") == index.paths[0]
    page.click("#tab-tree")
    unfold.click()
    playwright.expect(leaves).to_have_text(["0.png", "1.png", "new.png"])
    index.paths[2] = index.world["paths"][2] = gone
    index.changes = 3
    leaves.filter(has_text="new.png").click()
    playwright.expect(page.locator("#error")).to_have_text("the index holds no such image")
    playwright.expect(leaves).to_have_count(0)
    unfold.click()
    leaves.filter(has_text="2.png").click()
    playwright.expect(page.locator(".query h2")).to_have_text(gone)
    playwright.expect(page.locator("#error")).to_be_hidden()
    page.click("#tab-queue")
    playwright.expect(page.locator(".queue")).to_contain_text(gone)
    index.paths[2] = index.world["paths"][2] = added
    index.changes = 4
    page.evaluate("dispatchEvent(new Event('focus'))")
    playwright.expect(page.locator(".queue")).to_contain_text(added)
    playwright.expect(page.locator(".queue")).not_to_contain_text(gone)
    (index.root / added).unlink()


def test_a_failure_leaves_no_answer_of_before_and_a_number_is_one_that_may_be(own, opens, index):
    page = opens(own)
    playwright.expect(page.locator("#where")).to_have_attribute("placeholder", "uncertainty <= 0.53")
    page.fill("#where", "nonsense")
    page.locator("#where").blur()
    playwright.expect(page.locator("#error")).to_have_text("where: nonsense is no filter")
    page.fill("#where", "")
    page.locator("#where").blur()
    playwright.expect(page.locator("#error")).to_be_hidden()
    page.focus(".disk canvas")
    page.keyboard.press("+")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    neighbors(page, 12)
    assert disk(page, "[disk.view.zoom, disk.view.shiftX, disk.view.shiftY]") == [1, 0, 0]
    for given, asked in (("0", 1), ("1000", 100), ("", 12)):
        page.fill("#k", given)
        page.locator("#k").blur()
        neighbors(page, asked)
        assert page.input_value("#k") == str(asked)
    page.fill("#where", "nonsense")
    page.locator("#where").blur()
    playwright.expect(page.locator("#error")).to_have_text("where: nonsense is no filter")
    playwright.expect(page.locator("#found")).to_have_text("To this there is no answer.")
    assert disk(page, "disk.selected") == -1


def test_a_name_that_is_no_utf8_searches_and_has_no_picture(own, opens, index):
    row = index.paths.index("odd/1.png")
    index.paths[row] = index.world["paths"][row] = STRANGE
    page = opens(own)
    page.click("#tab-tree")
    page.locator("[role=treeitem]", has_text="odd").click()
    item = page.locator("[role=treeitem][aria-level='2']", has_text="caf")
    playwright.expect(item.locator("img")).to_have_attribute("title", "no picture: its file name is not UTF-8, "
                                                             "and no address can hold it")  # fmt: skip
    item.click()
    playwright.expect(page.locator(".query h2")).to_contain_text("odd/caf")
    neighbors(page, 12)
    page.locator(".neighbors button").first.click()
    page.go_back()
    playwright.expect(page.locator(".query h2")).to_contain_text("odd/caf")
    assert [asked["path"] for asked in index.asked].count(STRANGE) == 2
    page.click("#tab-queue")
    page.click("text=Save listing")
    playwright.expect(page.locator("#queue")).to_contain_text("19 pictures in listing.csv, without 1 whose names")
    page.evaluate("() => { location.hash = '#path=%E9'; location.reload(); }")
    playwright.expect(page.locator("#found")).to_contain_text("will stand here")
