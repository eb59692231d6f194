"""Signal-to-noise ratio of gradients: its definition, its place in the training, and that it changes nothing."""

import math

import pytest
import tiny
import torch

from lib import runs, snr, training


def definition(gradients: torch.Tensor) -> torch.Tensor:
    """|mean / unbiased standard deviation| of each weight, over gradients [batches, P]."""
    return (gradients.mean(0) / gradients.std(0)).abs()


def test_sums_give_the_ratios_of_the_stored_gradients():
    gradients = torch.randn(50, 30, generator=torch.Generator().manual_seed(0)) + 3
    gradients[:, 7] *= 1e-12  # a unit whose gradient is tiny counts as any other
    sums = snr.SignalToNoise(30, torch.device("cpu"))
    for epoch in (gradients, gradients.flip(0)[:20]):  # the second epoch must not remember the first
        for gradient in epoch:
            sums.add(gradient)
        wanted = definition(epoch.double())
        got = sums.end_epoch(encoder=10)
        assert got["snr_phi"] == pytest.approx(float(wanted[:10].sum()), rel=1e-9)
        assert got["snr_theta"] == pytest.approx(float(wanted[10:].sum()), rel=1e-9)


def test_large_means_do_not_cancel():
    gradients = 1e4 + torch.randn(300, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    sums = snr.SignalToNoise(4, torch.device("cpu"))
    for gradient in gradients:
        sums.add(gradient)
    assert sums.end_epoch(4)["snr_phi"] == pytest.approx(float(definition(gradients).sum()), rel=1e-10)


def test_dead_and_constant_units_do_not_count():
    gradients = torch.zeros(5, 3)
    gradients[:, 1] = 0.1  # never changes: infinite
    gradients[:, 2] = torch.arange(5.0)
    sums = snr.SignalToNoise(3, torch.device("cpu"))
    for gradient in gradients:
        sums.add(gradient)
    assert sums.end_epoch(2) == {"snr_phi": 0.0, "snr_theta": pytest.approx(2 / math.sqrt(2.5))}
    sums.add(gradients[0])
    assert sums.end_epoch(2) == {}  # one gradient has no spread


@pytest.mark.parametrize("name", ["MissSVAE", "DeMissVAE"])
def test_the_epochs_gradients_before_clipping(name, monkeypatch):
    """Against gradients stored by the test; the clip norm is so small that clipped ones would be another matter."""
    settings = training.Settings(budget=3, epochs=3, batch_size=tiny.BATCH, clip_norm=1e-3)
    stored, honest = [], training.Run.descend
    monkeypatch.setattr(
        training.Run, "descend", lambda self, norm: (stored.append(self.weights.grad.clone()), honest(self, norm))[1]
    )
    (result,) = tiny.train(name, settings=settings, signal_to_noise=True)
    encoder = sum(p.numel() for p in result.model.encoder.parameters())
    assert len(stored) == 3 * tiny.STEPS
    for epoch in range(3):
        ratio = definition(torch.stack(stored[epoch * tiny.STEPS :][: tiny.STEPS]).double()).nan_to_num(posinf=0.0)
        assert result.history["snr_phi"][epoch] == pytest.approx(float(ratio[:encoder].sum()), rel=1e-6)
        assert result.history["snr_theta"][epoch] == pytest.approx(float(ratio[encoder:].sum()), rel=1e-6)
    assert result.history["snr_phi"][0] > 0


def test_watching_changes_nothing_else():
    watched, plain = (tiny.train("MissIWAE", signal_to_noise=flag)[0] for flag in (True, False))
    for name in ("snr_phi", "snr_theta"):
        assert len(watched.history.pop(name)) == len(plain.history["epoch"])
    assert tiny.same(watched, plain)


def test_an_interrupted_epoch_ends_with_the_same_ratios(tmp_path, monkeypatch):
    (whole,) = tiny.train("MissVAE", signal_to_noise=True)
    options = {"signal_to_noise": True, "checkpoint": lambda seed: tmp_path / f"{seed}.pt"}
    with monkeypatch.context() as patch:
        tiny.at_step(patch, tiny.STEPS + 2, tiny.press_ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            tiny.train("MissVAE", **options)
    (resumed,) = tiny.train("MissVAE", **options)
    assert tiny.same(resumed, whole)


def test_runs_together_have_the_ratios_of_the_runs_alone():
    data = {"data": lambda seed: tiny.split(seed), "signal_to_noise": True}
    for one, other in zip(*(tiny.train("MissSVAE", (1, 2), together=n, **data) for n in (2, 1)), strict=True):
        assert (one.together, other.together) == (2, 1)
        for name in ("snr_phi", "snr_theta"):
            assert one.history[name] == pytest.approx(other.history[name], rel=1e-3) and one.history[name][0] > 0


@pytest.mark.parametrize("together", [1, 2])
def test_gaps_between_weights_change_nothing(together, monkeypatch, tmp_path):
    """As on a GPU: every tensor begins at a multiple, and the gaps count neither in a norm nor in a ratio."""
    options = {"signal_to_noise": True, "together": together}
    dense = tiny.train("DeMissVAE", (1, 2), **options)
    honest, made = runs.Layout, []

    def with_gaps(shapes, device):
        made.append(honest(shapes, device, multiple=64))
        return made[-1]

    monkeypatch.setattr(runs, "Layout", with_gaps)
    options["checkpoint"] = lambda seed: tmp_path / f"{seed}.pt"
    assert {r.status for r in tiny.train("DeMissVAE", (1, 2), time_limit=0.0, **options)} == {"stopped"}
    for gaps, plain in zip(tiny.train("DeMissVAE", (1, 2), **options), dense, strict=True):
        assert made[-1].size % 64 == 0 < made[-1].size - sum(p.numel() for p in plain.model.parameters())
        assert gaps.history.keys() == plain.history.keys() >= {"snr_phi", "snr_theta"}
        for name, values in plain.history.items():
            assert gaps.history[name] == pytest.approx(values, rel=1e-4), name


def test_a_checkpoint_without_ratios_is_not_resumed_with_them(tmp_path, monkeypatch):
    options = {"checkpoint": lambda seed: tmp_path / f"{seed}.pt"}
    with monkeypatch.context() as patch:
        tiny.at_step(patch, 3, tiny.press_ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            tiny.train("MissVAE", **options)
    with pytest.warns(UserWarning):
        (fresh,) = tiny.train("MissVAE", signal_to_noise=True, **options)
    assert len(fresh.history["snr_phi"]) == len(fresh.history["epoch"])
