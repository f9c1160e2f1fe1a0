"""Serves searches to browsers and programs: `python -m hypjax.serve --workdir DIR --index FILE [--port 8000]`.

FILE is what `python -m hypjax.embed` wrote; where it is written anew the server takes it anew. The first line says
where: a page to search with, and below /docs what programs may ask. It answers to this machine alone; with `--host` to
others, who must know the token that `--token` or HYPJAX_TOKEN names.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from absl import flags

from hypjax.config import command_line
from hypjax.data import files
from hypjax.data.errors import UsageError
from hypjax.retrieval.approximate import KINDS
from hypjax.run import Run, status, trained
from hypjax.run.stopping import ending
from hypjax.stores import beside
from hypjax.stores.gallery import FileGallery
from hypjax.stores.milvus_client import SCHEME

if TYPE_CHECKING:
    from hypjax.serving.resident import Resident

LOCAL = ("127.0.0.1", "localhost", "::1")


def main(argv: Sequence[str]) -> None:
    """Reads the command line and serves."""
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "the folder of the run that the index was made with", flag_values=values)
    flags.DEFINE_string("index", None, "embeddings, from hypjax.embed", flag_values=values)
    flags.DEFINE_string("images", None, "where the indexed images are now, if they were moved", flag_values=values)
    flags.DEFINE_enum("approximate", None, KINDS, "search faster, and miss some", flag_values=values)
    flags.DEFINE_string("host", "127.0.0.1", "the address to serve at; 0.0.0.0 for all of them", flag_values=values)
    flags.DEFINE_integer("port", 8000, "the port; 0 for any that is free", flag_values=values)
    flags.DEFINE_string("token", None, "what requests must bear; HYPJAX_TOKEN by default", flag_values=values)
    flags.DEFINE_float("max_upload", 20.0, "the largest upload in MB", flag_values=values)
    command_line.parse_flags(argv, values)
    for name, example in (("workdir", "runs/hyp_uml"), ("index", "photos.npz")):
        if not values[name].value:
            raise UsageError(f"--{name} is missing: --{name} {example} (or another)")
    token = os.environ.get("HYPJAX_TOKEN", "") if values.token is None else values.token
    if values.host not in LOCAL and not token:
        raise UsageError(f"--host={values.host} lets others ask: give a --token that they must know, or HYPJAX_TOKEN")
    if not 0 < values.max_upload <= 1000:
        raise UsageError(f"--max_upload must lie in (0, 1000] MB, not {values.max_upload}")
    if not 0 <= values.port < 2**16:
        raise UsageError(f"--port must lie in [0, 65535], not {values.port}")
    with ExitStack() as held_open:
        with ending():  # as long as the server does not hear signals itself
            server, application, resident = require_server(values.index)
            # Before the model is loaded, which takes seconds.
            listening = held_open.enter_context(server.bound(values.host, values.port))
            run = Run.open(values.workdir)
            if run.takes_features:
                raise UsageError(f"{values.workdir} takes features; what is served are searches with pictures")
            held = resident.Resident(
                trained.load(run),
                values.index,
                workdir=values.workdir,
                images=values.images or "",
                approximate=values.approximate or "",
            )
            app = application.create_app(held, token=token, max_upload=int(values.max_upload * 1e6))
        server.run(app, listening, ready=lambda where: announce(where, held))


def require_server(index: str) -> tuple[Any, Any, Any]:
    """The server, the application and what it holds.

    Raises:
      UsageError: what they or the index need is not installed.
    """
    # FAISS, of an approximate search, reads it as it loads: its threads would spin on cores that others need.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        from hypjax.serving import application, resident, server
    except ModuleNotFoundError as error:
        extras = "milvus,serve" if index.startswith(SCHEME) and not find_spec("pymilvus") else "serve"
        raise UsageError(f'{error.name} is not installed: pip install "hypjax[{extras}]"') from error
    return server, application, resident


def announce(where: str, held: Resident) -> None:
    """Says where what is served."""
    snapshot = held.snapshot
    if isinstance(snapshot.gallery, FileGallery) and snapshot.gallery.approximate:
        print(beside.told(snapshot.gallery.approximate))
    if snapshot.notice:
        print(f"answers are not judged: {snapshot.notice}")
    images = files.printable(f"{len(snapshot.gallery):,} images of {held.root.name}")
    print(f"{where} searches {images}; Ctrl-C ends it", flush=True)


if __name__ == "__main__":
    status.run(main)
