"""The two ways in which a program ends on purpose without a result."""


class UsageError(ValueError):
    """Something its user can mend; programs print it as one line and exit with status 2."""


class DivergedError(RuntimeError):
    """Training met a loss or gradient that is not finite; programs exit with status 1."""
