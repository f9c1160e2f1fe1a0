"""The Poincaré disk that one can walk in: on the server's page, in a notebook, in the report of a run.

The module is a function too: a notebook opens a run, or a file of embeddings, with `show.explore("runs/photos")`.
"""

import sys
from types import ModuleType
from typing import Any

from hypjax.show.explore.notebook import KEPT, Explorer, explore
from hypjax.show.explore.page import Part, page, part, thumbnails
from hypjax.show.explore.world import evenly, place, world


class _Explore(ModuleType):
    def __call__(self, *shown: Any, **options: Any) -> Explorer:
        """As `explore`."""
        return explore(*shown, **options)


sys.modules[__name__].__class__ = _Explore
