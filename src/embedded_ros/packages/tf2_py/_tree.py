"""The tree of frames and their transforms; thread-safe, times in integer nanoseconds."""

from __future__ import annotations

import threading

from tf2_py._cache import Cache, Link, StaticCache, TimeCache
from tf2_py._exceptions import (
    ConnectivityException,
    ExtrapolationException,
    InvalidArgumentException,
    LookupException,
)
from tf2_py._rigid import IDENTITY, Rigid

MAX_DEPTH = 1000  # a longer chain must be a loop


class FrameTree:
    """Caches by child frame, and look-ups along the chains of parents."""

    def __init__(self, cache_length_ns: int) -> None:
        self.cache_length_ns = cache_length_ns
        self._caches: dict[str, Cache] = {}
        self._frames: set[str] = set()
        self._authorities: dict[str, str] = {}
        self._lock = threading.RLock()

    def insert(
        self, child: str, link: Link, stamp_ns: int, static: bool, authority: str = ""
    ) -> bool:
        """Store a transform; returns False if it is older than the cache length."""
        kind = StaticCache if static else TimeCache
        with self._lock:
            cache = self._caches.get(child)
            if not isinstance(cache, kind):  # new, or changed between static and dynamic
                cache = StaticCache() if static else TimeCache(self.cache_length_ns)
                self._caches[child] = cache
            self._frames |= {child, link.parent}
            self._authorities[child] = authority
            return cache.insert(stamp_ns, link)

    def clear(self) -> None:
        """Remove all transforms except static ones; frame names are kept."""
        with self._lock:
            for cache in self._caches.values():
                cache.clear()

    def frames(self) -> list[str]:
        with self._lock:
            return sorted(self._frames)

    def caches(self) -> dict[str, tuple[Cache, str]]:
        """Return the cache and authority of each child frame."""
        with self._lock:
            return {child: (c, self._authorities[child]) for child, c in self._caches.items()}

    def parent_of(self, child: str) -> str | None:
        """Return the newest parent, None for a root."""
        with self._lock:
            latest = self._latest(child)
            return None if latest is None else latest[1]

    def check_frame(self, argument: str, name: str) -> None:
        """Raise InvalidArgumentException or LookupException if there is no such frame."""
        if not isinstance(name, str) or not name:
            raise InvalidArgumentException(
                f"Invalid argument passed to {argument}: in tf2 frame_ids cannot be empty"
            )
        if name.startswith("/"):
            raise InvalidArgumentException(
                f"Invalid argument '{name}' passed to {argument}: "
                "in tf2 frame_ids cannot start with a '/'"
            )
        if name not in self._frames:
            raise LookupException(
                f"'{name}' passed to {argument} does not exist. Known frames: "
                + (", ".join(self.frames()) or "none: nothing was received on /tf or /tf_static")
            )

    def lookup(self, target: str, source: str, stamp_ns: int) -> tuple[Rigid, int]:
        """Return ``T_target_source`` at a time (0 = newest common time), and that time, ns.

        Raises:
            LookupException, ConnectivityException, ExtrapolationException,
            InvalidArgumentException.
        """
        with self._lock:
            self.check_frame("lookupTransform argument target_frame", target)
            self.check_frame("lookupTransform argument source_frame", source)
            if stamp_ns == 0:
                stamp_ns = self.latest_common_time(target, source)
            if target == source:
                return IDENTITY, stamp_ns
            return self._between(target, source, stamp_ns), stamp_ns

    # --- chains at one time -------------------------------------------------------------------

    def _between(self, target: str, source: str, stamp_ns: int) -> Rigid:
        from_source, source_error = self._climb(source, stamp_ns)
        from_target, target_error = self._climb(target, stamp_ns)
        for frame, T_frame_source in from_source.items():
            if frame in from_target:
                return from_target[frame].inverse() @ T_frame_source
        error = source_error or target_error
        if error is not None:
            raise ExtrapolationException(
                f"{error}, when looking up transform from frame [{source}] to frame [{target}]"
            )
        raise self._not_connected(target, source)

    def _climb(
        self, start: str, stamp_ns: int
    ) -> tuple[dict[str, Rigid], ExtrapolationException | None]:
        """Return ``T_ancestor_start`` of all ancestors in order, and the error that ended it."""
        reached = {start: IDENTITY}
        frame, transform = start, IDENTITY
        while (cache := self._caches.get(frame)) is not None:
            try:
                link = cache.at(stamp_ns)
            except ExtrapolationException as error:
                return reached, error
            frame, transform = link.parent, link.transform @ transform
            if frame in reached or len(reached) > MAX_DEPTH:
                raise self._loop(frame)
            reached[frame] = transform
        return reached, None

    # --- the newest common time ---------------------------------------------------------------

    def latest_common_time(self, target: str, source: str) -> int:
        """Return the newest time at which the whole chain is known; 0 if all is static."""
        if target == source:
            latest = self._latest(source)
            return 0 if latest is None or latest[0] is None else latest[0]
        from_source, from_target = self._newest(source), self._newest(target)
        for frame, stamps in from_source.items():
            if frame in from_target:
                return min([*stamps, *from_target[frame]], default=0)
        raise self._not_connected(target, source)

    def _newest(self, start: str) -> dict[str, list[int]]:
        """Return, per ancestor, the newest times of the dynamic transforms up to it."""
        reached: dict[str, list[int]] = {start: []}
        frame = start
        while (latest := self._latest(frame)) is not None:
            stamp, parent = latest
            if parent in reached or len(reached) > MAX_DEPTH:
                raise self._loop(parent)
            reached[parent] = reached[frame] + ([] if stamp is None else [stamp])
            frame = parent
        return reached

    def _latest(self, child: str) -> tuple[int | None, str] | None:
        cache = self._caches.get(child)
        return None if cache is None else cache.latest()

    # --- messages -----------------------------------------------------------------------------

    def _not_connected(self, target: str, source: str) -> ConnectivityException:
        return ConnectivityException(
            f"Could not find a connection between '{target}' and '{source}' because they are not "
            f"part of the same tree. Tf has two or more unconnected trees: '{target}' hangs below "
            f"'{self._root(target)}', '{source}' below '{self._root(source)}'"
        )

    def _root(self, frame: str) -> str:
        return list(self._newest(frame))[-1]

    def _loop(self, frame: str) -> LookupException:
        return LookupException(
            f"The tf tree is invalid because it contains a loop through '{frame}'."
        )
