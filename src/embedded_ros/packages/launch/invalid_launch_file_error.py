"""The error of launch files that cannot be read."""


class InvalidLaunchFileError(ValueError):
    """The file is no launch file, or of a kind that is not read here."""
