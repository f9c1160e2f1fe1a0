import shutil
from types import SimpleNamespace

import pytest

from hypjax import calibrate, embed
from hypjax.run import Run, trained
from hypjax.serving import answering, application, resident
from tests.pictures import save_pictures, untrained_run
from tests.serving.asking import served


@pytest.fixture(scope="session", autouse=True)
def few_sizes():
    """Two sizes of batches in place of five, each of which takes a while to compile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answering, "SIZES", (1, 2))
        yield


@pytest.fixture(scope="session")
def indexed(tmp_path_factory):
    """A model, the folder of 18 pictures that it embedded, and their index: calibrated, and one that is not."""
    root = tmp_path_factory.mktemp("serving")
    workdir, photos = untrained_run()[0], save_pictures(root / "holidays & <b>more")
    embed.main(["embed", f"--workdir={workdir}", f"--images={photos}", f"--out={root / 'index.npz'}"])
    shutil.copy(root / "index.npz", root / "plain.npz")
    calibrate.main(["calibrate", f"--index={root / 'index.npz'}"])
    model = trained.load(Run.open(workdir), batch=8)

    def hold(index):
        return resident.Resident(model, str(index), workdir=str(workdir))

    return SimpleNamespace(
        root=root, workdir=workdir, photos=photos, index=root / "index.npz", plain=root / "plain.npz", hold=hold
    )


@pytest.fixture(scope="session")
def port(indexed):
    """A server over the calibrated index."""
    with served(application.create_app(indexed.hold(indexed.index), max_upload=300_000, look=0.05)) as port:
        yield port
