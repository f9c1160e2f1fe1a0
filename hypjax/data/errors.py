"""The error for data that a user can mend: one clear line, no traceback at the programs."""


class DataError(ValueError):
    """Bad or missing data: a folder that is not there, an image that does not decode, a batch too large."""
