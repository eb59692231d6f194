"""The data sets by name: the authors' files, verified (see `fetch`), or stand-ins generated here.

Sources. "authors": the files of the paper's authors. "partial" (miniboone): the rows that can be had without the
authors' training file. "prepared" (tables): made by `preprocess` from the raw files of the UCI archive. "embedded":
generated here from a fixed seed, so that nothing needs a network; for mog by the paper's recipe (NOT the authors'
draw: its numbers are not comparable with theirs), for all others made-up rows or pictures of the same width that have
nothing to do with the real data and serve trials and tests only.
"""

import hashlib
import os
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import interpolate
from tqdm import tqdm

from . import fetch as files
from . import names
from .fetch import DataError as DataError
from .fetch import File, Local
from .mixture import GaussianMixture
from .shapes import Float, Tensor

SOURCES = ("auto", "authors", "partial", "prepared", "embedded")
SPLITS = ("train", "val", "test")
SUMS = "SHA256SUMS"  # the hashes of prepared files, beside them


@dataclass(frozen=True, eq=False)
class DataSet:
    """Complete data in single precision (masks: see `missingness`) and the SHA-256 of what was used.

    Tables are standardised. Pictures are intensities in [0, 1], 28 x 28 row by row, to be binarised (`binarise`).
    """

    name: str
    source: str  # any of SOURCES but "auto"
    checksum: str
    train: Float[Tensor, "N D"]
    val: Float[Tensor, "V D"]
    test: Float[Tensor, "T D"]
    truth: GaussianMixture | None = None  # the generating distribution, where it is known


@dataclass(frozen=True)
class Entry:
    """How one data set is had.

    files: of the authors, by their paths in their `data/` folder. read: the verified copies, in that order -> fields of
    `DataSet`. embedded: generates the stand-in. recipe: it follows the paper's recipe, so that "auto" may take it.
    part: holds the first rows of the training file, for source "partial". table: can be prepared from raw files.
    """

    files: tuple[File, ...]
    read: Callable[[Sequence[Local]], dict]
    embedded: Callable[[], dict]
    recipe: bool = False
    part: File | None = None
    table: bool = False

    @property
    def sources(self) -> tuple[str, ...]:
        return "auto", "authors", *["partial"] * bool(self.part), *["prepared"] * self.table, "embedded"

    def otherwise(self, part: bool = False) -> str:
        """What to do where a file of the authors cannot be had; part: that is, where source "partial" was asked for."""
        ways = ["use the rows that can be had (source 'partial')"] * bool(self.part and not part)
        ways += ["prepare the raw UCI files (`python -m lib data --help`; source 'prepared')"] * self.table
        kind = "embedded data" if self.recipe else "made-up data, for a trial"
        return ", or ".join([*ways, f"use the {kind} (source 'embedded')"])


def load(name: str = "mog", source: str = "auto", *, folder: str | Path | None = None) -> DataSet:
    """A data set by name.

    source: see above. "auto": the authors' files; of mog the embedded draw where there is no folder (never a silent
    fallback from one to the other). folder: instead of the one that MISSVAE_DATA names; without a folder the authors'
    files are downloaded once.
    Raises ValueError for an unknown name or source, DataError for missing or wrong files.
    """
    entry = REGISTRY[names.known("data set", name, REGISTRY)]
    names.known("data source", source, SOURCES)
    names.known(f"data source of {name}", source, entry.sources)
    folder = folder or os.environ.get("MISSVAE_DATA")
    if source == "auto":
        source = "embedded" if entry.recipe and not folder else "authors"
    if source == "embedded":
        parts = entry.embedded()
        content = b"".join(parts[split].numpy().tobytes() for split in SPLITS)
        return DataSet(name, source, hashlib.sha256(content).hexdigest(), **parts)
    found = _prepared(name, folder) if source == "prepared" else _authors(entry, folder, part=source == "partial")
    hashes = [local.sha256 for local in found]
    checksum = hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
    parts = entry.read(found)
    if source == "partial":
        parts["train"] = torch.cat([parts["train"][:PART_ROWS], parts["val"]])
    return DataSet(name, source, checksum, **parts)


def fetch(name: str) -> list[Path]:
    """All of the authors' files of a data set on this machine: those of MISSVAE_DATA, or downloaded; verified.

    Raises ValueError for an unknown name, DataError for missing or wrong files.
    """
    entry = REGISTRY[names.known("data set", name, REGISTRY)]
    return [local.path for local in _authors(entry, os.environ.get("MISSVAE_DATA"))]


def binarise(content: DataSet, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Black-and-white pictures (train, val, test) in {-1, +1}, each [rows, pixels]: +1 with probability the intensity.

    They differ between runs. One generator, seeded with floor(1.165 seed), draws train and then val; a fresh one with
    the same seed draws test. Raises ValueError for what is not intensities.
    Source: Simkus & Gutmann 2024, section 6.3; the seeding is that of their released configuration.
    """

    def draw(p: Tensor, generator: torch.Generator) -> Tensor:
        if p.min() < 0 or p.max() > 1:
            raise ValueError(f"data set {content.name!r} has values outside [0, 1]: only pictures can be binarised")
        return 2 * (torch.rand(p.shape, generator=generator) <= p).float() - 1

    first, second = (torch.Generator().manual_seed(1165 * seed // 1000) for _ in range(2))
    return draw(content.train, first), draw(content.val, first), draw(content.test, second)


# ---- which files -------------------------------------------------------------------------------------------


def _authors(entry: Entry, folder: str | Path | None, part: bool = False) -> list[Local]:
    """The verified files of the authors; part: the first rows may stand for the training file."""
    first, *others = entry.files
    otherwise = first_otherwise = entry.otherwise(part)
    if part and not folder:
        first_otherwise = f"put the rows that can be had in its place, as FOLDER/{entry.part.path}, or {otherwise}"
    elif part and not (Path(folder) / first.path).exists():
        first = entry.part
        first_otherwise = (
            f"Copy it, or data/{entry.files[0].path} of the authors' repository, there, or unset MISSVAE_DATA"
        )
    return [files.get(first, folder, first_otherwise), *(files.get(file, folder, otherwise) for file in others)]


def _prepared(name: str, folder: str | Path | None) -> list[Local]:
    """The files that `preprocess` made, verified by the hashes beside them."""
    todo = f"Prepare the raw files of the UCI archive: lib.preprocess.run({name!r}, raw folder, this folder)"
    if not folder:
        raise DataError(f"{name}: no folder with prepared data is known. {todo}, and set MISSVAE_DATA to that folder")
    sums = Path(folder) / name / SUMS
    try:
        hashes = {path: sha256 for sha256, path in (line.split() for line in sums.read_text().splitlines())}
        wanted = [File(f"{name}/{split}.npz", sha256=(hashes[f"{split}.npz"],)) for split in SPLITS]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"data file {sums}: cannot read the hashes of prepared data ({error!r}). {todo}") from error
    return [files.local(file, folder, todo) for file in wanted]


# ---- tables ------------------------------------------------------------------------------------------------


def _read_tables(found: Sequence[Local]) -> dict:
    """Standardised rows, stored in double precision."""
    parts = {}
    for split, local in zip(SPLITS, found, strict=True):
        with np.load(local.path) as archive:
            parts[split] = torch.from_numpy(archive["arr_0"].astype(np.float32, order="C"))
    return parts


def _embedded_table(features: int) -> dict:
    """Made-up rows, 2000/200/200: three noisy planes at different places. Nothing of the real data is in them."""
    random = np.random.RandomState(features)
    n, rank = 2400, 1 + features // 4
    planes, places = random.standard_normal((3, rank, features)), 2 * random.standard_normal((3, features))
    c = random.randint(3, size=n)
    x = places[c] + np.einsum("nr,nrd->nd", random.standard_normal((n, rank)), planes[c])
    x += 0.3 * random.standard_normal(x.shape)
    x = torch.from_numpy(((x - x.mean(0)) / x.std(0)).round(5).astype(np.float32))
    return dict(zip(SPLITS, x.split([2000, 200, 200]), strict=True))


# ---- pictures ----------------------------------------------------------------------------------------------


def _read_mnist(found: Sequence[Local]) -> dict:
    parts = {}
    for split, local in zip(SPLITS, found, strict=True):
        with np.load(local.path) as archive:
            parts[split] = torch.from_numpy(archive["data"]).flatten(1) / 255
    return parts


def _read_omniglot(found: Sequence[Local]) -> dict:
    return {split: _small_pictures(local) for split, local in zip(SPLITS, found, strict=True)}


def _small_pictures(local: Local) -> Float[Tensor, "N 784"]:
    """The file's pictures at 28 x 28; resized once, then kept in the cache folder under the file's hash."""
    path = files.cache_folder() / "omniglot" / f"28x28-{local.sha256[:16]}.npz"
    try:
        with files.alone(path):
            try:
                with open(path, "rb") as file, np.load(file) as archive:  # reading all of an array checks its CRC
                    return torch.from_numpy(archive["data"])
            except (FileNotFoundError, zipfile.BadZipFile, ValueError, KeyError, EOFError):
                pictures = _resize(local.path)
            temporary = path.with_name(f".{path.name}")
            with open(temporary, "wb") as file:
                np.savez(file, data=pictures.numpy())
            os.replace(temporary, path)
            return pictures
    except OSError as error:
        print(f"{path}: resized pictures cannot be kept ({error}); resizing for this time only", file=sys.stderr)
        return _resize(local.path)


def _resize(path: Path, chunk: int = 512) -> Float[Tensor, "N 784"]:
    """28 x 28 from 105 x 105, bilinear with antialiasing; ink stays 0, paper 1. In chunks: whole, they fill 1.2 GB."""
    with zipfile.ZipFile(path) as archive, archive.open("data.npy") as member:
        np.lib.format.read_magic(member)
        shape, _, dtype = np.lib.format.read_array_header_1_0(member)
        small = torch.empty(shape[0], 784)
        bar = tqdm(small.split(chunk), desc="resizing", delay=1.0, mininterval=1.0, file=sys.stderr)
        for out in bar:
            content = bytearray(member.read(len(out) * shape[1] * shape[2] * dtype.itemsize))
            x = torch.from_numpy(np.frombuffer(content, dtype)).reshape(-1, 1, *shape[1:])  # [chunk, 1, 105, 105]
            x = interpolate(x, size=(28, 28), mode="bilinear", antialias=True, align_corners=False)
            out[:] = x.flatten(1).clamp(0, 1)  # rounding errors
    return small


def _embedded_pictures(seed: int, *, inverted: bool = False) -> dict:
    """Made-up pictures, 600/100/100: one bent stroke each. Nothing of the real data is in them. inverted: dark ink."""
    n, t = 800, np.linspace(0, 1, 24)[:, None, None]
    a, b, c = np.random.RandomState(seed).uniform(4, 24, (3, n, 2))
    path = (1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c  # [24, n, 2]
    spots = np.exp(-((np.arange(28) - path[..., None]) ** 2) / 2)  # [24, n, 2, 28]
    x = np.zeros((n, 28, 28))
    for spot in spots:
        np.maximum(x, spot[:, 0, :, None] * spot[:, 1, None], out=x)
    x = (255 * x).round() / 255
    x = torch.from_numpy((1 - x if inverted else x).astype(np.float32)).flatten(1)
    return dict(zip(SPLITS, x.split([600, 100, 100]), strict=True))


# ---- mixture of Gaussians ----------------------------------------------------------------------------------


def _read_mog(found: Sequence[Local]) -> dict:
    from scipy.io import loadmat

    arrays = loadmat(found[0].path)
    splits = {s: torch.from_numpy(np.array(arrays[s], np.float32)) for s in SPLITS}
    weights, means, covariances = (
        torch.from_numpy(np.array(arrays[key], np.float64)) for key in ("comp_probs", "means", "covs")
    )
    weights = weights.flatten() / weights.sum()  # stored in single precision
    return splits | {"truth": GaussianMixture(weights, means, (covariances + covariances.mT) / 2)}


# The smallest seed whose test rows have a mean log-density within 0.1 nat of that of the authors' (-2.095).
MOG_SEED = 4


def _embedded_mog(seed: int = MOG_SEED) -> dict:
    """The recipe of Simkus & Gutmann 2024, appendix E.1, drawn anew: 20000/100/1000 rows of 5 features.

    `RandomState` streams never change between NumPy versions. Parameters and rows are rounded to five
    decimals, far above the rounding errors of a machine's linear algebra, so that every machine gets the same
    bytes.
    """
    C, D, rows = 15, 5, {"train": 20000, "val": 100, "test": 1000}
    random = np.random.RandomState(seed)
    weights = random.standard_exponential(C)  # normalised: Dirichlet(1, ..., 1)
    weights /= weights.sum()
    g = random.standard_normal((C, D, D))
    covariances = np.linalg.inv(g @ g.transpose(0, 2, 1))  # inverse Wishart(D, I)
    means = 3 * random.standard_normal((C, D))
    # The whole mixture to mean 0 and marginal variances 1; correlations are kept.
    mean = weights @ means
    scale = np.sqrt(weights @ (np.diagonal(covariances, axis1=1, axis2=2) + (means - mean) ** 2))
    means = ((means - mean) / scale).round(5)
    covariances = (covariances / np.outer(scale, scale)).round(5)

    factors = np.linalg.cholesky(covariances)
    splits = {}
    for split, n in rows.items():
        c = np.searchsorted(weights.cumsum()[:-1], random.random_sample(n), side="right")
        x = means[c] + np.einsum("nij,nj->ni", factors[c], random.standard_normal((n, D)))
        splits[split] = torch.from_numpy(x.round(5).astype(np.float32))
    return splits | {"truth": GaussianMixture(*map(torch.from_numpy, (weights, means, covariances)))}


# ---- the registry ------------------------------------------------------------------------------------------


def _table(name: str, features: int, part: File | None = None) -> Entry:
    return Entry(files.FILES[name], _read_tables, partial(_embedded_table, features), part=part, table=True)


PART_ROWS = 1523  # of miniboone

REGISTRY = {
    "mog": Entry(files.FILES["mog"], _read_mog, _embedded_mog, recipe=True),
    "power": _table("power", 6),
    "gas": _table("gas", 8),
    "hepmass": _table("hepmass", 21),
    "miniboone": _table("miniboone", 43, files.MINIBOONE_PART),
    "mnist": Entry(files.FILES["mnist"], _read_mnist, partial(_embedded_pictures, 0)),
    "omniglot": Entry(files.FILES["omniglot"], _read_omniglot, partial(_embedded_pictures, 1, inverted=True)),
}
