import gzip
import http.server
import socket
import threading

import pytest
from image_files import (
    TEST,
    TEST_LABEL,
    TRAIN,
    TRAIN_LABEL,
    check,
    cifar_archive,
    cifar_files,
    digest,
    error,
    idx_files,
    publish,
)

from rlgen.data import download
from rlgen.data.known import IDX_FILES, KNOWN
from rlgen.data.load import load
from rlgen.errors import DiskError

GOOD = idx_files()


class Server:
    def __init__(self):
        self.files, self.requests = {}, []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                server.requests.append(self.path)
                found = server.files.get(self.path)
                if found is None:
                    return self.send_error(404)
                body, length = found if isinstance(found, tuple) else (found, len(found))
                self.send_response(200)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def server():
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def mirror(server, monkeypatch):
    """A server that has an MNIST of twelve images."""
    files = idx_files()
    server.files = {f"/{file}.gz": gzip.compress(content) for file, content in files.items()}
    publish(monkeypatch, "mnist", {file: digest(content) for file, content in files.items()}, server.url + "/{file}.gz")
    return server


def cached(tmp_path, name="mnist"):
    folder = tmp_path / "cache" / "rlgen" / name
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_missing_data_set_is_downloaded_once(tmp_path, mirror, capsys):
    data = check(load("mnist"))
    assert len(data.train) == 12 and data.source == str(tmp_path / "cache" / "rlgen" / "mnist")
    assert cached(tmp_path) == sorted(IDX_FILES)  # nothing temporary stays
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count(f"downloading {mirror.url}") == 4
    load("mnist")
    load("mnist", str(tmp_path))  # a data directory without it falls back to the cache
    assert len(mirror.requests) == 4


def test_recompressed_mirrors_are_accepted(mirror):
    mirror.files = {path: gzip.compress(gzip.decompress(body), 1) for path, body in mirror.files.items()}
    assert len(load("mnist").train) == 12


def test_a_wrong_hash_is_refused_and_nothing_is_kept(tmp_path, mirror):
    wrong = idx_files(seed=1)[TRAIN]
    mirror.files[f"/{TRAIN}.gz"] = gzip.compress(wrong)
    message = error("mnist")
    assert f"sha256 {digest(wrong)[:12]}.. and not {digest(GOOD[TRAIN])[:12]}.." in message
    assert cached(tmp_path) == []


@pytest.mark.parametrize("fault", ["cut", "cut inside", "404", "html"])
def test_a_broken_download_is_refused_and_goes_on_where_it_stopped(tmp_path, mirror, fault):
    path, body = f"/{TEST}.gz", mirror.files[f"/{TEST}.gz"]
    mirror.files[path] = {"cut": (body[:50], len(body)), "cut inside": body[:50], "404": None, "html": b"<html>"}[fault]
    message = error("mnist")
    words = {"cut": f"cut off after 50 of {len(body)} bytes", "404": "HTTP 404"}.get(fault, f"{path}: ")
    assert words in message
    assert f"put {TEST}[.gz], {TEST_LABEL}[.gz] into {tmp_path / 'cache' / 'rlgen' / 'mnist'}" in message
    assert cached(tmp_path) == sorted([TRAIN, TRAIN_LABEL])

    mirror.files[path], mirror.requests[:] = body, []
    assert len(load("mnist").test) == 4
    assert mirror.requests == [path, f"/{TEST_LABEL}.gz"]


def test_the_next_mirror_is_tried(mirror, monkeypatch):
    entry = KNOWN["mnist"]
    publish(monkeypatch, "mnist", entry.sha256, mirror.url + "/gone/{file}.gz", *entry.urls)
    assert len(load("mnist").train) == 12


def test_without_network_the_error_says_which_file_to_put_where(tmp_path):
    message = error("fashion-mnist", tmp_path)
    assert all(f"{file}[.gz]" in message for file in IDX_FILES)
    assert str(tmp_path / "cache" / "rlgen" / "fashion-mnist") in message and "Connection refused" in message
    assert str(tmp_path / "fashion-mnist") in message and "--data-dir" in message
    assert "put cifar-10-python.tar.gz into" in error("cifar10")


def test_a_name_that_does_not_resolve_is_one_line(monkeypatch):
    publish(monkeypatch, "mnist", KNOWN["mnist"].sha256, "http://mnist.invalid/{file}.gz")
    message = error("mnist")
    assert "cannot be downloaded (http://mnist.invalid/" in message and "Errno" not in message


def test_a_silent_server_is_given_up(monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/{{file}}.gz"
        publish(monkeypatch, "mnist", KNOWN["mnist"].sha256, url)
        assert "timed out" in error("mnist")


def test_an_unwritable_cache_is_a_disk_error(tmp_path, mirror):
    (tmp_path / "cache").write_text("a file where the cache should be")
    assert "XDG_CACHE_HOME" in error("mnist", kind=DiskError)


def test_cifar10_is_downloaded_as_one_verified_archive(tmp_path, server, monkeypatch):
    files = cifar_files()
    server.files["/c.tar.gz"] = cifar_archive({**files, "../../evil": b"x", "readme.html": b"x"})
    publish(
        monkeypatch, "cifar10", {file: digest(content) for file, content in files.items()}, server.url + "/c.tar.gz"
    )
    data = check(load("cifar10"))
    assert len(data.train) == 20 and cached(tmp_path, "cifar10") == sorted(files) and len(server.requests) == 1
    load("cifar10")
    assert len(server.requests) == 1


@pytest.mark.parametrize("fault", ["incomplete", "not an archive", "cut"])
def test_a_bad_cifar10_download_leaves_nothing(tmp_path, server, monkeypatch, fault):
    files = cifar_files()
    archive = cifar_archive(files)
    short = cifar_archive({file: content for file, content in files.items() if file != "data_batch_3"})
    server.files["/c.tar.gz"] = {"incomplete": short, "not an archive": b"x" * 999, "cut": archive[:5000]}[fault]
    publish(
        monkeypatch, "cifar10", {file: digest(content) for file, content in files.items()}, server.url + "/c.tar.gz"
    )
    assert "put cifar-10-python.tar.gz into" in error("cifar10") and cached(tmp_path, "cifar10") == []
