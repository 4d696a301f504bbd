"""Data sets: found, checked, fetched with resume, and named when something is wrong."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import socket
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from seqprobe.cli.app import run
from seqprobe.data import CATALOG, DataFile, Dataset, dataset, fetch, folder, missing, read
from seqprobe.data.store import problem
from seqprobe.errors import SeqprobeError, UnreadableFileError, UsageError

CONTENT = bytes(range(256)) * 2000


class Server(http.server.BaseHTTPRequestHandler):
    """Serves /whole, /broken (drops the connection half way), /norange and /wrong."""

    requests: list[tuple[str, str | None]] = []  # noqa: RUF012

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        Server.requests.append((self.path, wanted))
        content = b"other" if self.path == "/wrong" else CONTENT
        start = int(wanted[6:-1]) if wanted and self.path != "/norange" else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        half = self.path == "/broken" and start == 0
        self.wfile.write(content[start : len(content) // 2 if half else None])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("SEQPROBE_DATA", str(tmp_path / "data"))
    Server.requests.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def entry(url: str, path: str = "some/file.bin") -> Dataset:
    digest = hashlib.sha256(CONTENT).hexdigest()
    return Dataset("some", "for tests", "none", (DataFile(path, url, digest, len(CONTENT)),))


def test_download_is_checked_and_read_back(host: str) -> None:
    data = entry(f"{host}/whole")
    assert missing(data)
    seen: list[tuple[int, int]] = []
    (path,) = fetch(data, lambda have, total, name: seen.append((have, total)))
    assert path == folder() / "some/file.bin"
    assert read(data) == {"file.bin": CONTENT}
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert fetch(data) == []
    assert len(Server.requests) == 1


def test_broken_download_goes_on_where_it_stopped(host: str) -> None:
    data = entry(f"{host}/broken")
    with pytest.raises(
        SeqprobeError, match=r"broke off after 256000 of 512000 bytes.*call it again"
    ):
        fetch(data)
    assert missing(data)
    fetch(data)
    assert read(data) == {"file.bin": CONTENT}
    assert Server.requests[1] == ("/broken", "bytes=256000-")


def test_server_without_ranges_sends_it_whole(host: str) -> None:
    data = entry(f"{host}/norange")
    part = folder() / "some/file.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT[:1000])
    fetch(data)
    assert read(data) == {"file.bin": CONTENT}


def test_a_part_of_something_else_is_dropped(host: str) -> None:
    data = entry(f"{host}/whole")
    part = folder() / "some/file.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 1000)
    fetch(data)
    assert read(data) == {"file.bin": CONTENT}
    assert [path for path, _ in Server.requests] == ["/whole", "/whole"]


def test_reply_that_is_not_http_gets_one_line(host: str) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            connection.recv(1000)
            connection.sendall(b"welcome to this network\r\n")
            connection.close()

        threading.Thread(target=answer, daemon=True).start()
        data = entry(f"http://127.0.0.1:{listener.getsockname()[1]}/x")
        with pytest.raises(SeqprobeError, match="cannot download"):
            fetch(data)


def test_a_file_in_the_place_of_a_folder_gets_one_line(host: str) -> None:
    folder().mkdir(parents=True)
    (folder() / "some").write_text("in the way")
    with pytest.raises(SeqprobeError, match="cannot download"):
        fetch(entry(f"{host}/whole"))


def test_wrong_content_is_refused_and_not_kept(host: str) -> None:
    data = entry(f"{host}/wrong")
    with pytest.raises(
        SeqprobeError, match="has 5 bytes of content, should have 512000; its publisher"
    ):
        fetch(data)
    assert list((folder() / "some").iterdir()) == []


def test_unreachable_server_says_what_to_do(host: str) -> None:
    data = entry("http://127.0.0.1:9/none")
    with pytest.raises(SeqprobeError, match=r"cannot download .* put the file at"):
        fetch(data)


def test_hash_is_of_the_unpacked_content(host: str) -> None:
    data = entry(f"{host}/whole", "some/file.gz")
    path = folder() / "some/file.gz"
    path.parent.mkdir(parents=True)
    for level in (1, 9):
        path.write_bytes(gzip.compress(CONTENT, level))
        assert problem(data.files[0]) is None
    path.write_bytes(gzip.compress(CONTENT)[:-100])
    assert problem(data.files[0]) == "cannot be read (EOFError)"


def test_corrupted_file_is_named_with_what_to_do(host: str) -> None:
    data = entry(f"{host}/whole")
    (path,) = fetch(data)
    read(data)
    path.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(
        UnreadableFileError, match=r"another content than was published.*data fetch"
    ):
        read(data)
    assert fetch(data) == [path]
    assert read(data) == {"file.bin": CONTENT}


def archive(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return buffer.getvalue()


def test_archive_becomes_a_folder_of_its_members(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = {"x-1/recordings/b.wav": b"bb", "x-1/recordings/a.wav": b"a", "x-1/README.md": b"no"}
    lines = "".join(
        f"{hashlib.sha256(content).hexdigest()}  {name}\n"
        for name, content in (("a.wav", b"a"), ("b.wav", b"bb"))
    )
    digest = hashlib.sha256(lines.encode()).hexdigest()
    monkeypatch.setitem(Server.do_GET.__globals__, "CONTENT", archive(members))
    file = DataFile("sounds", f"{host}/whole", digest, 3, members="*.wav")
    data = Dataset("sounds", "for tests", "none", (file,))
    assert fetch(data) == [folder() / "sounds"]
    assert read(data) == {"a.wav": b"a", "b.wav": b"bb"}
    assert sorted(p.name for p in folder().rglob("*")) == ["a.wav", "b.wav", "sounds"]
    (folder() / "sounds" / "a.wav").write_bytes(b"c")
    with pytest.raises(UnreadableFileError, match="another content"):
        read(data)
    monkeypatch.setitem(Server.do_GET.__globals__, "CONTENT", b"no archive")
    with pytest.raises(SeqprobeError, match="has 0 bytes of content, should have 3"):
        fetch(data)
    assert (folder() / "sounds" / "b.wav").exists()


def test_missing_data_folder_gets_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SEQPROBE_DATA", str(tmp_path / "nowhere"))
    monkeypatch.chdir(tmp_path)
    from seqprobe.tasks import music

    music._pieces.cache_clear()
    assert run(["train", "gru", "jsb", "-o", "x.pt", "--steps", "1"]) == 3
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "data set 'jsb' is not in" in err
    assert "seqprobe data fetch jsb" in err
    assert list(tmp_path.iterdir()) == []


def test_folder_is_the_users_cache_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEQPROBE_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/some/cache")
    assert folder() == Path("/some/cache/seqprobe/data")


def test_commands_list_and_check(
    host: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(CATALOG, "some", entry(f"{host}/whole"))
    assert run(["data", "ls"]) == 0
    assert "some" in capsys.readouterr().out
    assert run(["data", "check", "some"]) == 3
    captured = capsys.readouterr()
    assert "1 of 1 files are missing or wrong" in captured.err
    assert run(["data", "fetch", "some", "--quiet"]) == 0
    assert run(["data", "check", "some", "--json"]) == 0
    assert '"problem": null' in capsys.readouterr().out
    assert run(["data", "fetch", "mnits"]) == 2
    assert "did you mean 'mnist'" in capsys.readouterr().err


def test_names_are_known() -> None:
    assert dataset("jsb").name == "jsb"
    with pytest.raises(UsageError, match="unknown data set 'jbs'; did you mean 'jsb'"):
        dataset("jbs")
