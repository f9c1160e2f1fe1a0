"""Embedding in a process of its own that is killed on its way, with no time to clean up."""

import os
import subprocess
import sys
import time

from tests import compiling
from tests.programs import ROOT

# Keeps every batch of two, and says so.
PROGRAM = """
import sys
from hypjax import embed
from hypjax.stores import filling
from hypjax.stores.milvus_store import MilvusStore
filling.KEEP_EVERY = 0.0
add = MilvusStore.add
def told(store, part):
    add(store, part)
    print("added", len(part.pictures), flush=True)
MilvusStore.add = told
embed.main(["embed", *sys.argv[1:], "--batch=2"])
"""


def embed_until(workdir, photos, out, *, parts, more=0.0, share=""):
    """Embeds, and ends the process by SIGKILL so long after so many parts were kept; says how many pictures they held.

    Args:
        workdir: Of a run.
        photos: The folder.
        out: The address.
        parts: After which it is killed.
        more: Seconds that it goes on for.
        share: As of `hypjax.embed`.
    """
    words = [f"--workdir={workdir}", f"--images={photos}", f"--out={out}", f"--share={share}"]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": compiling.FLAGS}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *words], cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE
    )
    kept = 0
    with process:
        for line in process.stdout:
            if line.startswith("added"):
                kept, parts = kept + int(line.split()[1]), parts - 1
            if parts == 0:
                break
        time.sleep(more)
        process.kill()
        kept += sum(int(line.split()[1]) for line in process.stdout if line.startswith("added"))
    return kept
