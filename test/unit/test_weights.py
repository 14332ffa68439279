"""Weights in one command: the registry, and downloads from a hub on this machine."""

import hashlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub.file_download as hub_download
import numpy as np
import pytest
from huggingface_hub import constants

from semantic_field import cli
from semantic_field.weights import weights_download
from semantic_field.weights.local_weights import (
    folder_of,
    is_here,
    local_path,
    record_of,
    weights_here,
)
from semantic_field.weights.weights_download import get_weights
from semantic_field.weights.weights_registry import (
    WeightsEntry,
    known_weights,
    named_weights,
    names_with_role,
)

ENTRY = named_weights("segformer-b0")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Serves the files of a folder as ``/OWNER/NAME/resolve/REVISION/FILE``.

    Attributes:
        requests: method, file and range of each request.
        cut_at: bytes after which the connection is closed; None = never.
        gone: whether the connection is closed without an answer.
        spoilt: whether one byte of each file is wrong.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.requests = folder, []
        self.cut_at: int | None = None
        self.gone = self.spoilt = False

    def etag(self, file: Path) -> str:
        """SHA-256 of large files, as of LFS; git's SHA-1 of small ones."""
        content = file.read_bytes()
        if file.suffix in (".safetensors", ".bin"):
            return hashlib.sha256(content).hexdigest()
        return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()

    def answer(self, handler: BaseHTTPRequestHandler, with_body: bool) -> None:
        name = handler.path.rpartition("/")[2]
        asked = handler.headers.get("Range", "")
        self.requests.append((handler.command, name, asked))
        file = self.folder / name
        if self.gone:
            handler.close_connection = True
            handler.connection.close()
            return
        if not file.is_file():
            handler.send_response(404)
            handler.send_header("X-Error-Code", "EntryNotFound")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        self._send(handler, file, asked, with_body)

    def _send(self, handler, file: Path, asked: str, with_body: bool) -> None:
        content = bytearray(file.read_bytes())
        if self.spoilt:
            content[len(content) // 2] ^= 1
        start = int(asked.removeprefix("bytes=").split("-")[0]) if asked else 0
        handler.send_response(206 if asked else 200)
        handler.send_header("Content-Length", str(len(content) - start))
        if asked:
            handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        handler.send_header("ETag", f'"{self.etag(file)}"')
        handler.send_header("X-Repo-Commit", COMMIT)
        handler.end_headers()
        if with_body:
            end = len(content) if self.cut_at is None else min(self.cut_at, len(content))
            handler.wfile.write(content[start:end])
            if end < len(content):
                handler.close_connection = True


@contextmanager
def hub_of(folder: Path) -> Iterator[tuple[Hub, str]]:
    """Serve a folder; yields the hub and its address."""
    hub = Hub(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self):
            hub.answer(self, with_body=False)

        def do_GET(self):
            hub.answer(self, with_body=True)

        def log_message(self, *about):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub with the files of a small model, and an empty folder for weights."""
    served = tmp_path / "served"
    served.mkdir()
    random = np.random.default_rng(0)
    (served / "config.json").write_text('{"model_type": "segformer"}')
    (served / "preprocessor_config.json").write_text("{}")
    (served / "model.safetensors").write_bytes(random.bytes(300_000))
    monkeypatch.setenv("SEMANTIC_FIELD_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setattr(hub_download, "time", SimpleNamespace(sleep=lambda seconds: None))
    with hub_of(served) as (hub, address):
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 50_000)
        monkeypatch.setattr(constants, "ENDPOINT", address)
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield hub


def same_files(hub) -> bool:
    folder = folder_of(ENTRY)
    return all(
        (folder / file.name).read_bytes() == file.read_bytes() for file in hub.folder.iterdir()
    )


def got(hub) -> list[str]:
    files = {file.name for file in hub.folder.iterdir()}  # the library asks for other things, too
    return [name for method, name, _ in hub.requests if method == "GET" and name in files]


def test_registry_is_complete():
    known = known_weights()
    roles = {role: names_with_role(role) for role in ("segmenter", "open_clip", "regions")}
    assert roles["segmenter"] == ("segformer-b0", "segformer-b2")
    assert roles["open_clip"] == ("clip-vit-b16", "clip-vit-l14")
    assert roles["regions"] == ("sam2-tiny",) and names_with_role("patches") == ("dinov2-small",)
    for entry in known.values():
        assert entry.licence and entry.purpose and entry.megabytes > 0
        assert all(len(digest) == 64 for digest in entry.sha256.values())
    shipped = [entry for entry in known.values() if entry.shipped]
    assert {entry.name for entry in shipped} == {"gsnerf", "gp_nerf"}
    assert all(is_here(entry) for entry in shipped)
    with pytest.raises(ValueError, match=r"segformer-b0, .*got 'segformer'"):
        named_weights("segformer")
    with pytest.raises(ValueError, match="either a repository"):
        WeightsEntry("x", "segmenter", "p", "l", 1)


def test_fresh_download_and_second_call_offline(hub, monkeypatch):
    assert not is_here(ENTRY) and weights_here("segmenter") == ""
    with pytest.raises(ValueError, match="semantic-field weights get segformer-b0"):
        local_path("segformer-b0", "teacher.segmenter")
    said = []
    folder = get_weights(ENTRY, said.append)
    assert same_files(hub) and sorted(got(hub)) == sorted(f.name for f in hub.folder.iterdir())
    record = record_of(ENTRY)
    content = (hub.folder / "model.safetensors").read_bytes()
    assert record["revision"] == COMMIT
    assert record["files"]["model.safetensors"] == {
        "bytes": 300_000,
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    assert local_path("segformer-b0", "teacher.segmenter") == str(folder)
    assert weights_here("segmenter") == "segformer-b0" and not list(folder.glob("*.part"))
    before = len(hub.requests)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert get_weights(ENTRY, said.append) == folder
    assert len(hub.requests) == before and said[-1] == f"segformer-b0 is here: {folder}"


def test_the_first_file_that_exists_is_taken(hub):
    os.rename(hub.folder / "model.safetensors", hub.folder / "pytorch_model.bin")
    get_weights(ENTRY, lambda line: None)
    assert same_files(hub) and "pytorch_model.bin" in record_of(ENTRY)["files"]
    shutil.rmtree(folder_of(ENTRY))
    (hub.folder / "pytorch_model.bin").unlink()
    with pytest.raises(ValueError, match=r"model\.safetensors or pytorch_model\.bin in nvidia"):
        get_weights(ENTRY, lambda line: None)


def test_interrupted_and_resumed(hub):
    hub.cut_at = 120_000
    with pytest.raises(ValueError, match=r"expected an answer from http.*again: semantic-field"):
        get_weights(ENTRY, lambda line: None)
    (part,) = folder_of(ENTRY).glob("*.part")
    assert part.stat().st_size == 100_000 and not is_here(ENTRY)
    hub.cut_at, said = None, []
    hub.requests.clear()
    get_weights(ENTRY, said.append)
    assert same_files(hub) and got(hub) == ["model.safetensors"]
    assert ("GET", "model.safetensors", "bytes=100000-") in hub.requests
    assert any("going on at 0.1 MB" in line for line in said)


def test_a_killed_process_is_resumed(hub, tmp_path):
    """The part of another process, which had no time to close anything, is continued."""
    etag = hub.etag(hub.folder / "model.safetensors")
    script = (
        "import os, pathlib, sys\n"
        "part = pathlib.Path(sys.argv[1]); part.parent.mkdir(parents=True)\n"
        "stream = part.open('wb'); stream.write(sys.stdin.buffer.read()); stream.flush()\n"
        "os.kill(os.getpid(), 9)\n"
    )
    part = folder_of(ENTRY) / f"model.safetensors.{etag[:16]}.part"
    half = (hub.folder / "model.safetensors").read_bytes()[:150_000]
    done = subprocess.run([sys.executable, "-c", script, str(part)], input=half)
    assert done.returncode == -9 and part.stat().st_size == 150_000
    get_weights(ENTRY, lambda line: None)
    assert same_files(hub) and ("GET", "model.safetensors", "bytes=150000-") in hub.requests


def test_wrong_checksum(hub):
    hub.spoilt = True
    with pytest.raises(ValueError, match=r"config\.json of segformer-b0 with git's SHA-1 .*got "):
        get_weights(ENTRY, lambda line: None)
    assert not is_here(ENTRY) and not list(folder_of(ENTRY).glob("*"))
    (hub.folder / "config.json").write_text("{}")
    hub.spoilt = False
    named = WeightsEntry(
        "x", "segmenter", "p", "l", 1, "o/x", files=(("model.safetensors",),),
        sha256={"model.safetensors": "0" * 64},
    )  # fmt: skip
    with pytest.raises(ValueError, match=f"SHA-256 {'0' * 64}, got .*it has been removed"):
        get_weights(named, lambda line: None)
    assert not list(folder_of(named).glob("*"))


def test_what_was_damaged_here_is_downloaded_again(hub):
    get_weights(ENTRY, lambda line: None)
    file = folder_of(ENTRY) / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[7] ^= 1
    file.write_bytes(content)
    hub.requests.clear()
    get_weights(ENTRY, lambda line: None)
    assert same_files(hub) and got(hub) == ["model.safetensors"]


def test_full_disk(hub, monkeypatch):
    usage = SimpleNamespace(free=1_150_000)
    monkeypatch.setattr(weights_download.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ValueError, match=r"got 0\.1 MB for 0\.3 MB: .*SEMANTIC_FIELD_WEIGHTS"):
        get_weights(ENTRY, lambda line: None)
    assert got(hub) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_a_disk_that_fills_up_meanwhile(hub):
    etag = hub.etag(hub.folder / "model.safetensors")
    folder_of(ENTRY).mkdir(parents=True)
    part = folder_of(ENTRY) / f"model.safetensors.{etag[:16]}.part"
    part.symlink_to("/dev/full")  # every write fails as on a full disk
    with pytest.raises(ValueError, match=r"got a full disk: make room and call again"):
        get_weights(ENTRY, lambda line: None)
    part.unlink()
    get_weights(ENTRY, lambda line: None)
    assert same_files(hub)


def test_no_network(hub, monkeypatch):
    hub.gone = True
    with pytest.raises(ValueError, match=r"answer from http://127.*HTTPS_PROXY or HF_ENDPOINT"):
        get_weights(ENTRY, lambda line: None)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="unset HF_HUB_OFFLINE"):
        get_weights(ENTRY, lambda line: None)


def test_command_asks_once_and_prints_the_licence(hub, monkeypatch, capsys):
    assert cli.main(["weights", "get", "segformer-b0"]) == 1
    told = capsys.readouterr()
    assert "licence: NVIDIA" in told.out and "get segformer-b0 --yes" in told.err
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    answers = iter(["n", "y"])
    monkeypatch.setattr("builtins.input", lambda question: next(answers))
    assert cli.main(["weights", "get", "segformer-b0"]) == 1 and got(hub) == []
    assert cli.main(["weights", "where", "segformer-b0"]) == 1
    assert cli.main(["weights", "get", "segformer-b0"]) == 0 and same_files(hub)
    assert cli.main(["weights", "get", "segformer-b0"]) == 0  # asks nobody
    capsys.readouterr()
    assert cli.main(["weights", "where", "segformer-b0"]) == 0
    assert capsys.readouterr().out.strip() == str(folder_of(ENTRY))
    assert cli.main(["weights", "where"]) == 0 and cli.main(["weights", "list"]) == 0
    assert "sha256" in capsys.readouterr().out


def test_endpoint_of_the_environment_is_asked(hub, tmp_path):
    """As users set it: in another process, with --yes."""
    environment = os.environ | {
        "HF_ENDPOINT": constants.ENDPOINT,
        "SEMANTIC_FIELD_WEIGHTS": str(tmp_path / "weights"),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [sys.executable, "-m", "semantic_field.cli", "weights", "get", ENTRY.name, "--yes"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "segformer-b0 is complete" in done.stdout and same_files(hub)


def test_the_token_goes_to_the_hub_alone(hub, monkeypatch):
    sent = []
    real = hub_download.http_get
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr(
        hub_download, "http_get",
        lambda url, stream, **how: sent.append(how["headers"]) or real(url, stream, **how),
    )  # fmt: skip
    get_weights(ENTRY, lambda line: None)
    assert all(headers["authorization"] == "Bearer hf_secret" for headers in sent)
    sent.clear()
    shutil.rmtree(folder_of(ENTRY))
    remote = weights_download.RemoteFile
    elsewhere = constants.ENDPOINT.replace("127.0.0.1", "localhost")
    monkeypatch.setattr(
        weights_download, "RemoteFile",
        lambda name, url, *rest: remote(name, url.replace(constants.ENDPOINT, elsewhere), *rest),
    )  # fmt: skip
    get_weights(ENTRY, lambda line: None)
    assert sent and not any("authorization" in headers for headers in sent) and same_files(hub)
