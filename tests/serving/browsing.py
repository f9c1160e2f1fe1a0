"""A browser, and how tests look at its pages."""

import shutil

import pytest

PATIENCE = 15_000  # milliseconds, on a busy machine
CHROMIUM = shutil.which("chromium")
QUIET = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync"]  # fmt: skip
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


def neighbors(page, count):
    """The paths of the neighbors, once there are so many."""
    page.locator(".neighbors button").nth(count - 1).wait_for()
    cards = page.locator(".neighbors button")
    eventually(page, f"document.querySelectorAll('.neighbors button').length === {count}")
    return [card.get_attribute("title") for card in cards.all()]


def eventually(page, expression):
    """Waits for an expression to be true; the page's policy would not let Playwright's own waiting evaluate it."""
    for _ in range(250):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(20)
    raise AssertionError(expression)


def disk(page, expression):
    """What an expression says of the disk."""
    return page.evaluate(
        f"(() => {{ const disk = document.querySelector('.disk canvas').disk; return {expression}; }})()"
    )
