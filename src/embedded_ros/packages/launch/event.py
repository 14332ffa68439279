"""The base of events."""


class Event:
    """Something that happened; event handlers are asked whether they care."""

    name = "launch.Event"
