"""Message-level access to rosbag2 recordings of any storage."""

from __future__ import annotations

import shutil
import struct
import weakref
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader, ReaderError
from rosbags.serde import SerdeError

from semantic_field.data.bag_recovery import message_bytes, storage_files, whole_file
from semantic_field.data.bag_remedies import explain
from semantic_field.data.bag_types import typestore


@dataclass(frozen=True)
class Message:
    """Location of one message: file, header stamp and reception time.

    ``repeat`` is the number of earlier messages with the same topic, stamp and reception time.
    """

    file: int
    connection: Connection
    received_ns: int
    stamp_ns: int
    frame_id: str
    repeat: int = 0


class BagReader:
    """Reads messages of a rosbag2 directory or storage file.

    A directory without metadata.yaml (the recorder was killed) is read file by file, including
    write-ahead logs.

    Raises:
        ValueError: if files are missing, damaged or without index.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._readers: list[Reader] = []
        self._copies: Path | None = None
        try:
            for file in storage_files(path):
                reader = Reader(whole_file(file, self._copies_folder))
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

    def _copies_folder(self) -> Path:
        """Return a temporary folder for repaired copies of files; deleted with this reader."""
        if self._copies is None:
            self._copies = Path(mkdtemp(prefix="semantic_field_bag_"))
            weakref.finalize(self, shutil.rmtree, self._copies, ignore_errors=True)
        return self._copies

    @property
    def start_ns(self) -> int:
        """Reception time of the first message, nanoseconds."""
        return min(reader.start_time for reader in self._readers)

    @property
    def end_ns(self) -> int:
        """Reception time of the last message, nanoseconds."""
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
        if self._copies is not None:
            shutil.rmtree(self._copies, ignore_errors=True)

    def messages(self, *topics: str) -> Iterator[tuple[str, Any]]:
        """Yield topic and deserialised message of all messages of these topics."""
        for topic, _, raw, kind in self.raw_messages(*topics):
            yield topic, self._decode(topic, raw, kind)

    def index(self, topic: str) -> list[Message]:
        """Return all messages of a topic, sorted by stamp; its type must begin with a Header."""
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
        """Return one deserialised message of ``index``."""
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
        """Yield topic, reception time (ns), CDR bytes and type of all messages of these topics."""
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
    """Yield the messages as CDR; ValueError if the file turns out to be damaged."""
    while True:
        try:
            connection, received, raw = next(messages)
            item = connection, received, message_bytes(raw)
        except StopIteration:
            return
        except (ReaderError, OSError, ValueError, struct.error, EOFError) as error:
            raise ValueError(
                f"expected a whole rosbag2 at {path}, got: {explain(path, error)}"
            ) from error
        yield item


def read_header(raw: bytes) -> tuple[int, str]:
    """Return stamp (ns) and frame_id of a CDR message that begins with a Header."""
    order = "<" if raw[1] & 1 else ">"
    sec, nanosec, length = struct.unpack_from(f"{order}iII", raw, 4)
    frame_id = bytes(raw[16 : 16 + length]).rstrip(b"\0").decode("utf-8", "replace")
    return sec * 1_000_000_000 + nanosec, frame_id.lstrip("/")
