"""Data sets: the embedded draws, the authors' files in their layout, binarisation, and memory."""

import dataclasses
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

from lib import datasets, fetch, missingness
from lib.__main__ import main
from lib.datasets import DataError
from lib.fetch import File

AUTHORS = os.environ.get("MISSVAE_DATA")  # before the tests hide it
needs_authors = pytest.mark.skipif(not AUTHORS, reason="needs the authors' files: set MISSVAE_DATA to their folder")
needs_pictures = pytest.mark.skipif(
    not AUTHORS or not (Path(AUTHORS) / "omniglot").exists() or not (Path(AUTHORS) / "MNIST").exists(),
    reason="needs the authors' pictures: set MISSVAE_DATA to their folder",
)
WIDTHS = {"mog": 5, "power": 6, "gas": 8, "hepmass": 21, "miniboone": 43, "mnist": 784, "omniglot": 784}
TABLES = ["power", "gas", "hepmass", "miniboone"]


@pytest.fixture(autouse=True)
def places(monkeypatch, tmp_path):
    for name in ("MISSVAE_DATA", "MISSVAE_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MISSVAE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """A folder of small files in the authors' layout, registered with their own hashes; MISSVAE_DATA is not set."""
    random = np.random.RandomState(0)
    base = tmp_path / "data"
    for name, entry in datasets.REGISTRY.items():
        wanted = []
        for file, rows in zip(entry.files, (7, 4, 5), strict=False):
            path = base / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            if name == "mog":
                data = datasets._embedded_mog()
                arrays = {split: random.standard_normal((7, 5)) for split in datasets.SPLITS}
                truth = {"comp_probs": "weights", "means": "means", "covs": "covariances"}
                truth = {key: getattr(data["truth"], value).float().numpy() for key, value in truth.items()}
                savemat(path, arrays | truth | {"comp_probs": truth["comp_probs"][None]})
            elif name == "mnist":
                x = random.randint(256, size=(rows, 28, 28)).astype(np.uint8)
                np.savez_compressed(path, data=x, targets=np.arange(rows))
            elif name == "omniglot":
                x = random.randint(2, size=(rows, 105, 105)).astype(np.float32)
                np.savez_compressed(path, data=x, targets=np.arange(rows))
            else:
                np.savez_compressed(path, random.standard_normal((rows, WIDTHS[name])))
            wanted.append(known(path, file.path))
        monkeypatch.setitem(datasets.REGISTRY, name, dataclasses.replace(entry, files=tuple(wanted)))
    return base


def known(path: Path, name: str) -> File:
    """The file by its git blob alone."""
    content = path.read_bytes()
    return File(name, hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest())


def stored(path: Path, key: str) -> np.ndarray:
    with np.load(path) as archive:
        return archive[key]


# ---- embedded -----------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("name", TABLES)
def test_made_up_tables_are_standardised_and_dependent(name):
    data = datasets.load(name, "embedded")
    assert [len(x) for x in (data.train, data.val, data.test)] == [2000, 200, 200]
    x = torch.cat([data.train, data.val, data.test]).double()
    assert x.shape[1] == WIDTHS[name] and data.train.dtype == torch.float32
    assert x.mean(0).abs().max() < 1e-5 and (x.var(0, correction=0) - 1).abs().max() < 1e-4  # rounded
    assert (torch.corrcoef(x.T).fill_diagonal_(0).abs().amax(0) > 0.2).all()  # each feature tells of another
    assert data.checksum == datasets.load(name, "embedded").checksum


@pytest.mark.parametrize(("name", "low", "high"), [("mnist", 0.02, 0.2), ("omniglot", 0.8, 0.98)])
def test_made_up_pictures_have_strokes_and_the_real_ones_polarity(name, low, high):
    data = datasets.load(name, "embedded")
    assert [tuple(x.shape) for x in (data.train, data.val, data.test)] == [(600, 784), (100, 784), (100, 784)]
    assert data.train.min() == 0 and data.train.max() == 1 and low < data.train.mean() < high
    assert len(data.train.unique(dim=0)) == 600


# ---- the authors' layout ------------------------------------------------------------------------------------


def test_auto_is_embedded_only_where_that_follows_the_paper(folder, monkeypatch):
    assert datasets.load("mog").source == "embedded"
    monkeypatch.setattr(fetch, "RETRIES", 0)
    monkeypatch.setenv("MISSVAE_MIRROR", "http://127.0.0.1:1/")
    with pytest.raises(DataError, match="cannot download data/power/train.npz from http://127.0.0.1:1/"):
        datasets.load("power")
    monkeypatch.setenv("MISSVAE_DATA", str(folder))
    data = datasets.load("mog")
    assert data.source == "authors" and len(data.train) == 7
    assert data.truth.weights.sum() == pytest.approx(1, abs=1e-12)  # stored in single precision
    assert datasets.load("mog", "embedded").source == "embedded"
    assert datasets.load("power").source == "authors"


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_read_in_single_precision(name, folder):
    data = datasets.load(name, folder=folder)
    for split in datasets.SPLITS:
        x = stored(folder / name / f"{split}.npz", "arr_0")
        assert torch.equal(getattr(data, split), torch.from_numpy(x.astype(np.float32)))
    hashes = "".join(hashlib.sha256((folder / name / f"{s}.npz").read_bytes()).hexdigest() for s in datasets.SPLITS)
    assert data.checksum == hashlib.sha256(hashes.encode()).hexdigest()


def test_mnist_is_read_as_intensities(folder):
    data = datasets.load("mnist", folder=folder)
    x = stored(folder / "MNIST" / "val.npz", "data")
    assert data.val.shape == (4, 784) and data.val.dtype == torch.float32
    assert data.val[2, 28 * 5 + 9] == np.float32(x[2, 5, 9]) / 255


def test_omniglot_is_resized_in_chunks_and_kept(folder, monkeypatch, tmp_path, capsys):
    data = datasets.load("omniglot", folder=folder)
    x = torch.from_numpy(stored(folder / "omniglot" / "train.npz", "data"))
    whole = torch.nn.functional.interpolate(x[:, None], (28, 28), mode="bilinear", antialias=True)[:, 0]
    assert data.train.shape == (7, 784) and (data.train.reshape(7, 28, 28) - whole).abs().max() < 1e-6
    path = folder / "omniglot" / "train.npz"
    assert torch.equal(datasets._resize(path, chunk=3), data.train)
    with monkeypatch.context() as patch:
        patch.setattr(datasets, "_resize", None)
        again = datasets.load("omniglot", folder=folder)
    assert torch.equal(again.train, data.train) and torch.equal(again.test, data.test)
    kept = sorted((tmp_path / "cache" / "omniglot").iterdir())
    assert len(kept) == 3 and all(p.name.startswith("28x28-") for p in kept)
    for position in (300, -2000):  # header of the array; its content
        content = bytearray(kept[0].read_bytes())
        content[position] ^= 64
        kept[0].write_bytes(content)
        assert torch.equal(datasets.load("omniglot", folder=folder).train, data.train)
    kept[0].write_bytes(kept[0].read_bytes()[:-3000])
    assert torch.equal(datasets.load("omniglot", folder=folder).train, data.train)
    assert len(list((tmp_path / "cache" / "omniglot").iterdir())) == 3 and capsys.readouterr().err == ""


def test_resized_pictures_are_intensities_whatever_the_rounding(folder, monkeypatch):
    resize = datasets.interpolate
    monkeypatch.setattr(datasets, "interpolate", lambda *args, **options: 9 * resize(*args, **options) - 4)
    pictures = datasets._resize(folder / "omniglot" / "train.npz")
    assert pictures.min() == 0 and pictures.max() == 1


def test_omniglot_without_a_cache_that_can_be_written(folder, tmp_path, capsys, monkeypatch):
    expected = datasets.load("omniglot", folder=folder).train
    (tmp_path / "cache2").write_text("in the way")
    monkeypatch.setenv("MISSVAE_CACHE", str(tmp_path / "cache2"))
    assert torch.equal(datasets.load("omniglot", folder=folder).train, expected)
    assert "resized pictures cannot be kept" in capsys.readouterr().err


def test_either_version_of_omniglot_is_accepted_and_told_apart(folder, monkeypatch):
    entry = datasets.REGISTRY["omniglot"]
    path = folder / entry.files[0].path
    first = datasets.load("omniglot", folder=folder)
    np.savez_compressed(path, data=stored(path, "data")[::-1], targets=np.arange(7))
    other = dataclasses.replace(entry.files[0], sha256=(hashlib.sha256(path.read_bytes()).hexdigest(),))
    with pytest.raises(DataError, match="omniglot/train.npz has the wrong content"):
        datasets.load("omniglot", folder=folder)
    monkeypatch.setitem(datasets.REGISTRY, "omniglot", dataclasses.replace(entry, files=(other, *entry.files[1:])))
    second = datasets.load("omniglot", folder=folder)
    assert torch.equal(first.train.flip(0), second.train) and first.checksum != second.checksum


def test_partial_miniboone_is_its_first_rows_and_the_validation_rows(folder, monkeypatch):
    monkeypatch.setattr(datasets, "PART_ROWS", 3)
    train, val = (stored(folder / "miniboone" / f"{s}.npz", "arr_0").astype(np.float32) for s in ("train", "val"))
    expected = torch.from_numpy(np.concatenate([train[:3], val]))
    full = datasets.load("miniboone", "partial", folder=folder)
    assert torch.equal(full.train, expected) and torch.equal(full.val, torch.from_numpy(val)) and len(full.test) == 5

    (folder / "miniboone" / "train.npz").unlink()
    with pytest.raises(DataError, match="train_partial.npz: cannot read.*or data/miniboone/train.npz of the authors'"):
        datasets.load("miniboone", "partial", folder=folder)
    part = folder / "miniboone" / "train_partial.npz"
    np.savez(part, train[:3].astype(np.float64), mean=np.zeros(43))
    entry = datasets.REGISTRY["miniboone"]
    entry = dataclasses.replace(entry, part=known(part, "miniboone/train_partial.npz"))
    monkeypatch.setitem(datasets.REGISTRY, "miniboone", entry)
    assert torch.equal(datasets.load("miniboone", "partial", folder=folder).train, expected)
    with pytest.raises(DataError, match="miniboone/train.npz: cannot read.*source 'partial'.*python -m lib data"):
        datasets.load("miniboone", folder=folder)


@pytest.mark.parametrize("name", datasets.REGISTRY)
def test_what_is_said_without_a_network_is_enough(name, folder, monkeypatch, tmp_path, capsys):
    """The first file where the message says, the others beside it, as they are listed."""
    monkeypatch.setattr(fetch, "RETRIES", 0)
    monkeypatch.setenv("MISSVAE_MIRROR", "http://127.0.0.1:1/")
    with pytest.raises(DataError, match="`python -m lib data` lists them") as caught:
        datasets.load(name, "authors")
    said = re.search(r"copy the file to FOLDER/(\S+), with the data set's other files beside it", str(caught.value))
    main(["data"])
    (listed,) = re.findall(rf"^{name}: sources .*\n((?:    .*\n)+)", capsys.readouterr().out, re.MULTILINE)
    mine = tmp_path / "FOLDER"
    beside = (mine / said[1]).parent
    beside.mkdir(parents=True)
    for line in listed.splitlines():
        shutil.copy(folder / line.split()[0], beside)
    assert (mine / said[1]).exists()
    monkeypatch.setenv("MISSVAE_DATA", str(mine))
    assert datasets.load(name, "authors").checksum == datasets.load(name, "authors", folder=folder).checksum


def test_partial_rows_without_a_network_are_no_reason_to_ask_for_them(folder, monkeypatch, tmp_path):
    monkeypatch.setattr(fetch, "RETRIES", 0)
    monkeypatch.setenv("MISSVAE_MIRROR", "http://127.0.0.1:1/")
    monkeypatch.setattr(datasets, "PART_ROWS", 3)
    with pytest.raises(DataError, match="source 'prepared'.*source 'embedded'") as caught:
        datasets.load("miniboone", "partial")
    assert "source 'partial'" not in str(caught.value)
    said = re.search(r"put the rows that can be had in its place, as FOLDER/(\S+), or", str(caught.value))[1]
    train = stored(folder / "miniboone" / "train.npz", "arr_0")
    shutil.copytree(folder / "miniboone", tmp_path / "FOLDER" / "miniboone", ignore=lambda *_: ["train.npz"])
    np.savez(tmp_path / "FOLDER" / said, train[:3])
    entry = dataclasses.replace(datasets.REGISTRY["miniboone"], part=known(tmp_path / "FOLDER" / said, said))
    monkeypatch.setitem(datasets.REGISTRY, "miniboone", entry)
    found = datasets.load("miniboone", "partial", folder=tmp_path / "FOLDER")
    assert torch.equal(found.train, datasets.load("miniboone", "partial", folder=folder).train)
    (tmp_path / "FOLDER" / "miniboone" / "val.npz").unlink()
    with pytest.raises(DataError, match="val.npz: cannot read.*source 'embedded'") as caught:
        datasets.load("miniboone", "partial", folder=tmp_path / "FOLDER")
    assert "source 'partial'" not in str(caught.value)


def test_fetch_names_all_files_of_a_data_set(folder, monkeypatch):
    monkeypatch.setenv("MISSVAE_DATA", str(folder))
    assert datasets.fetch("gas") == [folder / "gas" / f"{split}.npz" for split in datasets.SPLITS]
    (folder / "gas" / "val.npz").write_bytes(b"")
    with pytest.raises(DataError, match="gas/val.npz has the wrong content"):
        datasets.fetch("gas")


def test_a_wrong_local_file_is_an_error_never_a_fallback(folder, monkeypatch):
    monkeypatch.setenv("MISSVAE_DATA", str(folder))
    path = folder / "toy" / "data_mog2_large.mat"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="wrong content") as caught:
        datasets.load("mog")
    assert all(words in str(caught.value) for words in (str(path), "unset MISSVAE_DATA", "source 'embedded'"))


@pytest.mark.parametrize(
    ("call", "arguments", "message"),
    [
        (datasets.load, ("mgo",), "unknown data set 'mgo'. Did you mean mog\\? Known: mog, power, gas"),
        (datasets.load, ("mog", "author"), "unknown data source 'author'. Did you mean authors\\?"),
        (datasets.load, ("mnist", "partial"), "unknown data source of mnist 'partial'.*Known: auto, authors, embedded"),
        (datasets.load, ("mnist", "prepared"), "unknown data source of mnist 'prepared'"),
        (datasets.load, ("power", "partial"), "unknown data source of power 'partial'"),
        (datasets.fetch, ("mniboone",), "unknown data set 'mniboone'. Did you mean miniboone"),
    ],
)
def test_unknown_names(call, arguments, message):
    with pytest.raises(ValueError, match=message):
        call(*arguments)


# ---- binarisation -------------------------------------------------------------------------------------------


def pictures(p: float, rows=(300, 100, 100)) -> datasets.DataSet:
    return datasets.DataSet("made up", "embedded", "", *(torch.full((n, 784), p) for n in rows))


def test_binarised_pixels_are_on_with_their_intensity():
    for x in datasets.binarise(pictures(0.3), seed=20220118):
        assert x.dtype == torch.float32 and set(x.unique().tolist()) == {-1.0, 1.0}
        assert abs((x > 0).double().mean() - 0.3) < 5 * (0.21 / x.numel()) ** 0.5
    assert all((x == 1).all() for x in datasets.binarise(pictures(1.0), seed=1))


@pytest.mark.parametrize(
    ("seed", "expected"), [(20220118, 23556437), (2022011844, 2355643798), (1, 1), (7, 8), (200, 233), (0, 0)]
)
def test_binarisation_is_seeded_by_its_rule(seed, expected):
    train, val, test = datasets.binarise(pictures(0.5), seed)
    generator = torch.Generator().manual_seed(expected)
    assert torch.equal(train > 0, torch.rand(300, 784, generator=generator) <= 0.5)
    assert torch.equal(val > 0, torch.rand(100, 784, generator=generator) <= 0.5)
    generator = torch.Generator().manual_seed(expected)
    assert torch.equal(test > 0, torch.rand(100, 784, generator=generator) <= 0.5)


def test_tables_cannot_be_binarised():
    with pytest.raises(ValueError, match=r"'gas' has values outside \[0, 1\]: only pictures"):
        datasets.binarise(datasets.load("gas", "embedded"), 1)


# ---- memory -------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak memory from Linux's /proc")
def test_a_table_as_long_as_power_needs_little_memory(tmp_path):
    """Loaded, masked and trained on by DeMissVAE in a process of its own: limits that one more copy breaks, of the rows
    in double precision (76 MiB) and of their five imputations (140 MiB)."""
    script = """
import dataclasses, re, sys
from lib import datasets, methods, missingness, plans, runs
from lib.fetch import File

def peak():  # MiB; unlike the system's ru_maxrss it does not begin with that of the parent process
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) // 1024

entry, before = datasets.REGISTRY["power"], peak()
wanted = tuple(File(file.path, sha256=(sha256,)) for file, sha256 in zip(entry.files, sys.argv[2:]))
datasets.REGISTRY["power"] = dataclasses.replace(entry, files=wanted)
data = datasets.load("power", folder=sys.argv[1])
assert data.train.shape == (1659917, 6)
loaded = peak()
splits = missingness.mask_splits(data.train, data.val, data.test, missing=0.8, seed=20220118)
masked = peak()
train, val, _ = splits
rows, split = len(train.x), missingness.Split(*train, *val)
del data, splits, train, val
plan, method = plans.EXPERIMENTS["power"], methods.get("DeMissVAE")
settings = plan.settings_of(method, 5, {"steps": 2000})
run = runs.Run(method, lambda: plan.make_model(method, 5, 6), split, 1, settings, plan.sampler, "cpu")
run.step = run.steps_per_epoch  # the sampler begins in the second epoch
run.train_step()
print(loaded - before, masked - before, peak() - before, rows)
"""
    hashes = []
    for file, rows in zip(datasets.REGISTRY["power"].files, (1659917, 184435, 204928), strict=True):
        (tmp_path / "power").mkdir(exist_ok=True)
        np.savez(tmp_path / file.path, np.zeros((rows, 6)))
        hashes.append(hashlib.sha256((tmp_path / file.path).read_bytes()).hexdigest())
    command = [sys.executable, "-c", script, tmp_path, *hashes]
    done = subprocess.run(command, cwd=Path(datasets.__file__).parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded, masked, trained, rows = map(int, done.stdout.split())
    assert loaded < 170 and masked < 250 and trained < 450, (loaded, masked, trained)
    assert abs(rows / 1659917 - (1 - 0.8**6)) < 2e-3  # rows with nothing observed are gone


# ---- the authors' own files ---------------------------------------------------------------------------------


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
    _, _, test = missingness.mask_splits(data.train, data.val, data.test, missing=0.5, seed=20220118)
    assert data.truth.log_prob(test.x).mean() == pytest.approx(-2.095, abs=5e-4)
    assert data.truth.log_prob(test.x, test.m).mean() == pytest.approx(-2.202, abs=5e-4)


@needs_authors
def test_partial_miniboone_as_it_is():
    data = datasets.load("miniboone", "partial", folder=AUTHORS)
    assert [tuple(x.shape) for x in (data.train, data.val, data.test)] == [(4807, 43), (3284, 43), (3648, 43)]
    assert torch.equal(data.train[1523:], data.val)
    rows = torch.cat([data.train, data.test])  # of data that are standardised as a whole
    assert rows.mean(0).abs().max() < 0.1 and (rows.std(0) - 1).abs().max() < 0.35
    assert len(data.train.unique(dim=0)) == 4807 and not (data.train[:1523, None, 0] == data.test[:, 0]).all()


@needs_pictures
def test_mnist_as_it_is():
    data = datasets.load("mnist", folder=AUTHORS)
    assert [tuple(x.shape) for x in (data.train, data.val, data.test)] == [(54000, 784), (6000, 784), (10000, 784)]
    assert data.train.min() == 0 and data.train.max() == 1
    assert data.train.mean() == pytest.approx(0.1307, abs=1e-4)


@needs_pictures
def test_omniglot_as_it_is():
    data = datasets.load("omniglot", folder=AUTHORS)
    assert [tuple(x.shape) for x in (data.train, data.val, data.test)] == [(27396, 784), (194, 784), (4870, 784)]
    assert data.train.min() == 0 and data.train.max() == 1
    assert data.train.mean() == pytest.approx(0.92, abs=1e-3) and data.test.mean() == pytest.approx(0.92, abs=1e-3)
    assert torch.cat([data.train[:, :28], data.train[:, -28:]]).mean() > 0.97  # paper, not ink, at the edges
