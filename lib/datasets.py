"""The data sets by name: fetched, verified and split, or generated.

Two sources. "authors": the files of the paper's authors, from the folder that MISSVAE_DATA names (laid out
like the `data/` folder of their repository), or downloaded from that repository at one fixed commit; verified
by checksum either way. "embedded": generated here by the paper's recipe from a fixed seed, so that nothing
needs a network; it is NOT the authors' draw and its numbers are not comparable with theirs.
"""

import hashlib
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from . import names
from .mixture import GaussianMixture
from .shapes import Float, Tensor

OFFICIAL = "https://raw.githubusercontent.com/vsimkus/demiss-vae/f778e94ac4e6ddd48a07a3fe2536bb61e8eb3cd7/data/"
SOURCES = ("auto", "authors", "embedded")


class DataError(Exception):
    """Data that cannot be had or trusted: names the file, what was expected and found, and what to do."""


@dataclass(frozen=True, eq=False)
class DataSet:
    """Complete data in single precision (masks: see `missingness`) and the SHA-256 of what was used."""

    name: str
    source: str  # "authors" or "embedded"
    checksum: str
    train: Float[Tensor, "N D"]
    val: Float[Tensor, "V D"]
    test: Float[Tensor, "T D"]
    truth: GaussianMixture | None = None  # the generating distribution, where it is known


@dataclass(frozen=True)
class File:
    """One file of the authors' `data/` folder; the git blob SHA-1 ties it to their repository."""

    path: str
    size: int
    sha256: str
    blob: str


@dataclass(frozen=True)
class Entry:
    """How one data set is had: the authors' files, their reader, the generator of the embedded stand-in."""

    files: tuple[File, ...]
    read: Callable[[dict[str, bytes]], dict]
    embedded: Callable[[], dict] | None = None


def load(
    name: str = "mog",
    source: str = "auto",
    *,
    folder: str | Path | None = None,
    base_url: str = OFFICIAL,
    cache: str | Path | None = None,
) -> DataSet:
    """A data set by name.

    source: "authors", "embedded", or "auto": the authors' files if MISSVAE_DATA is set, else embedded (never
    a silent fallback from one to the other). folder: instead of MISSVAE_DATA. cache: where downloads are kept
    (default: the user's cache folder). Raises ValueError for an unknown name or source, DataError for missing
    or wrong files.
    """
    entry = REGISTRY[names.known("data set", name, REGISTRY)]
    names.known("data source", source, SOURCES)
    folder = folder or os.environ.get("MISSVAE_DATA")
    if source == "auto":
        source = "authors" if folder else "embedded"
    if source == "embedded":
        if entry.embedded is None:
            raise ValueError(f"data set {name!r} has no embedded version; use source='authors'")
        parts = entry.embedded()
        content = b"".join(parts[split].numpy().tobytes() for split in ("train", "val", "test"))
        return DataSet(name, source, hashlib.sha256(content).hexdigest(), **parts)
    if folder:
        contents = {file.path: _read(Path(folder) / file.path, file) for file in entry.files}
    else:
        contents = {file.path: _download(file, base_url, cache) for file in entry.files}
    hashes = [file.sha256 for file in entry.files]
    checksum = hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
    return DataSet(name, source, checksum, **entry.read(contents))


# ---- files -------------------------------------------------------------------------------------------------


def _read(path: Path, file: File) -> bytes:
    """The verified bytes of a local file."""
    todo = (
        f"Copy data/{file.path} of the authors' repository (git blob {file.blob}) there, or unset "
        "MISSVAE_DATA to have it downloaded (source 'authors') or to use the embedded data"
    )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"data file {path}: cannot read ({error.strerror}). {todo}") from error
    if len(content) != file.size:
        kind = "truncated" if len(content) < file.size else "too long"
        raise DataError(f"data file {path} is {kind}: expected {file.size} bytes, found {len(content)}. {todo}")
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        raise DataError(
            f"data file {path} has the wrong content: expected SHA-256 {file.sha256}, found {found}. {todo}"
        )
    return content


def _download(file: File, base_url: str, cache: str | Path | None) -> bytes:
    """The verified bytes of one of the authors' files, from the cache or from their repository.

    pooch writes beside the target, verifies, and only then renames: nothing half-written stays behind.
    """
    try:
        import pooch
    except ModuleNotFoundError as error:
        raise DataError(
            f"data/{file.path} needs the package pooch to be downloaded: install pooch, or set MISSVAE_DATA "
            "to a folder that holds the authors' files"
        ) from error
    cache = Path(cache or pooch.os_cache("missvae"))
    store = pooch.create(cache, base_url, registry={file.path: f"sha256:{file.sha256}"}, retry_if_failed=2)
    try:
        path = store.fetch(file.path, downloader=_get)
    except (OSError, ValueError) as error:  # requests' errors are OSErrors, a wrong checksum is a ValueError
        raise DataError(
            f"cannot download data/{file.path} from {base_url}{file.path} into {cache}: expected {file.size} "
            f"bytes with SHA-256 {file.sha256}; found: {error}. Check the network and try again, copy the "
            "file into a folder and set MISSVAE_DATA to it, or use the embedded data (source 'embedded')"
        ) from error
    return _read(Path(path), file)


def _get(url: str, output: str, _) -> None:
    """One attempt to download, in the form that pooch expects; unlike its own, it closes the connection."""
    import requests

    with requests.get(url, timeout=30, stream=True) as response:
        response.raise_for_status()
        with open(output, "wb") as file:
            for chunk in response.iter_content(2**16):
                file.write(chunk)


# ---- mixture of Gaussians ----------------------------------------------------------------------------------


def _read_mog(contents: dict[str, bytes]) -> dict:
    from scipy.io import loadmat

    arrays = loadmat(io.BytesIO(next(iter(contents.values()))))
    splits = {s: torch.from_numpy(np.array(arrays[s], np.float32)) for s in ("train", "val", "test")}
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


REGISTRY = {
    "mog": Entry(
        files=(
            File(
                path="toy/data_mog2_large.mat",
                size=424376,
                sha256="8c6ded7689ebf4b70787b65c8f6ffd65a4dad8af0ab4ff874b88aa40a16c2533",
                blob="eb3690f6729298ccee51e74b9b76956770e8a5f9",
            ),
        ),
        read=_read_mog,
        embedded=_embedded_mog,
    ),
}
