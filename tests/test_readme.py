"""The pages that people read: short, with commands in their place, links that lead somewhere and code that runs."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCS = [page for page in sorted(ROOT.glob("docs/*.md")) if page.name != "CONTRIBUTING.md"]  # the site's copy
PAGES = [README, ROOT / "CONTRIBUTING.md", *DOCS]
FENCE = re.compile(r"^```(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_readme_is_short_and_begins_with_two_commands():
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    train, test = (code.strip() for _, code in FENCE.findall(text)[:2])
    assert train == 'pip install -e ".[pretrained]" && python -m hypjax.train --config configs/hyp_uml.py'
    assert test == 'pip install -e ".[test]" && python -m pytest -n 2'


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target, heading in re.findall(r"\]\((?!\w+:)([^)#\s]*)#?([^)\s]*)\)", page.read_text(encoding="utf-8")):
        place = page.parent / target if target else page
        assert place.is_file(), target
        if heading:
            assert heading in headings(place), f"{target}#{heading}"


def headings(page):
    """The names by which a page's headings are linked to."""
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/methods.md", "docs/adding_a_part.md"])
def test_code_runs(page):
    for language, code in FENCE.findall((ROOT / page).read_text(encoding="utf-8")):
        if language == "python":
            exec(compile(code, page, "exec"), {})


def test_the_sizes_of_a_cluster_are_those_that_are_computed():
    computed = runpy.run_path(str(ROOT / "benchmarks" / "cluster_size.py"))["sizes"]()
    assert "\n".join(computed) in (ROOT / "docs" / "database.md").read_text(encoding="utf-8")
