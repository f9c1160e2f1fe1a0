"""HTML pages that need nothing but themselves: the report of a run, the gallery of a search."""

from hypjax.pages.gallery import SIDE, Found, gallery
from hypjax.pages.report import report
