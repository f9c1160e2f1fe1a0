"""The packaged retrieval set: emoji as several vendors draw them; see ATTRIBUTION.md for who drew what."""

from hypjax.data.emoji.reader import Emoji
