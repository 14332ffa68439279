"""Message stream filters: subscriber, cache, time synchronisers."""

from message_filters._cache import Cache
from message_filters._simple_filter import SimpleFilter, Subscriber
from message_filters._synchronizers import ApproximateTimeSynchronizer, TimeSynchronizer

__all__ = [
    "ApproximateTimeSynchronizer",
    "Cache",
    "SimpleFilter",
    "Subscriber",
    "TimeSynchronizer",
]
