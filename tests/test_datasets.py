"""Data sets: the embedded draw, the authors' file, and every way in which a file can be wrong."""

import hashlib
import os
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from scipy.io import savemat

from lib import datasets, missingness
from lib.datasets import DataError

AUTHORS = os.environ.get("MISSVAE_DATA")  # before the tests hide it
needs_authors = pytest.mark.skipif(not AUTHORS, reason="needs the authors' files: set MISSVAE_DATA to their folder")


@pytest.fixture(autouse=True)
def no_local_folder(monkeypatch):
    monkeypatch.delenv("MISSVAE_DATA", raising=False)


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A small file in the authors' format, registered as "mog" with its own checksum and served over HTTP."""
    generator = torch.Generator().manual_seed(0)
    data = datasets._embedded_mog()
    arrays = {split: torch.randn(7, 5, generator=generator).numpy() for split in ("train", "val", "test")}
    truth = {
        "comp_probs": data["truth"].weights[None],
        "means": data["truth"].means,
        "covs": data["truth"].covariances,
    }
    path = tmp_path / "served" / "toy" / "data_mog2_large.mat"
    path.parent.mkdir(parents=True)
    savemat(path, arrays | {key: value.float().numpy() for key, value in truth.items()})
    content = path.read_bytes()
    entry = datasets.REGISTRY["mog"]
    file = replace(entry.files[0], size=len(content), sha256=hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(datasets.REGISTRY, "mog", replace(entry, files=(file,)))
    return path


@pytest.fixture
def server(served):
    """Base URL of a server whose requests are counted."""

    class Handler(SimpleHTTPRequestHandler):
        requests = []

        def do_GET(self):
            self.requests.append(self.path)
            super().do_GET()

        def log_message(self, *_):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=served.parents[1]))
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    httpd.url, httpd.seen = f"http://127.0.0.1:{httpd.server_port}/", Handler.requests
    yield httpd
    httpd.shutdown()
    httpd.server_close()
    thread.join()


@pytest.fixture
def no_waiting(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # pooch waits between attempts


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_the_embedded_data_are_the_same_bytes_everywhere():
    data = datasets.load("mog", "embedded")
    assert data.checksum == "be18053b5801" + data.checksum[12:]
    assert (data.train.shape, data.val.shape, data.test.shape) == ((20000, 5), (100, 5), (1000, 5))
    assert data.train.dtype == torch.float32 and data.source == "embedded"


def test_the_embedded_mixture_is_standardised_and_fits_its_samples():
    data = datasets.load("mog", "embedded")
    mean, covariance = data.truth.moments()
    assert mean.abs().max() < 2e-5 and (covariance.diagonal() - 1).abs().max() < 1e-4  # rounded to five decimals
    n = len(data.train)
    assert (data.train.mean(0).abs() < 5 / n**0.5).all()
    squares = data.train.double().square()
    assert ((squares.mean(0) - 1).abs() < 5 * squares.std(0) / n**0.5).all()


def test_the_embedded_seed_follows_its_rule():
    def ceiling(seed):
        parts = datasets._embedded_mog(seed)
        return parts["truth"].log_prob(parts["test"]).mean()

    near = [abs(ceiling(seed) + 2.095) < 0.1 for seed in range(datasets.MOG_SEED + 1)]
    assert near == [False] * datasets.MOG_SEED + [True]


def test_auto_is_embedded_without_a_folder_and_authors_with_one(served, monkeypatch):
    assert datasets.load("mog").source == "embedded"
    monkeypatch.setenv("MISSVAE_DATA", str(served.parents[1]))
    data = datasets.load("mog")
    assert data.source == "authors" and len(data.train) == 7
    assert data.truth.weights.sum() == pytest.approx(1, abs=1e-12)  # stored in single precision
    assert datasets.load("mog", "embedded").source == "embedded"


def test_a_download_is_verified_kept_and_not_repeated(server, tmp_path):
    load = partial(datasets.load, "mog", "authors", base_url=server.url, cache=tmp_path / "cache")
    assert torch.equal(load().test, load().test)
    assert server.seen == ["/toy/data_mog2_large.mat"]
    assert [p.name for p in leftovers(tmp_path / "cache")] == ["data_mog2_large.mat"]


def test_a_damaged_cache_is_fetched_again(server, tmp_path):
    load = partial(datasets.load, "mog", "authors", base_url=server.url, cache=tmp_path / "cache")
    load()
    (cached,) = leftovers(tmp_path / "cache")
    cached.write_bytes(cached.read_bytes()[:100])
    assert len(load().train) == 7 and len(server.seen) == 2


def spoil_bytes(path: Path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def truncate(path: Path):
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("spoil", "found"), [(spoil_bytes, "hash"), (truncate, "hash"), (Path.unlink, "404"), (None, "refused")]
)
def test_a_failed_download_says_so_and_leaves_nothing(spoil, found, served, server, tmp_path, no_waiting):
    url = server.url
    if spoil:
        spoil(served)
    else:
        server.shutdown()
        server.server_close()
    with pytest.raises(DataError, match=found) as caught:
        datasets.load("mog", "authors", base_url=url, cache=tmp_path / "cache")
    for word in ("data/toy/data_mog2_large.mat", "expected", "SHA-256", "MISSVAE_DATA", "'embedded'"):
        assert word in str(caught.value)
    assert len(server.seen) == (3 if spoil else 0)  # tried again twice
    assert leftovers(tmp_path / "cache") == []


def test_an_interrupted_download_leaves_nothing(server, tmp_path, monkeypatch):
    import requests

    def interrupted(*_, **__):
        yield b"half of"
        raise KeyboardInterrupt

    monkeypatch.setattr(requests.Response, "iter_content", interrupted)
    with pytest.raises(KeyboardInterrupt):
        datasets.load("mog", "authors", base_url=server.url, cache=tmp_path / "cache")
    assert leftovers(tmp_path / "cache") == []


def test_an_unwritable_cache(server, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(DataError, match="cannot download"):
        datasets.load("mog", "authors", base_url=server.url, cache=tmp_path / "cache")


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (spoil_bytes, "wrong content: expected SHA-256"),
        (truncate, "truncated: expected"),
        (Path.unlink, "cannot read"),
    ],
)
def test_a_wrong_local_file_is_an_error_never_a_fallback(spoil, found, served, monkeypatch):
    spoil(served)
    monkeypatch.setenv("MISSVAE_DATA", str(served.parents[1]))
    with pytest.raises(DataError, match=found) as caught:
        datasets.load("mog")
    assert str(served) in str(caught.value) and "unset MISSVAE_DATA" in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mgo",), "unknown data set 'mgo'. Did you mean mog\\? Known: mog"),
        (("mog", "author"), "unknown data source 'author'. Did you mean authors\\?"),
    ],
)
def test_unknown_names(arguments, message):
    with pytest.raises(ValueError, match=message):
        datasets.load(*arguments)


@needs_authors
def test_the_authors_data_score_what_they_should():
    data = datasets.load("mog", folder=AUTHORS)
    assert data.source == "authors"
    score = data.truth.log_prob(data.test)
    assert score.mean() == pytest.approx(-2.095, abs=5e-4)
    assert score.std() / 1000**0.5 == pytest.approx(0.068, abs=5e-4)
    assert data.truth.log_prob(data.train).mean() == pytest.approx(-2.06, abs=5e-3)
    assert data.truth.single_gaussian().log_prob(data.test).mean() == pytest.approx(-6.97, abs=5e-3)
    mean, covariance = data.truth.moments()
    assert mean.abs().max() < 1e-6 and (covariance.diagonal() - 1).abs().max() < 1e-5
    _, _, test = missingness.mask_splits(data.train, data.val, data.test, fraction=0.5, seed=20220118)
    assert data.truth.log_prob(test.x).mean() == pytest.approx(-2.095, abs=5e-4)
    assert data.truth.log_prob(test.x, test.m).mean() == pytest.approx(-2.202, abs=5e-4)
