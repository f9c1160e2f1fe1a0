import runpy
from pathlib import Path

TOOL = Path(__file__).parent.parent.parent / "tools" / "signatures.py"


def test_the_page_of_signatures_is_that_of_the_code():
    made = runpy.run_path(str(TOOL))
    assert made["PAGE"].read_text(encoding="utf-8") == made["page"](), "run python tools/signatures.py"
