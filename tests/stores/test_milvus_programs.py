"""The programs with Milvus Lite: embedding, killed on its way too, and searching."""

import pytest

from hypjax import embed, search
from hypjax.data.errors import UsageError
from hypjax.stores import embeddings
from hypjax.stores.milvus_store import Share, read_share
from tests.databases import held, require_equal
from tests.killing import embed_until
from tests.pictures import save_pictures, untrained_run

pytest.importorskip("pymilvus")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A workdir, forty pictures, and what the model makes of them."""
    root = tmp_path_factory.mktemp("photos")
    workdir, folder = untrained_run()[0], save_pictures(root / "photos", classes=8, each=5)
    embed.main(["embed", f"--workdir={workdir}", f"--images={folder}", f"--out={root / 'a.npz'}"])
    return workdir, folder, root / "a.npz"


@pytest.mark.slow
def test_killed_at_any_time_it_ends_with_every_picture_once(photos, tmp_path):
    """After its first part, and once more within a later one."""
    workdir, folder, file = photos
    address, whole, before = f"milvus:{tmp_path}/a.db", embeddings.read(file), 0
    for parts, more in ((1, 0.0), (8, 0.004)):
        kept = before + embed_until(workdir, folder, address, parts=parts, more=more)
        assert before + parts * 2 <= kept < 40
        before = len(held(address))
        assert kept <= before <= kept + 2  # what was told to be kept is, and at most the part that was not told
    embed.main(["embed", f"--workdir={workdir}", f"--images={folder}", f"--out={address}"])
    require_equal(address, whole, atol=1e-6)


@pytest.mark.slow
def test_the_programs_embed_and_search(photos, tmp_path, capsys):
    (workdir, folder), address = photos[:2], f"milvus:{tmp_path}/a.db"
    for said in ("40 embeddings of 8 coordinates", "is up to date: 40 files"):
        embed.main(["embed", f"--workdir={workdir}", f"--images={folder}", f"--out={address}"])
        assert said in capsys.readouterr().out
    query, where = f"--query={folder / 'class 2' / '1.png'}", "--where=path like 'class 2/%' and uncertainty < 2"
    printed = []
    for index in (address, photos[2]):
        out = tmp_path / "gallery.html"
        words = ["search", f"--workdir={workdir}", f"--index={index}", query, where, "--k=9", f"--out={out}"]
        search.main(words)
        printed.append(capsys.readouterr().out)
        assert out.read_text().count("data:image/jpeg;base64,") == 1 + 4
    assert printed[0] == printed[1]
    assert printed[0].count("class 2/") == 1 + 4
    words = ["search", f"--workdir={workdir}", f"--index={address}", query]
    with pytest.raises(UsageError, match=r"--risk needs a file that hypjax.calibrate calibrates, .* is a database"):
        search.main([*words, "--risk=0.1"])
    with pytest.raises(UsageError, match=r"the filter cannot be read: .* after 'path ', before '= 3'"):
        search.main([*words, "--where=path = 3"])
    with pytest.raises(UsageError, match=r"--risk holds for the whole index"):
        search.main([*words[:2], f"--index={photos[2]}", query, "--risk=0.1", "--where=uncertainty < 1"])


def test_words_that_do_not_go_together_are_named():
    for words, message in (
        (["--out=photos.npz", "--share=0/2"], "--share goes with --out milvus:"),
        (["--out=milvus:a.db", "--features"], "--features are written to a file"),
    ):
        with pytest.raises(UsageError, match=message):
            embed.main(["embed", "--workdir=w", "--images=i", *words])
    assert read_share("0/4") == Share(0, 4)
    for words in ("4/4", "1", "a/b", "-1/2", "/", "1/2/3"):
        with pytest.raises(UsageError, match=f"--share={words} is none"):
            read_share(words)
