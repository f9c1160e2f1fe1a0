from pathlib import Path

import pytest
from PIL import Image

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture
def stamps(monkeypatch):
    monkeypatch.syspath_prepend(TOOLS)
    import build_stamps

    return build_stamps


def test_photographs_are_taken_and_drawings_left_out(stamps, tmp_path):
    found, out = tmp_path / "found", tmp_path / "out"
    for name in ("food/nuts", "food/nuts/cartoon", "symbols/math", "vehicles"):
        (found / name).mkdir(parents=True, exist_ok=True)
        for number in range(3 if name == "vehicles" else 4):
            picture = Image.new("RGBA", (30, 20), (0, 0, 0, 0))
            picture.paste((200, 0, 0, 255), (0, 0, 15, 20))
            picture.save(found / name / f"{number}.png")
    Image.new("RGBA", (30, 20)).save(found / "food/nuts/0_mirror.png")
    assert stamps.write(found, out) == {"food/nuts": 4}
    written = sorted(path.relative_to(out) for path in out.rglob("*.png"))
    assert [str(path) for path in written] == [f"food/nuts/{number}.png" for number in range(4)]
    with Image.open(out / written[0]) as picture:
        assert picture.size == (stamps.SIZE, stamps.SIZE)
        corner, left, right = (picture.getpixel(place) for place in ((0, 0), (10, 96), (180, 96)))
    assert (corner, left, right) == ((255, 255, 255), (200, 0, 0), (255, 255, 255))
