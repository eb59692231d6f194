"""The speed measurement: its fields, and that the floor holds exactly the matrix products of the real step."""

import json

import pytest
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import steps
from lib import methods

FIELDS = {"method", "setting", "budget", "threads", "ms_per_step", "floor_ms", "ratio", "matmul_ms", "optimiser_ms"}
SHORT = ["--rounds", "2", "--steps", "1"]


def flops_of(block) -> int:
    with FlopCounterMode(display=False) as counter:
        block(1)
    return counter.get_total_flops()


@pytest.mark.parametrize(
    ("name", "sampler"),
    [("MVAE", False), ("MissSIWAE", False), ("VAE", False), ("DeMissVAE", False), ("DeMissVAE", True)],
)
def test_floor_has_exactly_the_matrix_products_of_the_step(name, sampler):
    run = steps.build("mog", methods.get(name), 5)
    step = steps.training_steps(run, run.steps_per_epoch if sampler else 0)
    assert flops_of(step) == flops_of(steps.matrix_products(run, sampler)) > 0


def test_floor_of_an_ancestral_mixture_lacks_only_its_tiny_jacobians():
    run = steps.build("mog", methods.get("MissVAE"), 5)
    step, floor = flops_of(steps.training_steps(run, 0)), flops_of(steps.matrix_products(run, False))
    assert 0 <= step - floor < 1e-3 * step


def test_floor_optimiser_updates_as_many_parameters():
    run = steps.build("mog", methods.get("MVAE"), 5)
    block = steps.optimiser_steps(run)
    optimiser = next(c.cell_contents for c in block.__closure__ if hasattr(c.cell_contents, "param_groups"))
    group = optimiser.param_groups[0]
    assert sum(p.numel() for p in group["params"]) == 244_204 + 243_810  # encoder, decoder
    assert group["amsgrad"] and group["fused"]


def test_steps_stay_in_the_epoch_they_are_meant_for():
    run = steps.build("mog", methods.get("MVAE"), 1)
    run.steps_per_epoch = 3
    block = steps.training_steps(run, 3)
    for _ in range(3):
        block(2)
        assert 3 <= run.step - 2 and run.step <= 6  # the second epoch's three steps


def test_json_is_one_object_per_method_and_budget(capsys):
    assert steps.main(["--budget", "2", "3", "--method", "MVAE", "DeMissVAE", "--json", *SHORT]) == 0
    results = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(r["method"], r["budget"]) for r in results] == [(m, b) for b in (2, 3) for m in ("MVAE", "DeMissVAE")]
    for r in results:
        assert FIELDS <= set(r) and r["setting"] == "mog" and r["threads"] == 1
        assert r["floor_ms"] == pytest.approx(r["matmul_ms"] + r["optimiser_ms"], abs=1e-3)
        assert r["ratio"] == pytest.approx(r["ms_per_step"] / r["floor_ms"], rel=1e-2)
    demiss = results[1]
    expected = demiss["step_without_sampler_ms"] / demiss["complete_ms"]
    assert demiss["ratio_to_complete"] == pytest.approx(expected, rel=1e-2)
    assert "complete_ms" not in results[0]


def test_table_has_a_line_per_method(capsys):
    assert steps.main(["--budget", "2", "--method", "MVAE", *SHORT]) == 0
    heading, line = capsys.readouterr().out.splitlines()
    assert "ms/step" in heading and line.startswith("MVAE")


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--method", "MVEA"], "Did you mean MVAE?"), (["--budget", "0"], "at least 1"), (["--setting", "m"], "mog")],
)
def test_bad_arguments_are_explained(words, said, capsys):
    with pytest.raises(SystemExit) as error:
        steps.main(words)
    assert error.value.code == 2 and said in capsys.readouterr().err
