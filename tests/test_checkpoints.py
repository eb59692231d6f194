"""An interrupted training resumes to exactly the same result, and no checkpoint does harm."""

import errno
import os
import signal
import threading

import pytest
import tiny
import torch

from lib import checkpoints, runs, samplers, training
from lib.layout import Layout

CASES = [("MissVAE", None), ("DeMissVAE", None), ("DeMissVAE", samplers.metropolis_within_gibbs())]
NAMES = ["MissVAE", "DeMissVAE", "DeMissVAE-Metropolis"]
LAST = tiny.SETTINGS.epochs * tiny.STEPS


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "run.pt"


@pytest.fixture
def checkpoint(path):
    return lambda seed: path


# ---- the same result ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [1, 5, 9, 15])  # 5 and 15 end an epoch
@pytest.mark.parametrize(("method", "sampler"), CASES, ids=NAMES)
def test_ctrl_c_then_resume_is_the_undisturbed_run(method, sampler, step, checkpoint, path, monkeypatch):
    whole = tiny.train(method, sampler=sampler)[0]
    with monkeypatch.context() as patch:
        tiny.at_step(patch, step, tiny.press_ctrl_c)
        with pytest.raises(KeyboardInterrupt, match=f"step {step} of {LAST}.*resumes"):
            tiny.train(method, sampler=sampler, checkpoint=checkpoint)
    assert torch.load(path, weights_only=True)["step"] == step
    assert tiny.same(tiny.train(method, sampler=sampler, checkpoint=checkpoint)[0], whole)


@pytest.mark.parametrize(("method", "sampler"), CASES, ids=NAMES)
def test_time_limits_then_resume_is_the_undisturbed_run(method, sampler, checkpoint, monkeypatch):
    whole = tiny.train(method, sampler=sampler)[0]
    for step in (2, 5, 8, 13):  # stopped again and again
        with monkeypatch.context() as patch:
            tiny.at_step(patch, step, tiny.stop_clock(patch))
            stopped = tiny.train(method, sampler=sampler, checkpoint=checkpoint, time_limit=3600.0)[0]
        assert (stopped.status, stopped.step) == ("stopped", step)
        assert f"step {step} of {LAST}" in stopped.message
    assert tiny.same(tiny.train(method, sampler=sampler, checkpoint=checkpoint)[0], whole)


def test_resumed_dropout_and_cosine_rate_are_the_undisturbed_ones(checkpoint, monkeypatch):
    settings = training.Settings(budget=2, epochs=2, batch_size=tiny.BATCH, schedule="cosine")
    make = tiny.maker(tiny.methods.get("MVAE"), dropout=0.5)
    whole = tiny.train("MVAE", settings=settings, make=make)[0]
    tiny.at_step(monkeypatch, 7, tiny.press_ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        tiny.train("MVAE", settings=settings, make=make, checkpoint=checkpoint)
    monkeypatch.undo()
    torch.rand(5)  # whatever else drew from the global generator in between
    assert tiny.same(tiny.train("MVAE", settings=settings, make=make, checkpoint=checkpoint)[0], whole)


@pytest.mark.parametrize("method", ["MVAE", "DeMissVAE"])
def test_a_run_moves_to_another_kind_of_device_with_its_state(method, checkpoint, path, monkeypatch):
    """From what a GPU would have written, whose streams no CPU can read and whose vectors of weights have gaps, the
    steps go on with other random numbers."""
    with monkeypatch.context() as gpu:
        gpu.setattr(runs, "Layout", lambda shapes, device: Layout(shapes, device, multiple=64))
        here = tiny.run(method)
    for _ in range(7):
        here.train_step()
    here.seconds = 2.5
    here.save(path)
    content = torch.load(path, weights_only=True)
    for options in content["optimiser"]["param_groups"]:
        options |= {"lr": torch.tensor(options["lr"]), "capturable": True}
    content |= {"device": "NVIDIA H100", "noise": torch.zeros(16, dtype=torch.uint8), "dropout": []}
    torch.save(content, path)
    moved = tiny.run(method)
    moved.resume(path)
    assert (moved.step, moved.seconds, moved.history) == (7, 0.0, here.history)
    assert len(moved.weights) < len(here.weights)
    assert moved.elsewhere == [{"device": "NVIDIA H100", "steps": 7, "seconds": 2.5}]
    assert not torch.equal(moved.noise.get_state(), here.noise.get_state())
    moved.noise.set_state(here.noise.get_state())
    for _ in range(4):  # with the same numbers they are the same steps
        torch.testing.assert_close(moved.train_step(), here.train_step(), rtol=1e-4, atol=1e-5)
    for mine, its in zip(moved.model.parameters(), here.model.parameters(), strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-4, atol=1e-5)
    moved.seconds = 1.0
    moved.save(path)
    again = tiny.run(method)  # the same kind now
    again.resume(path)
    assert again.elsewhere == moved.elsewhere and again.seconds == 1.0
    assert torch.equal(again.train_step(), moved.train_step())
    result = tiny.train(method, checkpoint=checkpoint)[0]
    assert (result.status, result.step, result.elsewhere) == ("finished", LAST, moved.elsewhere)


def test_evaluations_of_a_resumed_run_are_neither_lost_nor_repeated(checkpoint, monkeypatch):
    options = {
        "evaluate": lambda model, seed: {"score": float(next(model.parameters()).detach().sum())},
        "evaluate_every": 1,
    }
    whole = tiny.train("MVAE", **options)[0]
    for step in (5, 10, 15):
        with monkeypatch.context() as patch:
            tiny.at_step(patch, step, tiny.press_ctrl_c)
            with pytest.raises(KeyboardInterrupt):
                tiny.train("MVAE", checkpoint=checkpoint, **options)
    resumed = tiny.train("MVAE", checkpoint=checkpoint, **options)[0]
    assert resumed.history["evaluation_epoch"] == [1, 2, 3]
    assert tiny.same(resumed, whole)


def test_finished_run_is_not_trained_again(checkpoint, monkeypatch):
    whole = tiny.train("DeMissVAE", checkpoint=checkpoint)[0]
    monkeypatch.setattr(training.Run, "train_step", None)
    assert tiny.same(tiny.train("DeMissVAE", checkpoint=checkpoint)[0], whole)


# ---- signals ------------------------------------------------------------------------------------------------


def test_signal_during_evaluation_writes_the_checkpoint_it_promises(checkpoint, path):
    presses = [tiny.press_ctrl_c]

    def evaluate(model, seed):
        if presses:
            presses.pop()()
        return {"score": 0.0}

    with pytest.raises(KeyboardInterrupt, match="checkpoint was written"):
        tiny.train("MVAE", checkpoint=checkpoint, evaluate=evaluate, checkpoint_seconds=1e9)
    assert torch.load(path, weights_only=True)["step"] == tiny.STEPS
    resumed = tiny.train("MVAE", checkpoint=checkpoint, evaluate=evaluate)[0]
    assert tiny.same(resumed, tiny.train("MVAE", evaluate=evaluate)[0])


def test_signal_while_the_last_result_is_kept_is_not_swallowed():
    kept = []

    def on_result(result):
        tiny.press_ctrl_c()
        kept.append(result.status)  # what was being written is written

    with pytest.raises(KeyboardInterrupt):
        tiny.train("MVAE", on_result=on_result)
    assert kept == ["finished"]


def test_sigterm_writes_a_checkpoint_and_exits(checkpoint, path, monkeypatch):
    tiny.at_step(monkeypatch, 4, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit) as exit:
        tiny.train("MVAE", checkpoint=checkpoint)
    assert exit.value.code == 128 + signal.SIGTERM
    assert torch.load(path, weights_only=True)["step"] == 4


def test_second_ctrl_c_does_not_wait():
    seen = []
    with pytest.raises(KeyboardInterrupt):
        with checkpoints.deferred_signals():
            tiny.press_ctrl_c()
            seen.append("first")
            tiny.press_ctrl_c()
            seen.append("second")
    assert seen == ["first"]


def test_sigterm_may_come_twice():
    """From a batch system, and from the parent that it told as well."""
    with checkpoints.deferred_signals() as stop:
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)
    assert stop.signal == signal.SIGTERM


def test_signal_handlers_are_given_back(monkeypatch):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    tiny.train("MVAE")
    tiny.at_step(monkeypatch, 2, tiny.press_ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        tiny.train("MVAE")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_training_outside_the_main_thread_works():
    results = []
    thread = threading.Thread(target=lambda: results.extend(tiny.train("MVAE")))
    thread.start()
    thread.join()
    assert tiny.same(results[0], tiny.train("MVAE")[0])


# ---- files --------------------------------------------------------------------------------------------------


FULL = [
    (OSError(errno.ENOSPC, "No space left on device"), "No space left"),
    (RuntimeError("[enforce fail at inline_container.cc:862] . unexpected pos"), "unexpected pos"),  # as torch has it
]


@pytest.mark.parametrize(("error", "said"), FULL, ids=["system", "torch"])
def test_full_disk_leaves_the_old_checkpoint(error, said, path, monkeypatch):
    checkpoints.save({"identity": "a", "value": torch.ones(3)}, path)

    def crash(content, file):
        file.write(b"half a check")
        raise error

    monkeypatch.setattr(torch, "save", crash)
    with pytest.raises(checkpoints.CheckpointError, match=f"{path}: cannot write .*{said}.*Free space"):
        checkpoints.save({"identity": "a", "value": torch.zeros(3)}, path)
    assert torch.equal(checkpoints.load(path, "a", torch.device("cpu"))["value"], torch.ones(3))
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_removing_takes_what_a_killed_process_left_half_written(path):
    checkpoints.save({"identity": "a"}, path)
    other = path.with_name("rerun.pt")
    for leftover in (f".{path.name}.123", ".rerun.pt.123", "rerun.pt"):
        path.with_name(leftover).touch()
    checkpoints.remove(path)
    assert {p.name for p in path.parent.iterdir()} == {".rerun.pt.123", other.name}
    checkpoints.remove(path)  # there is none: nothing to do


def test_checkpoints_are_written_as_time_passes(checkpoint, path):
    seen = []

    def evaluate(model, seed):
        seen.append(torch.load(path, weights_only=True)["step"] if path.exists() else 0)
        return {"score": 0.0}

    tiny.train("MVAE", checkpoint=checkpoint, checkpoint_seconds=-1.0, evaluate=evaluate, evaluate_every=1)
    assert [step // tiny.STEPS for step in seen] == [0, 1, 2]  # how often within an epoch is the loop's business
    seen.clear()
    path.unlink()
    tiny.train("MVAE", checkpoint=checkpoint, checkpoint_seconds=1e9, evaluate=evaluate, evaluate_every=1)
    assert seen == [0, 0, 0] and torch.load(path, weights_only=True)["step"] == LAST


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_code_in_a_checkpoint_is_not_run(path, checkpoint, tmp_path):
    path.parent.mkdir()
    torch.save({"identity": "x", "bomb": Bomb(tmp_path / "exploded")}, path)
    with pytest.warns(UserWarning, match="cannot resume"):
        result = tiny.train("MVAE", checkpoint=checkpoint)[0]
    assert result.status == "finished" and not (tmp_path / "exploded").exists()


def damage(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def list_instead(path):
    torch.save([1, 2, 3], path)


@pytest.mark.parametrize("spoil", [damage, empty, list_instead])
def test_damaged_checkpoint_is_set_aside_with_a_warning(spoil, path, checkpoint):
    whole = tiny.train("DeMissVAE")[0]
    stopped = tiny.train("DeMissVAE", checkpoint=checkpoint, time_limit=0.0)[0]
    assert stopped.status == "stopped"
    spoil(path)
    bad = path.read_bytes()
    with pytest.warns(UserWarning, match=f"cannot resume from .*{path.name}.*starting afresh"):
        result = tiny.train("DeMissVAE", checkpoint=checkpoint)[0]
    assert tiny.same(result, whole)
    assert path.with_name("run.pt.unused").read_bytes() == bad


FOREIGN = {
    "settings": {"settings": training.Settings(budget=3, epochs=3, batch_size=tiny.BATCH, learning_rate=2e-3)},
    "sampler": {"sampler": samplers.metropolis_within_gibbs()},
    "sampler's own setting": {"sampler": samplers.lair(replenish=2)},
    "network": {"make": tiny.maker(tiny.methods.get("DeMissVAE"), width=9)},
    "floor": {"make": tiny.maker(tiny.methods.get("DeMissVAE"), decoder_floor=0.5)},
    "data": {"data": tiny.split(1)},
    "validation": {"data": tiny.split()._replace(x_val=tiny.split(1).x_val, m_val=tiny.split(1).m_val)},
    "seed": {"seeds": [2]},
}


@pytest.mark.parametrize("other", FOREIGN)
def test_checkpoint_of_another_run_is_set_aside_with_a_warning(other, path, checkpoint):
    tiny.train("DeMissVAE", checkpoint=checkpoint, time_limit=0.0)
    whole = tiny.train("DeMissVAE", **FOREIGN[other])[0]
    with pytest.warns(UserWarning, match="cannot resume"):
        result = tiny.train("DeMissVAE", checkpoint=checkpoint, **FOREIGN[other])[0]
    assert tiny.same(result, whole)
    assert path.with_name("run.pt.unused").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.pop("device"),
        lambda content: content["optimiser"]["state"][0].update(exp_avg=torch.zeros(3)),
    ],
    ids=["a part is missing", "a state of other weights"],
)
def test_checkpoint_of_another_version_is_set_aside_before_anything_is_taken(change, path, checkpoint):
    run = tiny.run("MVAE")
    run.train_step()
    run.save(path)
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)
    fresh, resumed = tiny.run("MVAE"), tiny.run("MVAE")
    with pytest.warns(UserWarning, match="cannot resume from .*; kept as .*unused, starting afresh"):
        resumed.resume(path)
    assert not path.exists() and resumed.step == 0
    assert torch.equal(resumed.weights, fresh.weights)
    assert torch.equal(resumed.train_step(), fresh.train_step())


def test_a_checkpoint_for_which_memory_is_short_stays(path, checkpoint, monkeypatch):
    """It may be whole, and hours of work."""
    tiny.train("MVAE", checkpoint=checkpoint, time_limit=0.0)
    before = path.read_bytes()

    def load(*args, **options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch, pytest.raises(torch.OutOfMemoryError):
        patch.setattr(torch, "load", load)
        tiny.train("MVAE", checkpoint=checkpoint)
    assert path.read_bytes() == before
    assert tiny.same(tiny.train("MVAE", checkpoint=checkpoint)[0], tiny.train("MVAE")[0])


def test_checkpoint_of_another_mask_is_set_aside(path, checkpoint):
    data = tiny.split()
    m = data.m.clone()
    row = int(m.all(1).nonzero()[0])
    m[row, 0] = False
    other = data._replace(m=m, x=torch.where(m, data.x, 0.0))
    tiny.train("MVAE", data=data, checkpoint=checkpoint, time_limit=0.0)
    with pytest.warns(UserWarning, match="cannot resume"):
        tiny.train("MVAE", data=other, checkpoint=checkpoint)
