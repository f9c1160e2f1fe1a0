"""How the site is built: `sphinx-build -W --keep-going -q -b html docs build/site`.

Pages are plain Markdown, whose links hold where they stand in the repository. What belongs to the site and lies outside
of docs/ (contributing, evidence, notebooks) is copied in first. Notebooks are shown as they stand and not run.
"""

import inspect
import os
import posixpath
import re
import shutil
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import hypjax

DOCS = Path(__file__).parent
COPIED = ("CONTRIBUTING.md", "evidence/README.md", "evidence/*.png", "notebooks/*.ipynb")

project = "hypjax"
copyright = "the hypjax authors; Apache-2.0"
version = release = hypjax.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "myst_nb"]
html_theme = "furo"
html_title = f"hypjax {version}"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3  # headings are linked to by the names that the repository's own pages use
nb_execution_mode = "off"
nb_merge_streams = True

default_role = "literal"  # docstrings put names between single backticks
smartquotes_action = "D"  # a dash before what a parameter is; quotes and dots as they are typed
autodoc_typehints = "none"  # shapes stand in the docstrings, and in signatures.md
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_attr_annotations = False
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!\w+:)([^)#\s]+)(#[^)\s]*)?\)")
CODE = re.compile(r"(`+[^`]*`+|^ *>>>(?:.+\n?)+|^ +.+$)", re.MULTILINE)  # of a docstring; indented lines, too
SECTION = re.compile(r"(Args|Attributes|Returns|Raises|Examples?|References):$")


def copy_in():
    """Puts what lies outside of docs/ beside its pages; what has not changed is left alone, and is not read again."""
    for path in (path for pattern in COPIED for path in sorted(DOCS.parent.glob(pattern))):
        place = DOCS / path.relative_to(DOCS.parent)
        place.parent.mkdir(exist_ok=True)
        if not place.exists() or place.read_bytes() != path.read_bytes():
            shutil.copyfile(path, place)


def relink(app, docname, source):
    """Makes links of the repository links of the site; of one to a file that the site lacks the words remain."""
    page = posixpath.relpath(app.env.doc2path(docname), DOCS)
    copied = (DOCS.parent / page).exists()
    home = posixpath.dirname(page if copied else f"docs/{page}")

    def relinked(match):
        words, target, heading = match.groups(default="")
        place = posixpath.normpath(posixpath.join(home, target)).removeprefix("docs/")
        if not (DOCS / place).is_file():
            return words
        return f"[{words}]({posixpath.relpath(place, posixpath.dirname(page) or '.')}{heading})"

    if page.endswith(".md"):
        source[0] = LINK.sub(relinked, source[0])


def skip_member(app, what, name, obj, skip, options):
    """Leaves out modules, what comes from other packages, and fields of named tuples, of which their class tells."""
    foreign = (getattr(obj, "__module__", None) or "hypjax").partition(".")[0] != "hypjax"
    return True if foreign or inspect.ismodule(obj) or type(obj).__name__ == "_tuplegetter" else None


def shorten(app, what, name, obj, options, signature, returned):
    """Leaves out of a Flax module's signature what all of them have, and puts types as they are imported."""
    signature = re.sub(r", parent=<[^>]*>, name=None", "", signature or "")
    return re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", signature) or None, returned


def as_typed(app, what, name, obj, options, lines):
    """Shows indented formulas as they were typed, lets a bar be a bar, and a flag keep both its dashes."""
    pieces = CODE.split("\n".join(lines))
    pieces[::2] = (re.sub(r"(?<!\S)(--\w+)", r"`\1`", words.replace("|", r"\|")) for words in pieces[::2])
    lines[:] = "".join(pieces).split("\n")
    for i in range(len(lines) - 1, 1, -1):
        above, between, line = lines[i - 2 : i + 1]
        formula = line.startswith("    ") and not between.strip() and above.strip()
        if formula and not above.startswith((" ", ">", "-", "*")) and not above.endswith("::"):
            lines[i:i] = [] if SECTION.search(above) else ["::", ""]


def setup(app):
    """Connects the above."""
    copy_in()
    app.connect("source-read", relink)
    app.connect("autodoc-skip-member", skip_member)
    app.connect("autodoc-process-signature", shorten)
    app.connect("autodoc-process-docstring", as_typed, priority=400)  # before napoleon reads the sections
