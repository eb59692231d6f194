"""Files of the authors' `data/` folder: verified where they lie, or downloaded once into the cache folder.

Environment: MISSVAE_DATA, a folder laid out like that `data/` (nothing is downloaded then); MISSVAE_MIRROR, a base URL
with the same layout, in place of the authors' repository; MISSVAE_CACHE, in place of the user's cache folder.
"""

import contextlib
import hashlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout
from tqdm import tqdm

from . import locks
from .names import Explained

OFFICIAL = "https://raw.githubusercontent.com/vsimkus/demiss-vae/f778e94ac4e6ddd48a07a3fe2536bb61e8eb3cd7/data/"
RETRIES = 3  # after 1, 2 and 3 seconds


class DataError(Explained):
    """Data that cannot be had or trusted: names the file, what was expected and found, and what to do."""


@dataclass(frozen=True)
class File:
    """One file by its path below `data/`, and how it is recognised: one of these hashes has to fit.

    blob: SHA-1 under which the authors' repository holds it (git hash-object). sha256: of the accepted versions.
    size: bytes, where all versions agree; a better message for a broken copy.
    """

    path: str
    blob: str = ""
    sha256: tuple[str, ...] = ()
    size: int | None = None


class Local(NamedTuple):
    """A verified file on this machine."""

    path: Path
    sha256: str


def get(file: File, folder: str | Path | None, otherwise: str = "") -> Local:
    """The file in the folder, or downloaded if there is no folder. Never downloaded because the folder lacks it.

    otherwise: what else a user could do; ends the error's message. Raises DataError.
    """
    return local(file, folder, otherwise) if folder else _cached(file, otherwise)


def local(file: File, folder: str | Path, otherwise: str = "") -> Local:
    """A file of a folder on this machine, verified. Raises DataError."""
    path = Path(folder) / file.path
    todo = f"{otherwise}."
    if file.blob:
        todo = (
            f"Copy data/{file.path} of the authors' repository (git blob {file.blob}) there, or unset MISSVAE_DATA "
            f"to have it downloaded (source 'authors'){', or ' * bool(otherwise)}{otherwise}"
        )
    try:
        return Local(path, verify(path, file))
    except OSError as error:
        raise DataError(f"data file {path}: cannot read ({error.strerror or error}). {todo}") from error
    except ValueError as error:
        raise DataError(f"data file {path} {error}. {todo}") from error


def verify(path: Path, file: File) -> str:
    """The SHA-256 of the file at the path. ValueError, in words that follow its name, if it is not the right one."""
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        kind = "truncated" if size < file.size else "too long"
        raise ValueError(f"is {kind}: expected {file.size} bytes, found {size}")
    sha256, blob = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size)
    with open(path, "rb") as content:
        while chunk := content.read(1 << 20):
            sha256.update(chunk)
            blob.update(chunk)
    if sha256.hexdigest() in file.sha256 or blob.hexdigest() == file.blob:
        return sha256.hexdigest()
    if file.sha256:
        expected, found = f"SHA-256 {' or '.join(file.sha256)}", sha256.hexdigest()
    else:
        expected, found = f"git blob SHA-1 {file.blob}", blob.hexdigest()
    raise ValueError(f"has the wrong content: expected {expected}, found {found} ({size} bytes)")


def cache_folder() -> Path:
    """Where downloads, and what was made of them, are kept."""
    return Path(os.environ.get("MISSVAE_CACHE") or _pooch().os_cache("missvae"))


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """One process at a time makes this file; the others wait, and say so. OSError if that cannot be had."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without the kernel's locks there would be files that outlive a killed holder.
    lock = FileLock(path.with_name(f".{path.name}.lock"), fallback_to_soft=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        print(f"another process is fetching {path.name}: waiting for it", file=sys.stderr, flush=True)
        lock.acquire()
    try:
        yield
    finally:
        locks.give_back(lock, done=True)


def _cached(file: File, otherwise: str) -> Local:
    """From the cache, or downloaded into it: a wrong or half-written file never stands under its name."""
    base = (os.environ.get("MISSVAE_MIRROR") or OFFICIAL).rstrip("/") + "/"
    folder = cache_folder()
    path = folder / file.path
    try:
        with alone(path):
            with contextlib.suppress(FileNotFoundError, ValueError):
                return Local(path, verify(path, file))
            path.unlink(missing_ok=True)  # a damaged copy
            store = _pooch().create(folder, base, registry={file.path: None}, retry_if_failed=RETRIES)
            store.fetch(file.path, downloader=partial(_download, file))
            return Local(path, verify(path, file))
    except (OSError, ValueError) as error:  # requests' errors are OSErrors
        size = f"{file.size} bytes with " if file.size else ""
        expected = f"SHA-256 {' or '.join(file.sha256)}" if file.sha256 else f"git blob SHA-1 {file.blob}"
        raise DataError(
            f"cannot download data/{file.path} from {base}{file.path} into {folder}: expected {size}{expected}; found: "
            f"{error}. Check the network and try again (MISSVAE_MIRROR: another base URL; MISSVAE_CACHE: another "
            f"folder), or copy the file to FOLDER/{file.path}, with the data set's other files beside it "
            f"(`python -m lib data` lists them), and set MISSVAE_DATA=FOLDER{', or ' * bool(otherwise)}{otherwise}"
        ) from error


def _download(file: File, url: str, output: str, _) -> None:
    """One attempt, in the form that pooch expects; ValueError, which has pooch try again, if the file is wrong."""
    import requests

    with requests.get(url, timeout=30, stream=True, headers={"Accept-Encoding": "identity"}) as response:
        response.raise_for_status()
        total = int(response.headers.get("Content-Length", 0)) or None
        bar = tqdm(total=total, desc=file.path, unit="B", unit_scale=True, mininterval=1.0, file=sys.stderr)
        with open(output, "wb") as target, bar:
            for chunk in response.iter_content(1 << 16):
                bar.update(target.write(chunk))
    verify(Path(output), file)


def _pooch():
    try:
        import pooch
    except ModuleNotFoundError as error:
        raise DataError(
            "downloads need the package pooch: install pooch, or set MISSVAE_DATA to a folder that holds the authors' "
            "files and MISSVAE_CACHE to one that can be written"
        ) from error
    return pooch


# ---- what the authors' folder holds ------------------------------------------------------------------------

FILES = {
    "mog": (
        File(
            "toy/data_mog2_large.mat",
            "eb3690f6729298ccee51e74b9b76956770e8a5f9",
            ("8c6ded7689ebf4b70787b65c8f6ffd65a4dad8af0ab4ff874b88aa40a16c2533",),
            424376,
        ),
    ),
    "power": (
        File("power/train.npz", "64dffacee7a235278450672bc52d6b3676247df6"),
        File("power/val.npz", "7ace0034a46704f514894eb2fcd156b1acb22a9b"),
        File("power/test.npz", "df88ea15f01956afb219ceb0eb87cfe2ffc24f7d"),
    ),
    "gas": (
        File("gas/train.npz", "d4ba3692b277cd09faf5dcebe6348b0de3bd278e"),
        File("gas/val.npz", "854adaa6b701a7b7674933135ae87307fd8e6a11"),
        File("gas/test.npz", "8ea20148043f521cc0df91cfae1c437e91b617cc"),
    ),
    "hepmass": (
        File("hepmass/train.npz", "7d8625dddab1fb9274de38fe926e59142073d26e"),
        File("hepmass/val.npz", "4f5b55733a30abafcfe4369c8e3ae96c2e5925db"),
        File("hepmass/test.npz", "473ec6f2215e84c485cfb68be5c1ceb59a088eeb"),
    ),
    "miniboone": (
        File("miniboone/train.npz", "c900ee168c5584e216c9e201f7f2be0cdd15fc62"),
        File(
            "miniboone/val.npz",
            "fc6002db94f2ee767ef21c85a728d652ea8dc2c7",
            ("de83c56b51d07dbffca4d47ddf0b30a20a99f54c5add76023ed3c2cdcd3845c2",),
            1083892,
        ),
        File(
            "miniboone/test.npz",
            "286c5712fbc5556c82a6f915bec16ddccf210c6e",
            ("f32227aa7e864d50785d6b9f47149d7eb83b38fed893afb6c3be7803e7ecad19",),
            1204018,
        ),
    ),
    "mnist": (
        File(
            "MNIST/train.npz",
            "937166d8bda705f2821f76b9ce5b4100d18bab51",
            ("6b69323044995cd1edfb398fb946c5950ba0e1c7198b767673bd73d68e44e738",),
            8879043,
        ),
        File(
            "MNIST/val.npz",
            "f8dd3558ac7f37b137456146a909faa52ca3424b",
            ("3140d844e22e2481ad741aac5fb3983e2b160115371cef6b07af82f0dedca3a2",),
            987723,
        ),
        File(
            "MNIST/test.npz",
            "3794a804dfcd51a5c8a609b85e42adb21429bef4",
            ("9d43112f1c266b7c25b1ed49ad81496a96ccef36915baf35ef8581604faca017",),
            1641626,
        ),
    ),
    "omniglot": (
        File(
            "omniglot/train.npz",
            "e110cddea43c91ff724a109ab23ab4034d7271a6",
            # the same pictures and classes; those of a class come in another order
            ("bbbb95220e230d7ee086cc7c7ea40f1ec2b897ec1f066b0549d2b2f19abacc34",),
        ),
        File(
            "omniglot/val.npz",
            "2cafa80ec371cafc7155884de42fc16af85949fa",
            ("85e46bba1231d3158d115bd161b3496be640a6843375567e6386f680b33c8edb",),
            59762,
        ),
        File(
            "omniglot/test.npz",
            "64a2d410ad7db09fa6d9ef825bb44a8a469d0316",
            ("e0226a6c09dd8a743ec40c906387db12847a4e4a1a7fb1eb49ec75ccb1bd2579",),
            1419109,
        ),
    ),
}

# Not in that folder: the first 1523 rows of miniboone/train.npz, recovered from data/miniboone/data.npy of
# github.com/sharkjingyang/WFR at commit b17ef6a9de04f560574145cddf304fd256ca09b3, whose first 1523 full rows they are.
MINIBOONE_PART = File(
    "miniboone/train_partial.npz",
    sha256=("a753b05fc6cf20c0a4379d831cf21095e27b26d15eb0a19f12df6298ae70b0c7",),
    size=503854,
)
