"""Made-up records of the experiments on tables and images, for tests of what is drawn and said from records."""

import numpy as np

from lib.records import Record
from lib.reference import FIGURE2

SEEDS = (20220118, 2022011811, 2022011822)
FACTS = dict(device="cpu", threads=1, minutes=2.0, commit="abc1234", python="3.11.2", date="2024-02-01")
FACTS |= {"versions": {"torch": "2.13.0"}, "data_checksum": "f00d" * 16, "processor": "Abacus 9"}


def table_run(
    experiment="gas", method="MVAE", seed=SEEDS[0], value=-2.5, fid=0.5, status="finished", missing=0.8, **request
) -> Record:
    """A run on a table; its FID falls from a hundred times the last value."""
    request = dict(experiment=experiment, scale="laptop", method=method, budget=5, seed=seed, steps=2000) | request
    request = request | dict(missing=missing)
    request = dict(data_source="authors", train_rows=0, test_rows=1000, importance_samples=5000) | request
    request = dict(refit_steps=200, refit_samples=10) | request
    fids = [float(fid) * 100 ** (1 - i / 4) for i in range(5)] if fid else [None] * 5
    history = {"evaluation_step": [1, 500, 1000, 1500, 2000], "fid": fids}
    return _run(request, status, value, history, fid=fid)


def image_run(
    experiment="mnist", method="MVAE", seed=SEEDS[0], value=-100.0, status="finished", pictures=False, **request
) -> Record:
    """A run on images, with pictures of noise if asked for."""
    request = dict(experiment=experiment, scale="laptop", method=method, budget=5, seed=seed, epochs=10) | request
    request = dict(data_source="authors", missing="quadrants", latent_dim=50, network="quarter") | request
    request = dict(batch_size=50, train_rows=2000, val_rows=200, test_rows=200, importance_samples=200) | request
    request = dict(refit_steps=40, refit_samples=5) | request
    record = _run(request, status, value, {}, best_epoch=7)
    return Record(**{**vars(record), "pictures": made_up_pictures(seed)}) if pictures else record


def _run(request: dict, status: str, value: float | None, history: dict, **more) -> Record:
    metrics = {
        "test_log_likelihood": value,
        "test_log_likelihood_se": 0.2,
        "test_log_likelihood_mc": 0.004,
        "bound_before_refit": value and value - 1,
        "bound_after_refit": value and value - 0.5,
        "test_rows": 1000,
    } | more
    bounds = [value and value - 8 / (1 + i) for i in range(4)]
    history = {"epoch": [1, 2, 3, 4], "train_bound": bounds, "validation_bound": bounds} | history
    return Record(request, status, metrics, history, dict(FACTS))


def table_runs(experiments=("gas",), missing=(0.8,), methods=FIGURE2, shift=0.0) -> list[Record]:
    """Method i, seed j: shift + 0.1 i + 0.01 j nats, FID 0.1 (i + 1) (1 + 0.1 j)."""
    return [
        table_run(name, method, seed, shift + 0.1 * i + 0.01 * j, 0.1 * (i + 1) * (1 + 0.1 * j), missing=fraction)
        for name in experiments
        for fraction in missing
        for i, method in enumerate(methods)
        for j, seed in enumerate(SEEDS)
    ]


def image_runs(experiments=("mnist",), latent_dims=(50,), methods=FIGURE2, shift=-100.0) -> list[Record]:
    """Method i, seed j, latents l: shift + i + 0.1 j + l / 100 nats; pictures with the first seed."""
    return [
        image_run(name, method, seed, shift + i + 0.1 * j + size / 100, pictures=j == 0, latent_dim=size)
        for name in experiments
        for size in latent_dims
        for i, method in enumerate(methods)
        for j, seed in enumerate(SEEDS)
    ]


def made_up_pictures(seed: int, draws: int = 4) -> dict:
    """Discs: six originals, two quadrants of each missing, imputations in shades of grey, sixteen samples."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:28, :28]

    def disc() -> np.ndarray:
        (a, b), r = random.uniform(10, 18, 2), random.uniform(5, 10)
        return np.clip(6 * (r + 1 - np.hypot(y - a, x - b)), 0, 15).astype(int)

    def hexes(grey: np.ndarray) -> str:
        return "".join("0123456789abcdef"[level] for level in grey.ravel())

    originals = [np.where(disc() > 7, 15, 0) for _ in range(6)]
    masks = []
    for i in range(6):
        quadrant = 2 * (y // 14) + x // 14
        masks.append(np.isin(quadrant, [i % 4, (i + 1 + i // 4) % 4]))  # True = missing
    masked = [
        "".join("." if gone else digit for gone, digit in zip(mask.ravel(), hexes(picture), strict=True))
        for picture, mask in zip(originals, masks, strict=True)
    ]
    imputations = [
        [hexes(np.where(mask, disc(), picture)) for _ in range(draws)]
        for picture, mask in zip(originals, masks, strict=True)
    ]
    samples = [hexes(disc()) for _ in range(16)]
    return {
        "originals": list(map(hexes, originals)),
        "masked": masked,
        "imputations": imputations,
        "samples": samples,
    }
