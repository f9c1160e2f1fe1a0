"""HTML pages that need nothing but themselves: the report of a run, the gallery of a search."""

from hypjax.show.pages.gallery import SIDE, Found, gallery, thumbnail
from hypjax.show.pages.report import report
