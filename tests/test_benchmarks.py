"""The measurements of speed: floors hold exactly the matrix products, ratios come from rounds, records are whole."""

import json
import math
import multiprocessing
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import common, evaluation, floors, footprint, growth, memory, profile, recipe, steps, tried
from lib import cost, methods, records
from lib.networks import ConvEncoder, ResidualMLP
from lib.records import RecordError

SHORT = ["--rounds", "2", "--steps", "1"]


@pytest.fixture
def results(tmp_path, monkeypatch):
    """New records go to a folder of the test's own; no seconds are spent on the machine's peak."""
    monkeypatch.setenv("MISSVAE_RESULTS", str(tmp_path))
    monkeypatch.setattr(floors, "square_peak", lambda device: 100.0)
    return tmp_path


def build(name, budget=5, **options):
    return common.build("mog", methods.get(name), budget, **{"features": 5} | options)


def flop_of(block) -> int:
    with FlopCounterMode(display=False) as counter:
        block(1)
    return counter.get_total_flops()


def json_lines(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


# ---- floors ------------------------------------------------------------------------------------------------


def test_operations_of_a_small_network_by_hand():
    network = ResidualMLP(3, 4, width=7, blocks=1)  # 3 -> 7, 7 -> 7 twice, 7 -> 4
    assert floors.flop(floors.forward_products(network, 11)) == 2 * 11 * (3 * 7 + 2 * 7 * 7 + 7 * 4)


def test_operations_of_a_step_by_hand():
    """Three products per layer, but for the gradient of the encoder's input; DeMissVAE as the methods page counts."""
    encoder, decoder = ((i * 200 + 6 * 200 * 200 + 200 * o) for i, o in ((10, 4), (2, 10)))
    mvae = 2 * (64 * (3 * encoder - 10 * 200) + 5 * 64 * 3 * decoder)
    assert floors.flop(floors.step_products(build("MVAE"), sampler=False)) == mvae
    encoder = 5 * 200 + 6 * 200 * 200 + 200 * 4  # reads completed rows, without masks
    demiss = 2 * 5 * 64 * (3 * encoder - 5 * 200 + 4 * decoder - 2 * 200)
    assert floors.flop(floors.step_products(build("DeMissVAE"), sampler=False)) == demiss


@pytest.mark.parametrize(
    ("name", "sampler"),
    [*((name, False) for name in ("MVAE", "MissVAE", "MissSIWAE", "VAE", "DeMissVAE")), ("DeMissVAE", True)],
)
def test_floor_has_exactly_the_matrix_products_of_the_step(name, sampler):
    run = build(name)
    products = floors.step_products(run, sampler=sampler)
    step = flop_of(common.training_steps([run], sampler=sampler))
    assert step == flop_of(floors.multiply(products)) == floors.flop(products) > 0


@pytest.mark.parametrize(("name", "sampler"), [("MVAE", False), ("MissSVAE", False), ("DeMissVAE", True)])
def test_floor_has_exactly_the_convolutions_of_the_step(name, sampler):
    run = common.build("mnist", methods.get(name), 2, batch_size=2)
    before = [values.clone() for values in run.model.buffers()]
    products = floors.step_products(run, sampler=sampler)
    step = common.training_steps([run], sampler=sampler)
    if not sampler:  # which is tried out, in training mode
        assert all(map(torch.equal, before, run.model.buffers())) and run.model.encoder.training
    assert flop_of(step) == flop_of(floors.multiply(products)) == floors.flop(products) > 0


def test_operations_of_convolutions_by_hand():
    """Of 3 x 3 pixels from 2 to 4 channels at 28 x 28 and 14 x 14 places; the others of 1 x 1."""
    network = ConvEncoder(2, 5, (4, 4, 4, 4), blocks=1)
    stem, first = 9 * 2 * 4 * 784, 2 * 9 * 16 * 784
    later = sum((2 * 9 + 1) * 16 * side**2 for side in (14, 7, 4))
    assert floors.flop(floors.forward_products(network, 3)) == 2 * 3 * (stem + first + later + 4 * 5)


def test_operations_of_the_sampler_by_hand():
    """LAIR: ten times the encoder on K B rows and the decoder on (K + R) B; the decoder on K B for the last draw."""
    run = common.build("gas", methods.get("DeMissVAE"), 5, batch_size=16)
    encoder, decoder = ((i * 256 + 4 * 256 * 256 + 256 * o) for i, o in ((8, 32), (16, 16)))
    products = floors.sampler_products(run)
    assert floors.flop(products) == 2 * 16 * (10 * (5 * encoder + 6 * decoder) + 5 * decoder)
    assert len(set(map(id, products))) < len(products) / 4  # iterations share their memory


def test_floor_of_runs_as_one_is_that_of_each():
    alone, three = (floors.step_products(build("MissSVAE"), sampler=False, runs=r) for r in (1, 3))
    assert floors.flop(three) == 3 * floors.flop(alone) == flop_of(floors.multiply(three))


def test_floor_optimiser_updates_as_many_parameters(monkeypatch):
    made = []
    adam = torch.optim.Adam
    monkeypatch.setattr(torch.optim, "Adam", lambda *a, **k: made.append(adam(*a, **k)) or made[-1])
    run = build("MVAE")
    made.clear()
    floors.optimiser_steps(run)(1)
    floors.optimiser_steps(run, runs=2)(1)
    groups = [optimiser.param_groups[0] for optimiser in made]
    counts = [sum(p.numel() for p in group["params"]) for group in groups]
    assert counts == [244_204 + 243_810, 2 * (244_204 + 243_810)]  # encoder, decoder
    assert all(group["amsgrad"] and group["fused"] for group in groups)


def test_layers_without_a_known_floor_are_refused():
    network = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Bilinear(2, 2, 2))
    with pytest.raises(TypeError, match="layers of type Bilinear"):
        floors.layers(network)


# ---- steps -------------------------------------------------------------------------------------------------


def test_steps_stay_in_whole_batches_of_the_epoch_they_are_meant_for():
    runs = [build("DeMissVAE", 1, features=2, batch_size=500, seed=seed) for seed in (1, 2)]
    full = [len(run.x) // 500 for run in runs]
    assert min(full) == 3 and [run.steps_per_epoch for run in runs] == [4, 4]  # the fourth batch is incomplete
    for sampler, first in ((True, 4), (False, 0), (None, 4)):
        block = common.training_steps(runs, sampler=sampler)
        seen = []
        for _ in range(7):
            block(1)
            seen.append([run.step for run in runs])
        assert seen == [[first + 1 + i % 3] * 2 for i in range(7)]


def test_ratios_are_taken_within_rounds(monkeypatch):
    """A machine that is ten times slower in one round changes no ratio."""
    clock = [0.0]
    monkeypatch.setattr(common.time, "perf_counter", lambda: clock[0])
    speed = iter([1.0] * 2 + [1.0] * 2 + [10.0] * 2 + [2.0] * 2)  # the first pair warms up

    def work(seconds):
        def block(steps):
            clock[0] += steps * seconds * next(speed)

        return block

    t = common.alternate({"step": work(0.003), "floor": work(0.002)}, rounds=3, steps=4)
    np.testing.assert_allclose(t["step"], [3.0, 30.0, 6.0])
    np.testing.assert_allclose(t["step"] / t["floor"], 1.5)
    assert common.median(t["step"]) == 6.0 and common.quartiles(t["step"]) == [4.5, 18.0]


def test_json_is_one_object_per_method_and_budget(capsys, results):
    words = ["--budget", "1", "2", "--method", "MVAE", "DeMissVAE", "--json", "--record", *SHORT]
    assert steps.main(words) == 0
    rows = json_lines(capsys)
    assert [(r["method"], r["budget"]) for r in rows] == [(m, b) for b in (1, 2) for m in ("MVAE", "DeMissVAE")]
    for r in rows:
        assert r["ratio_quartiles"][0] <= r["ratio"] <= r["ratio_quartiles"][1]
        assert 0 < r["fraction_of_products"] < 1 < r["ratio"] * 1.2
        assert ("complete_ms" in r) == (r["method"] == "DeMissVAE")
    kept = cost.read("steps")
    assert kept.rows == rows and kept.provenance["threads"] == 1 and kept.provenance["square_peak_gflops"] == 100
    assert rows[0]["fraction_of_square_peak"] == pytest.approx(rows[0]["gflops"] / 100, rel=1e-2)
    demiss = rows[1]
    assert {"sampler_ms", "sampler_floor_ms", "ratio_of_sampler_quartiles"} <= set(demiss)
    assert len(cost.sampler_table(kept).splitlines()) == 2 + 2
    table = cost.steps_table(kept).splitlines()
    assert len(table) == 2 + 4 and "DeMissVAE" in table[3]
    assert len(cost.two_objectives_table(kept).splitlines()) == 2 + 2


def test_table_has_a_line_per_method(capsys, results):
    assert steps.main(["--budget", "1", "--method", "MVAE", "--runs", "2", *SHORT]) == 0
    peak, heading, line = capsys.readouterr().out.splitlines()
    assert "GFLOP/s" in peak and "ms/step" in heading and line.split()[:3] == ["MVAE", "1", "2"]


def test_each_setting_has_a_record_of_its_own(capsys, results):
    for setting, batch in (("gas", "64"), ("mnist", "2")):
        words = ["--setting", setting, "--budget", "1", "--method", "MVAE", "--batch", batch, "--json", "--record"]
        assert steps.main([*words, *SHORT]) == 0
    rows = json_lines(capsys)
    assert [row["batch"] for row in rows] == [64, 2]
    assert rows[1]["parameters"] == 1_275_844  # on a processor the smallest network of images
    kept = [cost.read(f"steps-{setting}") for setting in ("gas", "mnist")]
    assert [each.rows for each in kept] == [rows[:1], rows[1:]] and cost.read("steps") != kept[0]
    table = cost.settings_table(kept).splitlines()
    assert table[0] == "| data | rows | budget | MVAE |" and [line.split()[1] for line in table[2:]] == ["gas", "mnist"]
    assert f"({rows[1]['ratio']:.2f})" in table[3]


@pytest.mark.parametrize(("device", "network"), [("cpu", "quarter"), ("cuda", "paper")])
def test_networks_of_images_are_small_on_a_processor(device, network):
    assert common.default_network("mnist", device) == network and common.default_network("gas", device) == "paper"


def test_the_small_networks_of_images_have_the_batches_of_the_laptop_scale():
    asked = [("mnist", {}), ("mnist", {"batch_size": 7}), ("mnist", {"network": "paper"}), ("gas", {})]
    runs = [common.build(setting, methods.get("VAE"), 1, **options) for setting, options in asked]
    assert [run.settings.batch_size for run in runs] == [50, 7, 200, 512]


def test_a_batch_is_full_even_where_it_has_more_rows_than_the_data():
    assert len(common.build("miniboone", methods.get("VAE"), 1, batch_size=5120).x) >= 5120


def test_peak_memory_is_that_of_a_fresh_process():
    # In megabytes: weights, gradients and three moments of 488 014 parameters alone are 9.8.
    assert 9 < memory.peak_memory("mog", "MVAE", 1) < 100


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--method", "MVEA"], "Did you mean MVAE?"),
        (["--budget", "0"], "at least 1"),
        (["--setting", "m"], "mog"),
        (["--setting", "mnist", "--runs", "2"], "each run is trained alone"),
        (["--batch", "0"], "at least 1"),
        (["--device", "gpu"], "invalid choice: 'gpu'"),
        pytest.param(
            ["--device", "cuda"], "no CUDA", marks=pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
        ),
    ],
)
def test_bad_arguments_are_explained(words, said, capsys):
    with pytest.raises(SystemExit) as error:
        steps.main(words)
    assert error.value.code == 2 and said in capsys.readouterr().err


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that PyTorch can use")
def test_everything_is_measured_on_a_gpu(capsys, results):
    common_words = ["--device", "cuda", "--json", "--record", "--rounds", "2"]
    assert steps.main([*common_words, "--method", "MissVAE", "DeMissVAE", "--runs", "3", "--memory"]) == 0
    assert growth.main([*common_words, "--method", "MVAE"]) == 0
    assert evaluation.main([*common_words, "--points", "40", "--samples", "2000"]) == 0
    assert all(cost.read(f"{name}-cuda").rows for name in ("steps", "growth", "evaluation"))
    assert cost.read("steps-cuda").provenance["device"] == torch.cuda.get_device_name()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (evaluation, ["--setting", "gas"]),
        (growth, ["--setting", "mnist"]),
        (tried, ["--setting", "omniglot"]),
        (tried, ["--device", "cuda"]),
        (recipe, ["--setting", "gas"]),
    ],
)
def test_what_cannot_be_measured_is_no_choice(command, words, capsys):
    with pytest.raises(SystemExit) as error:
        command.main(words)
    assert error.value.code == 2 and f"invalid choice: '{words[1]}'" in capsys.readouterr().err


def test_profile_records_nothing_and_says_so(capsys):
    with pytest.raises(SystemExit):
        profile.main(["--record"])
    assert "unrecognized arguments: --record" in capsys.readouterr().err


def test_profile_names_operators(capsys):
    assert profile.main(["--budget", "1", "--steps", "2", "--lines", "60"]) == 0
    printed = capsys.readouterr().out
    assert "MVAE, budget 1, 1 runs as one, 2 steps" in printed and "aten::addmm" in printed


# ---- growth and evaluation ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quantity", "values", "expected"),
    [
        ("budget", (1, 3), lambda run: run.settings.budget),
        ("batch", (16, 48), lambda run: run.settings.batch_size),
        ("features", (5, 9), lambda run: run.x.shape[1]),
    ],
)
def test_one_quantity_changes_at_a_time(quantity, values, expected):
    runs = [growth._runs("mog", methods.get("MVAE"), quantity, value, "cpu") for value in values]
    assert [expected(run) for (run,) in runs] == list(values)
    usual = {"budget": 5, "batch_size": 64}
    usual.pop({"budget": "budget", "batch": "batch_size"}.get(quantity), None)
    assert all(getattr(run.settings, name) == value for (run,) in runs for name, value in usual.items())


def test_growth_is_relative_to_the_first_value(capsys, results):
    words = ["--method", "MVAE", "--quantity", "batch", "runs", "--values", "2", "4", "--json", "--record", *SHORT]
    assert growth.main(words) == 0
    rows = json_lines(capsys)
    assert [(r["quantity"], r["value"]) for r in rows] == [(q, v) for q in ("batch", "runs") for v in (2, 4)]
    assert [r["relative"] for r in rows[::2]] == [1.0, 1.0]
    slow_round = growth._row("mog", "MVAE", "batch", 4, np.array([6.0, 60.0]), np.array([3.0, 30.0]))
    assert slow_round["relative"] == 2.0 and slow_round["relative_quartiles"] == [2.0, 2.0]
    assert cost.read("growth").rows == rows


def test_workers_side_by_side_train_and_end(monkeypatch):
    """With threads in the place of processes, which would take seconds to start."""
    threads = []

    def start(target, args, daemon):
        threads.append(threading.Thread(target=target, args=args, daemon=daemon))
        return threads[-1]

    context = SimpleNamespace(Process=start, Pipe=multiprocessing.Pipe)
    monkeypatch.setattr(growth.multiprocessing, "get_context", lambda method: context)
    rows = growth.side_by_side("mog", methods.get("MVAE"), (1, 2), rounds=2, seconds=0.05)
    assert [(r["quantity"], r["value"]) for r in rows] == [("processes", 1), ("processes", 2)]
    assert all(0.1 < r["ms_per_step"] < 5000 for r in rows) and rows[0]["relative"] == 1
    assert len(threads) == 2 and not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize("points", [70, 140])
def test_products_of_the_grid_are_those_of_the_call(points):
    call, products, times = evaluation.grid_work("mog", methods.get("MVAE"), rows=3, points=points)
    assert flop_of(call) == pytest.approx(floors.flop(products) * times, rel=1e-12)


def test_products_of_the_importance_sampled_likelihood_are_those_of_the_call():
    """But for the encoder's, of one row."""
    call, products, times = evaluation.iwelbo_work("mog", methods.get("MIWAE"), samples=12_000)
    assert times == 6 and flop_of(call) == pytest.approx(floors.flop(products) * times, rel=2e-4)


def test_evaluation_reports_seconds_of_both(capsys, results):
    assert evaluation.main(["--rounds", "1", "--points", "40", "--samples", "2000", "--json", "--record"]) == 0
    rows = json_lines(capsys)
    assert [r["what"].split(",")[-1].strip() for r in rows] == ["MVAE", "MissSVAE", "MIWAE", "MissIWAE"]
    for r in rows:
        assert r["seconds_per_row"] == pytest.approx(r["seconds"] / r["rows"], rel=1e-3)
    assert len(cost.evaluation_table(cost.read("evaluation")).splitlines()) == 2 + 4


# ---- memory and disk of whole commands ---------------------------------------------------------------------


def test_footprint_of_a_command(monkeypatch, results):
    monkeypatch.setattr(footprint, "SETTINGS", {"mog": ("--budget", "5", "--data", "embedded")})
    monkeypatch.setattr(footprint, "METHODS", ("MVAE",))
    monkeypatch.setattr(footprint, "SCALE", "smoke")
    assert footprint.main(["--record"]) == 0
    (row,) = cost.read("footprint").rows
    weights = sum(p.numel() for p in build("MVAE").model.parameters())
    numbers = 4 * weights  # AMSGrad keeps three beside each
    assert row["checkpoint_mb"] == pytest.approx(4 * numbers / 1e6, rel=0.05)
    assert row["process_mb"] > memory.peak_memory("mog", "MVAE", 5) + 100  # PyTorch alone takes more
    assert "| mog | MVAE | 0." in cost.footprint_table(cost.read("footprint"))
    assert "measured once" in cost.caption(cost.read("footprint"))


def test_footprint_says_what_a_failing_command_said(monkeypatch):
    monkeypatch.setattr(footprint, "SETTINGS", {"mog": ("--budget", "0")})
    with pytest.raises(RuntimeError, match=r"run mog --method MVAE .* failed:\n.*budget must be"):
        footprint.measure("mog", "MVAE")


# ---- records -----------------------------------------------------------------------------------------------

FACTS = {
    "device": "cpu", "processor": "Abacus 9", "threads": 1, "rounds": 7, "date": "2024-02-01", "commit": "abc1234",
    "versions": {"torch": "2.13.0"},
}  # fmt: skip


def growth_rows(method="MVAE"):
    def row(quantity, value, ms):
        relative = {"relative": float(value), "relative_quartiles": [value - 0.5, value + 0.5]}
        return {"method": method, "quantity": quantity, "value": value, "ms_per_step": ms} | relative

    return [row(q, v, 3.0 * v) for q in (*cost.AXES, "processes") for v in (1, 2)]


def test_what_is_written_is_read_and_described(tmp_path, monkeypatch):
    path = cost.write("growth", growth_rows(), FACTS, tmp_path)
    assert path == tmp_path / "benchmarks" / "growth.json" and [p.name for p in path.parent.iterdir()] == [path.name]
    monkeypatch.setenv("MISSVAE_RESULTS", str(tmp_path))
    found = cost.read("growth")
    assert found == cost.Measured("growth", FACTS, growth_rows())
    assert records.load("benchmarks") == []  # nor is it taken for a damaged record of a run
    assert cost.caption(found) == (
        "One machine: Abacus 9, 1 thread, PyTorch 2.13.0, 2024-02-01, commit abc1234; medians of 7 rounds, quartiles "
        "in brackets."
    )
    assert "| budget | 1 | 2 | 2.00 [1.50,\N{NO-BREAK SPACE}2.50] |" in cost.growth_table(found)


@pytest.mark.parametrize(
    ("rows", "said"), [([], "nothing was measured"), ([{"ms": math.nan}], "not finite"), ([{"ms": math.inf}], "finite")]
)
def test_a_measurement_that_says_nothing_is_not_kept(rows, said, tmp_path):
    cost.write("steps", [{"ms": 1.0}], FACTS, tmp_path)
    before = (tmp_path / "benchmarks" / "steps.json").read_bytes()
    with pytest.raises(RecordError, match=said):
        cost.write("steps", rows, FACTS, tmp_path)
    assert (tmp_path / "benchmarks" / "steps.json").read_bytes() == before


@pytest.mark.parametrize("content", ["{", '{"name": "steps"}', '{"name": "x", "provenance": {}, "rows": []}', "[]"])
def test_damaged_measurements_are_named(content, results):
    (results / "benchmarks").mkdir()
    (results / "benchmarks" / "steps.json").write_text(content)
    with pytest.raises(RecordError, match=r"steps\.json is damaged"):
        cost.read("steps")


def test_nothing_measured_is_said():
    assert cost.read("no-such-measurement") is None and cost.caption(None) == "Not measured."
    tables = (cost.steps_table, cost.two_objectives_table, cost.growth_table, cost.evaluation_table, cost.tried_table)
    tables += (cost.footprint_table,)
    for table in (*tables, cost.sampler_table, lambda measured: cost.settings_table([measured])):
        heading, _, line = table(None).splitlines()
        assert "*not measured*" in line and line.count("|") == heading.count("|")
    texts = [text.get_text() for text in cost.growth_figure(None).findobj(lambda a: hasattr(a, "get_text"))]
    assert texts.count("not measured") == 4


def test_figure_draws_the_measured_times():
    fig = cost.growth_figure(cost.Measured("growth", FACTS, growth_rows() + growth_rows("MissVAE")))
    for ax in fig.axes:
        solid = [line for line in ax.lines if line.get_linestyle() == "-"]
        assert [list(line.get_ydata()) for line in solid] == [[3.0, 6.0]] * 2
        (guide,) = [line for line in ax.lines if line.get_linestyle() == "--"]
        (x0, x1), (y0, y1) = guide.get_data()
        assert y1 / y0 == pytest.approx(x1 / x0) and ax.get_xlim()[0] > x0  # slope one, and the axis stays
    assert len([line for line in fig.axes[3].lines if line.get_linestyle() == ":"]) == 2  # processes


@pytest.mark.parametrize(("name", "count"), [("MissSVAE", 6), ("MissVAE", 5), ("DeMissVAE", 2)])
def test_an_idea_is_tried_where_it_leaves_the_algorithm_as_it_is(monkeypatch, name, count):
    monkeypatch.setattr(tried.shutil, "which", lambda _: None)  # nothing is compiled
    method = methods.get(name)
    ideas = [what for what, _ in tried._ideas(lambda: common.build("mog", method, 2), method)]
    assert len(ideas) == count and ("an update not fused" in ideas) == (name != "DeMissVAE")


def test_tried_has_a_line_per_idea_and_a_column_per_place():
    def row(what, where, factor):
        return {"what": what, "where": where, "factor": factor, "factor_quartiles": [factor - 0.1, factor + 0.1]}

    rows = [row("compiled", "MVAE", 0.98765), row("compiled", "MissSVAE", 1.1), row("threads", "MissSVAE", 1.25)]
    table = cost.tried_table(cost.Measured("tried", FACTS, rows)).replace("\N{NO-BREAK SPACE}", " ").splitlines()
    assert table[0] == "| what | MVAE | MissSVAE |"
    assert table[2:] == [
        "| compiled | 0.988 [0.888, 1.09] | 1.10 [1.00, 1.20] |",
        "| threads |  | 1.25 [1.15, 1.35] |",
    ]


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float32])
def test_both_trainings_are_timed_in_turn(capsys, results, monkeypatch, precision):
    monkeypatch.setattr(recipe, "muon_precision", lambda device: precision)
    assert recipe.main(["--json", "--record", "--rounds", "2", "--method", "MissSVAE"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["method"], row["paper_batch"], row["fast_batch"]) == ("MissSVAE", 64, 256)
    assert 0 < row["paper_ms"] < row["fast_ms"]  # of a batch four times as large
    assert row["ratio_quartiles"][0] <= row["ratio"] <= row["ratio_quartiles"][1]
    assert cost.read("recipe-float32" if precision == torch.float32 else "recipe").rows == [row]


def test_groups_on_a_gpu_are_tabled_from_their_records():
    """500 steps a second of a run's share, five runs as one: 10 ms a step of all five."""
    facts = {"steps_per_second": 500.0, "together": 5}
    runs = [
        records.Record({"budget": budget, "method": "MVAE", "seed": seed}, "finished", {}, {}, facts)
        for budget in (15, 5)
        for seed in (1, 2)
    ]
    alone = {"steps_per_second": 1000 / 3}
    watched = {"steps_per_second": 250.0, "same_run_as": "mog-snr/paper/x.json"}
    moved = {"steps_per_second": 0.0, "elsewhere": [{"device": "cpu", "steps": 1000, "seconds": 9.0}]}
    for method, provenance in (("MVAE", alone), ("MissVAE", watched), ("MissVAE", moved)):
        runs.append(records.Record({"budget": 5, "method": method, "seed": 3}, "finished", {}, {}, provenance))
    assert cost.groups_table(runs).splitlines()[2:] == [
        "| 5 | MVAE | 5 | 10.00 | 500 |",
        "| 5 | MVAE | 1 | 3.00 | 333 |",
        "| 5 | MissVAE, gradients logged | 1 | 4.00 | 250 |",
        "| 15 | MVAE | 5 | 10.00 | 500 |",
    ]
