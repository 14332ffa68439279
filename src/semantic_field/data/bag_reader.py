"""Opens rosbag2 recordings of any storage and gives their messages one by one."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader, ReaderError
from rosbags.serde import SerdeError

from semantic_field.data.bag_files import BAG_SUFFIXES
from semantic_field.data.bag_remedies import explain
from semantic_field.data.bag_types import typestore


@dataclass(frozen=True)
class Message:
    """Where one message lies: its file, its stamp (of the header) and when it was received.

    ``repeat`` counts the messages of the same topic, stamp and time of reception before it.
    """

    file: int
    connection: Connection
    received_ns: int
    stamp_ns: int
    frame_id: str
    repeat: int = 0


class BagReader:
    """The messages of a rosbag2 directory or storage file.

    A directory whose metadata.yaml was never written (the recorder was killed) is read file by
    file. Raises ValueError where files are missing, damaged or without index.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._readers: list[Reader] = []
        try:
            for file in _storage_files(path):
                reader = Reader(file)
                reader.open()
                self._readers.append(reader)
        except (ReaderError, OSError, ValueError, KeyError, struct.error, EOFError) as error:
            self.close()
            raise ValueError(
                f"expected a readable rosbag2 at {path}, got: {explain(path, error)}"
            ) from error
        self._check_index()
        self.types = {
            connection.topic: connection.msgtype
            for reader in self._readers
            for connection in reader.connections
            if connection.msgcount > 0
        }

    @property
    def start_ns(self) -> int:
        """When the first message was received."""
        return min(reader.start_time for reader in self._readers)

    @property
    def end_ns(self) -> int:
        """When the last message was received."""
        return max(reader.end_time for reader in self._readers) - 1

    def _check_index(self) -> None:
        for reader in self._readers:
            storage: Any = reader.storage
            for file in getattr(storage, "storages", [storage]):
                if hasattr(file, "chunks") and not file.chunks and reader.message_count:
                    self.close()
                    raise ValueError(
                        f"expected an indexed bag at {self.path}, got: "
                        f"{explain(self.path, 'no index')}"
                    )

    def close(self) -> None:
        """Close the files; may be called twice."""
        for reader in self._readers:
            reader.close()
        self._readers = []

    def messages(self, *topics: str) -> Iterator[tuple[str, Any]]:
        """Topic and content of all messages of those topics."""
        for topic, _, raw, kind in self.raw_messages(*topics):
            yield topic, self._decode(topic, raw, kind)

    def index(self, topic: str) -> list[Message]:
        """All messages of a topic whose type begins with a Header, by stamp."""
        found = []
        seen: Counter[tuple[int, int, int, int]] = Counter()
        for number, reader in enumerate(self._readers):
            connections = [c for c in reader.connections if c.topic == topic]
            if not connections:
                continue
            for connection, received, raw in _checked(reader.messages(connections), self.path):
                stamp, frame_id = read_header(raw)
                place = number, connection.id, received, stamp
                found.append(
                    Message(number, connection, received, stamp, frame_id, repeat=seen[place])
                )
                seen[place] += 1
        return sorted(found, key=lambda message: (message.stamp_ns, message.received_ns))

    def read(self, message: Message) -> Any:
        """The content of one message of ``index``."""
        reader, at = self._readers[message.file], message.received_ns
        before = message.repeat
        for connection, _, raw in _checked(
            reader.messages([message.connection], start=at, stop=at + 1), self.path
        ):
            if read_header(raw)[0] == message.stamp_ns:
                if before == 0:
                    return self._decode(connection.topic, raw, connection.msgtype)
                before -= 1
        raise ValueError(f"expected a message at {at} ns in {self.path}; the file has changed")

    def raw_messages(self, *topics: str) -> Iterator[tuple[str, int, bytes, str]]:
        """Topic, time of reception (ns), CDR bytes and type of all messages of those topics."""
        for reader in self._readers:
            connections = [c for c in reader.connections if c.topic in topics]
            if connections:
                for c, received, raw in _checked(reader.messages(connections), self.path):
                    yield c.topic, received, raw, c.msgtype

    def _decode(self, topic: str, raw: bytes, kind: str) -> Any:
        try:
            return typestore().deserialize_cdr(raw, kind)
        except (SerdeError, struct.error, IndexError, ValueError, UnicodeDecodeError) as error:
            raise ValueError(
                f"expected messages of type {kind} on {topic} in {self.path}, got bytes that are "
                f"not ({error!r})"
            ) from error


def _checked(messages: Iterator, path: Path) -> Iterator:
    """The same messages, with ValueError where the file turns out to be damaged."""
    while True:
        try:
            item = next(messages)
        except StopIteration:
            return
        except (ReaderError, OSError, struct.error, EOFError) as error:
            raise ValueError(
                f"expected a whole rosbag2 at {path}, got: {explain(path, error)}"
            ) from error
        yield item


def _storage_files(path: Path) -> list[Path]:
    """What to open: the directory itself, or its files where its metadata.yaml is missing."""
    if not path.is_dir() or (path / "metadata.yaml").exists():
        return [path]
    files = sorted(file for file in path.iterdir() if file.suffix in BAG_SUFFIXES)
    if not files:
        raise ValueError("no metadata.yaml and no .db3 or .mcap file in the directory")
    return files


def read_header(raw: bytes) -> tuple[int, str]:
    """Stamp in nanoseconds and frame_id of a CDR message that begins with a Header."""
    order = "<" if raw[1] & 1 else ">"
    sec, nanosec, length = struct.unpack_from(f"{order}iII", raw, 4)
    frame_id = bytes(raw[16 : 16 + length]).rstrip(b"\0").decode("utf-8", "replace")
    return sec * 1_000_000_000 + nanosec, frame_id.lstrip("/")
