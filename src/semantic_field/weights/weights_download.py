"""Download of weights from a Hugging Face hub, resumed where it was interrupted, and checked.

Address (``HF_ENDPOINT``), proxies, certificates, offline mode (``HF_HUB_OFFLINE``) and the token
are those of ``huggingface_hub``. A file is downloaded to ``NAME.HASH.part`` beside its final place,
where it stays if the download is interrupted.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

from semantic_field.weights.local_weights import (
    FOLDER_VARIABLE,
    folder_of,
    git_sha1_of,
    is_here,
    record_of,
    sha256_of,
    write_record,
)
from semantic_field.weights.weights_registry import WeightsEntry

SPARE_BYTES = 1 << 20  # left free on the disk


@dataclass(frozen=True)
class RemoteFile:
    """A file on the hub: its name, address, size, and the hash that the hub states."""

    name: str
    url: str
    bytes: int
    etag: str
    commit: str


def get_weights(entry: WeightsEntry, say: Callable[[str], None] = print) -> Path:
    """Download weights unless they are here and intact; returns their folder.

    Args:
        say: is told what happens, in lines.
    Raises:
        ValueError: if there is no network, no room, the hub does not have a file, or a checksum
            is wrong; what has arrived intact is kept for the next call.
    """
    folder = folder_of(entry)
    if entry.shipped or (is_here(entry) and _is_intact(entry)):
        say(f"{entry.name} is here: {folder}")
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    remote = [_found(entry, names) for names in entry.files]
    _check_room(folder, remote)
    files = {file.name: _fetched(entry, file, say) for file in remote}
    write_record(entry, remote[0].commit, files)
    say(f"{entry.name} is complete: {folder}")
    return folder


def _is_intact(entry: WeightsEntry) -> bool:
    folder, files = folder_of(entry), record_of(entry)["files"]
    return all(sha256_of(folder / name) == about["sha256"] for name, about in files.items())


def _found(entry: WeightsEntry, names: tuple[str, ...]) -> RemoteFile:
    """Return the first of several files that the hub has."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, OfflineModeIsEnabled

    if constants.HF_HUB_OFFLINE:
        raise ValueError(
            f"expected network for {entry.command}, got the offline mode: unset HF_HUB_OFFLINE"
        )
    for name in names:
        endpoint = constants.ENDPOINT
        url = hf_hub_url(entry.repository, name, revision=entry.revision)
        try:
            about = get_hf_file_metadata(url)
        except EntryNotFoundError:
            continue
        except OfflineModeIsEnabled as error:
            raise ValueError(f"expected network for {entry.command}, got: {error}") from error
        except HfHubHTTPError as error:
            raise _refused(entry, error) from error
        except Exception as error:  # of whichever HTTP library: there is no answer
            raise _no_network(entry, endpoint, error) from error
        if about.etag is None or about.size is None:
            raise ValueError(
                f"expected size and hash of {name} from {endpoint}, got neither: set HF_ENDPOINT "
                "to a hub"
            )
        return RemoteFile(
            name, about.location, about.size, about.etag, about.commit_hash or entry.revision
        )
    raise ValueError(
        f"expected {' or '.join(names)} in {entry.repository} at {entry.revision}, got neither: "
        "download it by hand and set the folder"
    )


def _refused(entry: WeightsEntry, error: Exception) -> ValueError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return ValueError(
        f"expected {entry.repository} from the hub, got: {lines[0]}; where it asks for an account "
        "run: hf auth login"
    )


def _no_network(entry: WeightsEntry, endpoint: str, error: Exception) -> ValueError:
    return ValueError(
        f"expected an answer from {endpoint} for {entry.name}, got {type(error).__name__}: "
        f"{error}; check the network, set HTTPS_PROXY or HF_ENDPOINT, or copy the folder "
        f"{folder_of(entry)} from a machine that has it. Then again: {entry.command}"
    )


def _part(folder: Path, file: RemoteFile) -> Path:
    return folder / f"{file.name}.{file.etag[:16]}.part"


def _check_room(folder: Path, remote: list[RemoteFile]) -> None:
    arrived = sum(p.stat().st_size for f in remote if (p := _part(folder, f)).is_file())
    needed = sum(f.bytes for f in remote if not (folder / f.name).is_file()) - arrived
    free = shutil.disk_usage(folder).free - SPARE_BYTES
    if needed > free:
        raise _no_room(folder, f"{max(0, free) / 1e6:.1f} MB for {needed / 1e6:.1f} MB")


def _no_room(folder: Path, got: str) -> ValueError:
    return ValueError(
        f"expected room on the disk of {folder}, got {got}: make room and call again, or set "
        f"{FOLDER_VARIABLE} to a folder on another disk. What has arrived is kept"
    )


def _fetched(entry: WeightsEntry, file: RemoteFile, say: Callable[[str], None]) -> dict:
    """Download and check one file unless it is here; returns its size and SHA-256."""
    final, part = folder_of(entry) / file.name, _part(folder_of(entry), file)
    if not (final.is_file() and _fault(entry, file, final) == ""):
        final.unlink(missing_ok=True)
        arrived = part.stat().st_size if part.is_file() else 0
        going_on = f", going on at {arrived / 1e6:.1f} MB" if arrived else ""
        say(f"{file.name}: {file.bytes / 1e6:.1f} MB{going_on}")
        _download(entry, file, part)
        if fault := _fault(entry, file, part):
            part.unlink()
            raise ValueError(
                f"expected {file.name} of {entry.name} with {fault}: it has been removed; get it "
                f"again with: {entry.command}"
            )
        os.replace(part, final)
    return {"bytes": final.stat().st_size, "sha256": sha256_of(final)}


def _download(entry: WeightsEntry, file: RemoteFile, part: Path) -> None:
    """Append what is missing to a part; it stays if this fails."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    headers = build_hf_headers()
    if urlparse(file.url).netloc != urlparse(constants.ENDPOINT).netloc:
        headers.pop("authorization", None)  # the token is for the hub, not for its storage
    try:
        with part.open("ab") as stream:
            arrived = stream.tell()
            if arrived > file.bytes:
                stream.truncate(arrived := 0)
            http_get(
                file.url,
                stream,
                resume_size=arrived,
                headers=headers,
                expected_size=file.bytes,
                displayed_filename=file.name,
            )
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise _no_room(part.parent, "a full disk") from error
        raise _no_network(entry, constants.ENDPOINT, error) from error
    except Exception as error:  # of whichever HTTP library: the connection has ended
        raise _no_network(entry, constants.ENDPOINT, error) from error


def _fault(entry: WeightsEntry, file: RemoteFile, path: Path) -> str:
    """Return the expected and the wrong checksum of a file, "" if it is right."""
    named = entry.sha256.get(file.name)
    checks = [("SHA-256", named, sha256_of)] if named else []
    if len(file.etag) == 64:
        checks.append(("SHA-256", file.etag, sha256_of))
    elif len(file.etag) == 40:
        checks.append(("git's SHA-1", file.etag, git_sha1_of))
    for kind, expected, hashed in checks:
        if (got := hashed(path)) != expected:
            return f"{kind} {expected}, got {got}"
    if path.stat().st_size != file.bytes:
        return f"{file.bytes} bytes, got {path.stat().st_size}"
    return ""
