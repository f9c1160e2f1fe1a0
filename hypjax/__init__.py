"""Hyperbolic metric learning for image retrieval in JAX."""

import os
import sys

__version__ = "0.1.0"

# Older versions of jaxlib alarm, in two kilobytes each, of every compiled program that they read back on CPU, and
# listen to this as they load. Programs keep what they compile (`hypjax.run.compiled`); importing alone changes nothing.
if any(
    flag == "-m" and name.partition(".")[0] == "hypjax"
    for flag, name in zip(sys.orig_argv, sys.orig_argv[1:], strict=False)
):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
