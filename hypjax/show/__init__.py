"""Pictures, pages and lines for people."""

from hypjax.show import explore
