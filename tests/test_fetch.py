"""Files: downloaded once, verified always, never half there; and what is said when one cannot be had."""

import hashlib
import os
import re
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lib import fetch
from lib.fetch import DataError, File

CONTENT = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
BLOB = hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT).hexdigest()
FULL = File("toy/data.npz", BLOB, (SHA256,), len(CONTENT))
KNOWN = {"all": FULL, "blob": File(FULL.path, BLOB), "sha256": File(FULL.path, sha256=("0" * 64, SHA256))}


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.delenv("MISSVAE_DATA", raising=False)
    monkeypatch.setenv("MISSVAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # pooch waits between attempts


class Handler(SimpleHTTPRequestHandler):
    """Serves CONTENT as its server's `how` says, and counts."""

    def do_GET(self):
        self.server.seen.append(self.path)
        how, body = self.server.how, CONTENT
        if how == "404" or (how == "404 once" and len(self.server.seen) == 1) or self.path != "/data/toy/data.npz":
            return self.send_error(404)
        if how == "wrong bytes":
            body = body[:-1] + b"x"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.server.gate.wait(10)
        self.wfile.write(body[: 1000 if how == "breaks off" else None])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    """Stands for the authors' repository; `how` it answers, what it has `seen`, `gate` to hold its answers back."""
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.how, httpd.seen, httpd.gate = "well", [], threading.Event()
    httpd.gate.set()
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    httpd.url = f"http://127.0.0.1:{httpd.server_port}/data/"
    monkeypatch.setattr(fetch, "OFFICIAL", httpd.url)
    yield httpd
    httpd.shutdown()
    httpd.server_close()
    thread.join()


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file()]


# ---- downloads ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", KNOWN)
def test_a_download_is_verified_kept_and_not_repeated(known, server, tmp_path, capsys):
    first, second = fetch.get(KNOWN[known], None), fetch.get(KNOWN[known], None)
    assert first == second == (tmp_path / "cache" / "toy" / "data.npz", SHA256)
    assert first.path.read_bytes() == CONTENT and server.seen == ["/data/toy/data.npz"]
    assert leftovers(tmp_path / "cache") == ["data.npz"]
    assert "toy/data.npz: 100%" in capsys.readouterr().err


@pytest.mark.parametrize("known", KNOWN)
def test_a_damaged_copy_is_fetched_again(known, server, tmp_path):
    path = fetch.get(KNOWN[known], None).path
    path.write_bytes(CONTENT[:-1] + b"x")
    assert fetch.get(KNOWN[known], None).path.read_bytes() == CONTENT and len(server.seen) == 2


@pytest.mark.parametrize("known", KNOWN)
@pytest.mark.parametrize(
    ("how", "found"),
    [("wrong bytes", "wrong content"), ("breaks off", "IncompleteRead"), ("404", "404"), (None, "refused")],
)
def test_a_failed_download_says_so_and_leaves_nothing(how, found, known, server, tmp_path):
    server.how = how
    if how is None:
        server.shutdown()
        server.server_close()
    with pytest.raises(DataError, match=found) as caught:
        fetch.get(KNOWN[known], None, otherwise="do without")
    expected = "git blob SHA-1 " + BLOB if known == "blob" else SHA256
    for word in (server.url + "toy/data.npz", str(tmp_path / "cache"), expected, "MISSVAE_DATA", "or do without"):
        assert word in str(caught.value)
    assert len(server.seen) == (1 + fetch.RETRIES if how else 0)
    assert leftovers(tmp_path / "cache") == []


def test_the_message_of_a_failed_download_can_be_followed_to_the_letter(server, tmp_path):
    server.how = "404"
    with pytest.raises(DataError) as caught:
        fetch.get(FULL, None)
    said = re.search(r"copy the file to FOLDER/(\S+), with .* and set MISSVAE_DATA=FOLDER$", str(caught.value))
    path = tmp_path / "FOLDER" / said[1]
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    assert fetch.get(FULL, tmp_path / "FOLDER") == (path, SHA256)


def test_a_passing_failure_is_tried_again(server):
    server.how = "404 once"
    assert fetch.get(FULL, None).path.read_bytes() == CONTENT and len(server.seen) == 2


def test_an_interrupted_download_leaves_nothing(server, tmp_path, monkeypatch):
    import requests

    def interrupted(*_, **__):
        yield b"half of"
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(requests.Response, "iter_content", interrupted)
        fetch.get(FULL, None)
    assert leftovers(tmp_path / "cache") == []
    assert fetch.get(FULL, None).path.exists()  # the lock went with it


def test_a_mirror_and_the_users_own_cache_folder(server, monkeypatch):
    import pooch

    monkeypatch.setattr(fetch, "OFFICIAL", "http://127.0.0.1:1/")
    monkeypatch.setenv("MISSVAE_MIRROR", server.url.rstrip("/"))
    assert fetch.get(FULL, None).path.read_bytes() == CONTENT
    monkeypatch.delenv("MISSVAE_CACHE")
    assert fetch.cache_folder() == pooch.os_cache("missvae")


def test_a_full_disk(server, tmp_path, monkeypatch):
    def full(*_, **__):
        yield b"half of"
        raise OSError(28, "No space left on device")

    import requests

    monkeypatch.setattr(requests.Response, "iter_content", full)
    with pytest.raises(DataError, match="No space left.*MISSVAE_CACHE: another folder"):
        fetch.get(FULL, None)
    assert leftovers(tmp_path / "cache") == [] and len(server.seen) == 1  # not tried again


def test_an_unwritable_cache(server, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(DataError, match="cannot download.*MISSVAE_CACHE: another folder"):
        fetch.get(FULL, None)


def test_two_processes_download_once(server, tmp_path):
    server.gate.clear()
    script = (
        "import os; from lib import fetch; file = fetch.File('toy/data.npz', os.environ['BLOB']);"
        "print(fetch.get(file, None).sha256)"
    )
    environment = os.environ | {"MISSVAE_MIRROR": server.url, "BLOB": BLOB}
    root = Path(fetch.__file__).parents[1]
    processes = [
        subprocess.Popen([sys.executable, "-c", script], cwd=root, env=environment, text=True, stdout=-1, stderr=-1)
        for _ in range(2)
    ]
    # The first to say that it waits sets the other's download free.
    waits = threading.Semaphore(0)
    texts = ["", ""]

    def listen(i):
        for line in processes[i].stderr:
            texts[i] += line
            if "waiting for it" in line:
                waits.release()

    threads = [threading.Thread(target=listen, args=[i]) for i in range(2)]
    for thread in threads:
        thread.start()
    assert waits.acquire(timeout=60), texts
    server.gate.set()
    assert [process.stdout.read().strip() for process in processes] == [SHA256, SHA256]
    for process, thread in zip(processes, threads, strict=True):
        thread.join()
        assert process.wait() == 0
        process.stdout.close()
        process.stderr.close()
    assert server.seen == ["/data/toy/data.npz"] and leftovers(tmp_path / "cache") == ["data.npz"]


def test_without_pooch_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(DataError, match="need the package pooch.*MISSVAE_DATA"):
        fetch.get(FULL, None)


# ---- files of a folder --------------------------------------------------------------------------------------


def spoil(path: Path):
    path.write_bytes(CONTENT[:-1] + b"x")


def truncate(path: Path):
    path.write_bytes(CONTENT[:-100])


def lengthen(path: Path):
    path.write_bytes(CONTENT + b"x")


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine" / "toy" / "data.npz"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    return path


@pytest.mark.parametrize("known", KNOWN)
def test_a_file_of_the_folder_is_used_where_it_lies(known, mine, server):
    assert fetch.get(KNOWN[known], mine.parents[1]) == (mine, SHA256) and server.seen == []


@pytest.mark.parametrize(
    ("change", "known", "found"),
    [
        (spoil, "all", f"wrong content: expected SHA-256 {SHA256}, found"),
        (spoil, "sha256", f"wrong content: expected SHA-256 {'0' * 64} or {SHA256}, found"),
        (spoil, "blob", f"wrong content: expected git blob SHA-1 {BLOB}, found"),
        (truncate, "all", "truncated: expected 256000 bytes, found 255900"),
        (truncate, "blob", r"wrong content: .*\(255900 bytes\)"),
        (lengthen, "all", "too long: expected 256000 bytes, found 256001"),
        (Path.unlink, "all", r"cannot read \(No such file"),
    ],
)
def test_a_wrong_file_of_the_folder_is_an_error_never_a_download(change, known, found, mine, server):
    change(mine)
    with pytest.raises(DataError, match=found) as caught:
        fetch.get(KNOWN[known], mine.parents[1], otherwise="do without")
    assert str(mine) in str(caught.value) and "do without" in str(caught.value) and server.seen == []
    if known != "sha256":
        assert f"Copy data/toy/data.npz of the authors' repository (git blob {BLOB}) there" in str(caught.value)
        assert "unset MISSVAE_DATA to have it downloaded" in str(caught.value)


def test_the_hashes_of_the_authors_files_are_whole():
    every = [file for wanted in fetch.FILES.values() for file in wanted] + [fetch.MINIBOONE_PART]
    assert len({file.path for file in every}) == len(every) == 20
    assert all(file.blob == "" or len(file.blob) == 40 for file in every)
    assert all(len(sha256) == 64 for file in every for sha256 in file.sha256)
    assert all(file.blob or file.sha256 for file in every)
