"""A folder of pictures, and a run that was never trained but has all that its users need."""

import json
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from configs.hyp_uml import get_config
from hypjax.config import assembly, initialization
from hypjax.run.checkpoint import Checkpoints
from hypjax.run.metrics import as_json
from hypjax.training import sharding


def save_pictures(root, classes=6, each=3, size=(30, 24)):
    """Noisy color fields in class folders, made of (class, number)."""
    for label in range(classes):
        (root / f"class {label}").mkdir(parents=True)
        for i in range(each):
            generator = np.random.default_rng((label, i))
            color = np.random.default_rng(label).integers(0, 255, 3)
            pixels = np.clip(color + generator.normal(0, 20, (*size, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / f"class {label}" / f"{i}.png")
    return root


@cache
def untrained_run():
    """The workdir of a run of step 0, and the folder that it would be trained on."""
    root = Path(mkdtemp())
    save_pictures(root / "photos of Zoë")
    config = get_config(f"quick,encoder=vit_ti8,data=folder,data_dir={root / 'photos of Zoë'}")
    config.encoder.sizes = {"width": 16, "depth": 1, "heads": 2}
    config.update(head={"dim": 8}, data={"fractions": (0.4, 0.2, 0.4)}, evaluation={"batch": 8})
    setup = assembly.assemble(config)
    images = jnp.zeros((1, 32, 32, 3))
    variables = dict(jax.jit(setup.model.init)(jax.random.key(0), images))
    own = initialization.initial_objective(config, setup)
    state = initialization._state(config, setup, variables, own, jnp.zeros(len(setup.splits.train)))
    (root / "run").mkdir()
    (root / "run" / "config.json").write_text(json.dumps(as_json(config.to_dict())))
    with Checkpoints(root / "run" / "checkpoints") as checkpoints:
        checkpoints.save(jax.device_put(state, sharding.replicated(sharding.data_mesh())), {})
    return root / "run", root / "photos of Zoë"
