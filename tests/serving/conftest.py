import contextlib
import shutil
from types import SimpleNamespace

import pytest

from hypjax import calibrate, embed
from hypjax.run import Run, trained
from hypjax.serving import answering, application, resident
from tests.pictures import save_pictures, untrained_run
from tests.serving import browsing, made_up
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


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    return made_up.Answers(tmp_path_factory.mktemp("photos") / "my photos")


@pytest.fixture(scope="module")
def serve(answers):
    """Starts servers that know a token, or none; their addresses."""
    with contextlib.ExitStack() as running:
        yield lambda token="": running.enter_context(made_up.serving(answers, token))


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    playwright.expect.set_options(timeout=browsing.PATIENCE)
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=browsing.CHROMIUM, args=browsing.QUIET)
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
        page.set_default_timeout(browsing.PATIENCE)
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
