import json
import os
import random
import shutil
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import recurrent
import torch
from tiny import tiny
from toy_runs import CONFIG, Regression, make_run, parts, rows_of, save_at

from rlgen import experiment
from rlgen.core.loop import train
from rlgen.errors import CheckpointError, DivergedError, InterruptedRunError, UsageError
from rlgen.options.config import NAME
from rlgen.runs import checkpoint, files
from rlgen.runs.find import list_runs
from rlgen.runs.fitting import check_source
from rlgen.runs.log import RunLog
from rlgen.runs.run import Run


def test_create_writes_everything_needed_to_run_it_again(tmp_path):
    run = Run.create(tmp_path / "runs", None, CONFIG | {"log_every": 7, "eval_every": None}, ["rlgen", "train", "a b"])
    assert NAME.fullmatch(run.name) and run.name.startswith("ALE-Pong-v5__dqn__3__")
    info = json.loads((run.path / "config.json").read_text())
    assert info["config"] == CONFIG | {"log_every": 7, "eval_every": 100, "checkpoint_every": 100}
    assert info["command"] == "rlgen train 'a b'"
    assert torch.__version__.startswith(info["versions"]["torch"]) and info["hardware"]["cpu_cores"] >= 1
    assert {"created", "git_commit", "rlgen_version", "wandb_id"} <= info.keys()
    assert (run.step, run.steps, run.seed, run.interrupted) == (0, 1000, 3, False)
    again = Run.create(tmp_path / "runs", None, CONFIG)  # the same second
    assert again.name != run.name
    data = Run.create(tmp_path, None, {"algo": "vae", "data": "/my files/a set/", "seed": 1, "steps": 10})
    assert data.name.startswith("a-set__vae__1__") and data.config["log_every"] == 1


def test_due_sees_every_multiple_however_far_a_step_goes(tmp_path):
    run = make_run(tmp_path, log_every=10)
    last_step, due = 0, []
    for run.step in (3, 9, 10, 11, 29, 30, 55):
        if run.due("log", last_step):
            due.append(run.step)
        last_step = run.step
    assert due == [10, 29, 30, 55]


def test_a_checkpoint_is_also_due_after_so_many_minutes(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("rlgen.runs.run.time.monotonic", lambda: now[0])
    run, trained = make_run(tmp_path, checkpoint_minutes=2.0), parts()
    run.step, now[0] = 52, 219.0
    assert not run.due("checkpoint", 51)
    now[0] = 220.0
    assert run.due("checkpoint", 51) and not run.due("log", 51) and not run.due("eval", 51)
    run.save(*trained, RunLog(run, "disabled", quiet=True))
    assert not run.due("checkpoint", 51)
    run.step = 100
    assert run.due("checkpoint", 90)


def test_when_a_checkpoint_is_saved_changes_no_number(tmp_path):
    runs = []
    for minutes in (None, 1e-9):
        run, trained = make_run(tmp_path, f"run-{minutes}", steps=200, checkpoint_minutes=minutes), parts()
        with run.running():
            log = RunLog(run, "disabled", quiet=True)
            train(*trained, run, log)
        runs.append((rows_of(run), trained[0].state_dict()["net.weight"].tolist()))
    assert runs[0] == runs[1] and checkpoint.steps(run.checkpoints)[-2:] == [198, 200]


def test_open_refuses_what_is_not_a_run_and_extends_one_for_good(tmp_path):
    run = make_run(tmp_path, "mine")
    with pytest.raises(UsageError, match="not a run"):
        Run.open(tmp_path)
    checkpoint.save(run.checkpoints, 1000, {"step": 1000})
    with pytest.raises(UsageError, match="not beyond step 1000"):
        Run.open(run.path, steps=1000)
    with Run.open(run.path, steps=5000).running():
        pass
    longer = Run.open(run.path)
    assert (longer.step, longer.steps, longer.config["log_every"]) == (1000, 5000, run.config["log_every"])
    (run.path / "config.json").write_text("{")
    with pytest.raises(UsageError, match="damaged"):
        Run.open(run.path)


def test_temporary_files_of_a_killed_process_go_when_the_run_goes_on(tmp_path):
    run = make_run(tmp_path, "mine")
    (run.checkpoints / ".tmp-step_000000010-77").mkdir(parents=True)
    (run.path / ".tmp-metrics.jsonl-77").write_text("half")
    with run.running():
        assert not list(run.path.rglob(".tmp-*"))


def test_resume_is_as_if_never_stopped(tmp_path):
    config = {"steps": 400, "log_every": 30, "eval_every": 100, "checkpoint_every": 100}
    whole = make_run(tmp_path, "whole", **config)
    learner, source, buffer = parts()
    with whole.running():
        train(learner, source, buffer, whole, log := RunLog(whole, "disabled", quiet=True))
        log.close()

    part = make_run(tmp_path, "part", **config)
    stopped = parts()
    with pytest.raises(InterruptedRunError), part.running():
        fill, stopped[1].fill = stopped[1].fill, None
        stopped[1].fill = lambda *args: (part.step == 216 and os.kill(os.getpid(), signal.SIGINT), fill(*args))[1]
        log = RunLog(part, "disabled", quiet=True)
        train(*stopped, part, log)
    log.write(250, {"charts/lost": 1.0})  # past the checkpoint: a resume takes it back
    torn = part.path / "metrics.jsonl"
    torn.write_bytes(torn.read_bytes() + b'{"step": 2')

    resumed, fresh = Run.open(part.path), parts(seed=99)
    with resumed.running():
        log = RunLog(resumed, "disabled", quiet=True)
        resumed.restore(*fresh, log)
        assert resumed.step == 218
        train(*fresh, resumed, log)
        log.close()
    for name, value in learner.state_dict().items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, fresh[0].state_dict()[name]), name
    assert fresh[0].num_updates == learner.num_updates
    assert (fresh[1].count, fresh[2].rows) == (source.count, buffer.rows)
    assert rows_of(resumed) == rows_of(whole)
    assert json.loads((resumed.path / "summary.json").read_text())["status"] == "finished"


def test_best_checkpoint_is_marked_kept_and_found(tmp_path, capsys):
    run, trained = make_run(tmp_path, "mine"), parts()
    log = RunLog(run, "disabled", quiet=True)
    with pytest.raises(CheckpointError, match="not evaluated"):
        run.load("best")
    assert [
        save_at(run, trained, log, step, score) for step, score in ((10, 1.0), (20, 5.0), (30, 5.0), (40, None))
    ] == [
        True,
        True,
        False,
        False,
    ]
    assert not run.improved({"eval/episodic_return": float("nan")}) and not run.improved({"eval/nll": 1.0})
    save_at(run, trained, log, 50)
    assert checkpoint.steps(run.checkpoints) == [20, 40, 50]
    opened = Run.open(run.path)
    assert [opened.load(which)["step"] for which in ("best", "last", 40, "40")] == [20, 50, 40, 40]
    assert list_runs(tmp_path / "runs")[0]["best"] == {"metric": "eval/episodic_return", "value": 5.0, "step": 20}
    with pytest.raises(CheckpointError, match=r"no checkpoint of step 30; it has \[20, 40, 50\]"):
        opened.load(30)
    with pytest.raises(UsageError, match="'newest' is not valid"):
        opened.load("newest")

    (run.checkpoints / "step_000000050" / "manifest.json").unlink()
    opened.restore(*parts(), RunLog(opened, "disabled", quiet=True))
    assert "skipped checkpoint" in capsys.readouterr().err
    assert (opened.step, opened.best["step"]) == (40, 20)
    save_at(opened, trained, RunLog(opened, "disabled", quiet=True), 45, 6.0)
    assert checkpoint.steps(run.checkpoints) == [40, 45]  # the damaged future is gone, and the old best
    assert opened.load("best")["step"] == 45


def test_a_diverged_state_is_never_saved(tmp_path):
    run, trained = make_run(tmp_path), parts()
    log = RunLog(run, "disabled", quiet=True)
    log.add({"losses/td_loss": torch.tensor(float("inf"))})
    with pytest.raises(DivergedError, match="losses/td_loss is inf at step 0"):
        run.save(*trained, log)
    assert checkpoint.steps(run.checkpoints) == []


def spoil(learner, where, value):
    tensors = {"a weight": learner.net.weight, "a moment": learner.optimizer.state[learner.net.bias].get("exp_avg_sq")}
    with torch.no_grad():
        tensors[where].flatten()[0] = value


@pytest.mark.parametrize("where", ["a weight", "a moment"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_never_saved_and_the_line_that_goes_on_is_said(tmp_path, where, value):
    run, trained = make_run(tmp_path, "mine", lr=0.3, baseline_lr=0.03), parts()
    log = RunLog(run, "disabled", quiet=True)
    trained[1].fill(trained[2], trained[0])
    trained[0].learn(next(trained[0].batches(trained[2])))
    save_at(run, trained, log, 10)
    spoil(trained[0], where, value)
    fork = r"go on from it with a smaller step size: rlgen fork \S*mine --set lr=0.1 --set baseline_lr=0.01"
    with pytest.raises(DivergedError, match=f"is not finite at step 20: step 10 is saved; {fork}"):
        save_at(run, trained, log, 20)
    assert checkpoint.steps(run.checkpoints) == [10]


def test_a_mask_may_hold_infinities(tmp_path):
    run, trained = make_run(tmp_path), parts()
    trained[0].register_buffer("mask", torch.tensor([0.0, -float("inf")]))
    save_at(run, trained, RunLog(run, "disabled", quiet=True), 10)
    assert checkpoint.load(run.checkpoints, 10)["learner"]["mask"][1] == -float("inf")


def test_resume_goes_on_from_the_last_good_state_of_a_run_that_had_saved_a_diverged_one(tmp_path, capsys, monkeypatch):
    run, trained = make_run(tmp_path), parts()
    log = RunLog(run, "disabled", quiet=True)
    save_at(run, trained, log, 10)
    with monkeypatch.context() as before:
        before.setattr("rlgen.runs.state.diverged.not_finite", lambda *_: None)
        with torch.no_grad():
            trained[0].net.weight[0, 0] = float("nan")
        save_at(run, trained, log, 20)
    opened = Run.open(run.path)
    opened.restore(*parts(), log)
    assert opened.step == 10 and "diverged: net.weight is not a number" in capsys.readouterr().err


@pytest.mark.parametrize("left", [None, 0, 1, 2])
def test_rows_that_are_gone_are_said_when_it_goes_on(tmp_path, capsys, left):
    run, trained = make_run(tmp_path), parts()
    log = RunLog(run, "disabled", quiet=True)
    log.write(5, {"charts/x": 1.0})
    save_at(run, trained, log, 10)
    log.write(15, {"charts/x": 1.0})  # beyond it: taken back in silence
    file = run.path / "metrics.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.unlink() if left is None else file.write_text("".join(lines[:left]))
    Run.open(run.path).restore(*parts(), log)
    assert ("lacks rows that this run had written before step 10" in capsys.readouterr().err) == (left != 2)


def test_checkpoint_of_another_architecture_is_one_line(tmp_path):
    run = make_run(tmp_path)
    log = RunLog(run, "disabled", quiet=True)
    save_at(run, parts(), log, 10)
    for restore in (lambda other: run.restore(*other, log), lambda other: run.restore_learner(other[0])):
        with pytest.raises(CheckpointError, match=r"step 10 does not fit this dqn: .*size mismatch") as caught:
            restore(parts(width=5))
        assert "\n" not in str(caught.value)
    learner = Regression()
    run.step = 0
    run.restore_learner(learner, "last")
    assert run.step == 10


def sign(run, step, change):
    """Change a state that was saved, and sign it: as a bug of its writer would."""
    folder = checkpoint.directory(run.checkpoints, step)
    state = checkpoint.load(run.checkpoints, step)
    change(state)
    torch.save(state, folder / "state.pt")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["state.pt"] = files.digest(folder / "state.pt")
    (folder / "manifest.json").write_text(json.dumps(manifest))


def cut_moment(state):
    moments(state)[0]["exp_avg"] = moments(state)[0]["exp_avg"][:, :2]


def cut_weight(state):
    state["learner"]["net.weight"] = state["learner"]["net.weight"][:, :2]


def cut_generator(state):
    state["rng"]["cpu"] = state["rng"]["cpu"][:100]


def extra(state):
    return state["learner"]["_extra_state"]


def moments(state):
    return extra(state)["optimizers"]["optimizer"]["state"]


def settings(state):
    return extra(state)["optimizers"]["optimizer"]["param_groups"][0]


def a_sum(**changes):
    return {"names": ["a", "b"], "count": 1, "total": torch.ones(2).double(), "rows": None} | changes


def numpy_state(state):
    return state["rng"]["numpy"]["state"]


WRONG = {
    "a cut weight": (cut_weight, "size mismatch"),
    "a cut moment": (cut_moment, "size mismatch: optimizer's exp_avg"),
    "a cut generator": (cut_generator, "RNG"),
    "no buffer": (lambda state: state.pop("buffer"), "it lacks buffer"),
    "a source that is a list": (lambda state: state.update(source=[]), "list indices"),
    "no rows": (lambda state: state.update(buffer=None), "NoneType"),
    "an infinite weight": (lambda state: state["learner"]["net.bias"].fill_(float("inf")), "net.bias is not finite"),
    "an infinite moment": (
        lambda state: moments(state)[0]["exp_avg_sq"].fill_(float("inf")),
        "exp_avg_sq is not finite",
    ),
    "a moment less": (lambda state: moments(state)[0].pop("exp_avg"), "optimizer lacks exp_avg"),
    "moments of one parameter": (lambda state: moments(state).pop(0), "moments of 1 parameters, here there are 2"),
    "a moment that is text": (lambda state: moments(state)[1].update(exp_avg="x"), "is_floating_point"),
    "a step size that is text": (lambda state: settings(state).update(lr="x"), "optimizer: lr is 'x'"),
    "a step size below zero": (lambda state: settings(state).update(lr=-1.0), "optimizer: lr is -1.0"),
    "moments of one number": (  # beyond which a fused step would write
        lambda state: [moment.update(exp_avg=torch.zeros(())) for moment in moments(state).values()],
        "size mismatch: optimizer's exp_avg has shape ()",
    ),
    "counts as a parameter": (
        lambda state: moments(state)[0].update(step=torch.ones(1, 3)),
        "size mismatch: optimizer's step has shape (1, 3)",
    ),
    "no first moments": (
        lambda state: [moment.pop("exp_avg") for moment in moments(state).values()],
        "optimizer lacks exp_avg",
    ),
    "a squared moment below zero": (
        lambda state: moments(state)[0]["exp_avg_sq"].fill_(-1),
        "exp_avg_sq has numbers below zero",
    ),
    "a moment of flags": (
        lambda state: moments(state)[0].update(exp_avg=moments(state)[0]["exp_avg"].bool()),
        "exp_avg is of torch.bool",
    ),
    "a weight of doubles": (
        lambda state: state["learner"].update({"net.bias": state["learner"]["net.bias"].double()}),
        "net.bias is of torch.float64",
    ),
    "a place outside of NumPy's generator": (  # which NumPy would read, and write
        lambda state: state["rng"]["numpy"]["state"].update(pos=-1),
        "a generator's pos is -1",
    ),
    "too few numbers of NumPy's": (lambda state: numpy_state(state)["key"].pop(), "rng.numpy has 623 numbers"),
    "a generator of NumPy's without gauss": (lambda state: state["rng"]["numpy"].pop("gauss"), "lacks gauss"),
    "a number of gauss that is none": (
        lambda state: state["rng"].update(python=(*state["rng"]["python"][:2], float("nan"))),
        "gauss is nan",
    ),
    "a metric that is too large": (lambda state: state["log"]["last"].update(loss=10**400), "log.last.loss is 1000"),
    "updates that are text": (lambda state: extra(state).update(num_updates="x"), "num_updates is 'x'"),
    "updates below zero": (lambda state: extra(state).update(num_updates=-1), "num_updates is -1"),
    "progress that is none": (lambda state: extra(state).update(progress=float("nan")), "progress is nan"),
    "half a generator": (
        lambda state: extra(state).update(generator=extra(state)["generator"][:2000]),
        "the generator's state has shape (2000,)",
    ),
    "a best that is text": (lambda state: state.update(best={"metric": 1}), "best.step is missing"),
    "an evaluation that is due as text": (lambda state: state.update(eval_due="x"), "state.eval_due is 'x'"),
    "a time that is none": (lambda state: state["log"].update(time=float("nan")), "log.time is nan"),
    "a clock that is text": (lambda state: state["log"].update(last_row=["x", 0.0]), "log.last_row.0 is 'x'"),
    "a metric that is text": (lambda state: state["log"]["last"].update(loss="x"), "log.last.loss is 'x'"),
    "sums that are text": (lambda state: state["log"].update(sums=["x"]), "string indices"),
    "a sum that is text": (lambda state: state["log"].update(sums=[a_sum(total="x")]), "sums.total is of type str"),
    "sums of other metrics": (lambda state: state["log"].update(sums=[a_sum(names=["a"])]), "sums of 1 metrics"),
    "sums of nothing": (lambda state: state["log"].update(sums=[a_sum(total=None)]), "sums of 2 metrics are []"),
    "a sum that is none": (
        lambda state: state["log"].update(sums=[a_sum(total=torch.full((2,), float("nan")).double())]),
        "sums of metrics are not finite",
    ),
    "a number of NumPy's that is too large": (lambda state: numpy_state(state).update(key=[-5] * 624), "out of bounds"),
    "numbers of Python's that are text": (lambda state: state["rng"].update(python="x"), "rng.python is of type str"),
    "no optimizer": (lambda state: state["learner"]["_extra_state"]["optimizers"].clear(), "optimizer"),
}


def test_the_settings_of_an_optimizer_are_the_configurations(tmp_path):
    """A fork with another `beta1` once went on with the old one."""
    run, trained = make_run(tmp_path), parts()
    log = RunLog(run, "disabled", quiet=True)
    trained[1].fill(trained[2], trained[0])
    trained[0].learn(next(trained[0].batches(trained[2])))
    save_at(run, trained, log, 10)
    sign(run, 10, lambda state: settings(state).update(betas=("x",), maximize=True, eps=5.0, lr=0.5))
    learner, *_ = others = parts(seed=2)
    learner.optimizer = torch.optim.Adam(learner.parameters(), 0.01, betas=(0.5, 0.6))
    Run.open(run.path).restore(*others, log)
    (group,) = learner.optimizer.param_groups
    assert (group["betas"], group["maximize"], group["eps"], group["lr"]) == ((0.5, 0.6), False, 1e-8, 0.5)
    assert learner.optimizer.state[learner.net.weight]["exp_avg"].any()


@pytest.mark.parametrize("what", WRONG)
def test_a_signed_checkpoint_that_does_not_fit_is_followed_by_the_older_one(tmp_path, capsys, what):
    change, reason = WRONG[what]
    run, trained = make_run(tmp_path), parts()
    log = RunLog(run, "disabled", quiet=True)
    trained[1].fill(trained[2], trained[0])
    trained[0].learn(next(trained[0].batches(trained[2])))
    save_at(run, trained, log, 10)
    good = {name: value.clone() for name, value in trained[0].named_parameters()}
    trained[0].learn(next(trained[0].batches(trained[2])))
    save_at(run, trained, log, 20)
    sign(run, 20, change)
    opened, others = Run.open(run.path), parts(seed=2)
    opened.restore(*others, log)
    assert opened.step == 10 and reason in capsys.readouterr().err
    assert all(torch.equal(value, good[name]) for name, value in others[0].named_parameters())
    assert others[0].num_updates == 1


WRONG_ROWS = {
    "a column of doubles": (
        lambda state: column(state, "reward", lambda rows: rows.double()),
        "reward is of torch.float64",
    ),
    "actions of floats": (
        lambda state: column(state, "action", lambda rows: rows.float()),
        "action is of torch.float32",
    ),
    "an action that there is not": (
        lambda state: column(state, "action", lambda rows: rows + 5),
        "numbers that are not in [0, 2)",
    ),
    "an observation that is none": (
        lambda state: column(state, "obs", lambda rows: rows * float("inf")),
        "obs is not finite",
    ),
    "fewer rows": (lambda state: column(state, "obs", lambda rows: rows[:-1].clone()), "obs has shape"),
    "a column less": (lambda state: state["buffer"]["row"].pop("reward"), "does not fill"),
    "no columns": (lambda state: state["buffer"].update(row={}), "does not fill"),
    "too many frames": (lambda state: state["buffer"].update(frame_stack=2**40), "obs has rows"),
    "a row of more than there is": (  # for which there would be made room
        lambda state: state["buffer"]["row"].update(action=[2**50]),
        "a row's action is [1125899906842624]",
    ),
    "rows of other environments": (
        lambda state: [
            column(state, name, lambda rows: rows[:, :1].clone()) for name in state["buffer"]["ring"]["columns"]
        ],
        "buffer.action has rows [1], here they are [2]",
    ),
    "episodes before the first": (
        lambda state: state["source"]["envs"].update(episode=[-1, 0]),
        "episode has numbers that are not in",
    ),
    "an episode that began later": (
        lambda state: state["source"]["envs"].update(begun=[2**40, 0]),
        "begun has numbers that are not in",
    ),
    "a return for all": (lambda state: state["source"].update({"return": [1.0]}), "return of 1"),
    "an observation of another shape": (
        lambda state: state["source"]["envs"]["obs"].update(shape=[8]),
        "source.envs: obs is",
    ),
    "a head that is text": (lambda state: state["buffer"]["ring"].update(oldest="x"), "buffer.ring.oldest is 'x'"),
    "transitions that never were": (lambda state: index(state).update(num_added=2**40), "were added in"),
    "another count of transitions": (lambda state: index(state).update(num_valid=3), "index: 3 of"),
    "counts of too few rows": (
        lambda state: index(state).update(valid_in_row=index(state)["valid_in_row"][:-1]),
        "index: ",
    ),
    "counts below zero": (lambda state: shift(index(state)["valid_in_row"]), "index.valid_in_row has numbers"),
    "counts in a list": (
        lambda state: index(state).update(valid_in_row=index(state)["valid_in_row"].tolist()),
        "valid_in_row is of type list",
    ),
    "a list of doubles": (lambda state: index(state).update(listed=torch.zeros(400).double()), "listed is of"),
    "a list that leads out": (lambda state: index(state).update(listed=torch.full((400,), 10**6)), "index.listed has"),
    "no final frames": (lambda state: frames(state)["tables"].clear(), "frames of [] are not those of ['obs']"),
    "final frames of nothing": (lambda state: table(state, lambda rows: rows[:0].clone()), "are not those of"),
    "flat final frames": (lambda state: table(state, lambda rows: rows[:, :3].clone()), "frames of obs have shape [3]"),
    "final frames of doubles": (
        lambda state: table(state, lambda rows: rows.double()),
        "tables.obs is of torch.float64",
    ),
    "final frames that never were": (lambda state: frames(state).update(added=2**40), "were dropped, in tables of"),
    "numbers of frames that lead out": (lambda state: frames(state)["number"].fill_(99), "frames.number has numbers"),
    "numbers of too few rows": (
        lambda state: frames(state).update(number=frames(state)["number"][:1].clone()),
        "shape",
    ),
    "counts of frames below zero": (lambda state: frames(state)["in_row"].__setitem__(0, -1), "frames.in_row has"),
    "a return that is text": (lambda state: state["source"]["return"].__setitem__(0, "x"), "source.return.0 is 'x'"),
    "an episode that is text": (
        lambda state: state["source"].update(finished=[["x", 1]]),
        "source.finished.0.0 is 'x'",
    ),
    "a memory of an agent without": (
        lambda state: state["source"].update(memory={"h": torch.ones(2)}),
        "source.memory",
    ),
}


def index(state):
    return state["buffer"]["index"]


def frames(state):
    return state["buffer"]["frames"]


def shift(counts):
    """The same sum, with one below zero."""
    counts[0], counts[1] = counts[0] - 100, counts[1] + 100


def column(state, name, change):
    columns = state["buffer"]["ring"]["columns"]
    columns[name] = change(columns[name])


def table(state, change):
    frames(state)["tables"]["obs"] = change(frames(state)["tables"]["obs"])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    options = {"steps": 300, "num_envs": 2, "checkpoint_every": 100, "eval_every": 300, "buffer_size": 400}
    return experiment.start(tiny("dqn", folder, name="mine", **options), quiet=True).path


@pytest.mark.parametrize("what", WRONG_ROWS)
def test_a_signed_buffer_that_does_not_fit_is_followed_by_the_older_one(tmp_path, capsys, trained, what):
    change, reason = WRONG_ROWS[what]
    run = Run.open(shutil.copytree(trained, tmp_path / "mine"))
    older, newest = checkpoint.steps(run.checkpoints)[-2:]
    sign(run, newest, change)
    with experiment.built(run.config, tmp_path, quiet=True) as (learner, source, buffer):
        run.restore(learner, source, buffer, RunLog(run, "disabled", quiet=True))
    err = capsys.readouterr().err
    assert run.step == older and f"step_{newest:09d}" in err and reason in err


def test_a_memory_of_another_shape_or_type_is_not_taken():
    spec = SimpleNamespace(num_envs=2, num_actions=2, obs_shape=(2,))
    source = SimpleNamespace(spec=spec, envs=SimpleNamespace(obs=np.zeros((2, 2), np.float32)))
    learner = recurrent.Recurrent(recurrent.Config(num_hidden=4), source.spec)
    good = torch.zeros(2, 4)
    for memory in (
        {"hidden": good.double()},
        {"hidden": good[:1]},
        {"hidden": good[0]},
        {"other": good},
        {"hidden": "x"},
    ):
        with pytest.raises(ValueError, match=r"source\.memory"):
            check_source(learner, source, {"source": {"memory": memory}, "buffer": {}})
    check_source(learner, source, {"source": {"memory": {"hidden": good}}, "buffer": {}})


def test_global_generators_of_numpy_and_python_go_on_too(tmp_path):
    run, trained = make_run(tmp_path), parts()
    log = RunLog(run, "disabled", quiet=True)
    np.random.seed(1)
    random.seed(1)
    np.random.normal()  # one more of a pair is waiting
    random.gauss(0, 1)
    save_at(run, trained, log, 10)
    expected = [np.random.normal(), np.random.random(), random.gauss(0, 1), random.random()]
    np.random.seed(2)
    random.seed(2)
    Run.open(run.path).restore(*parts(), log)
    assert [np.random.normal(), np.random.random(), random.gauss(0, 1), random.random()] == expected


@pytest.mark.parametrize("level", ["exact", "tried exact", "approximate"])
def test_how_exactly_a_resume_goes_on_is_in_the_manifest_and_known_after_it(tmp_path, level):
    run, trained, others = make_run(tmp_path), parts(), parts()
    log = RunLog(run, "disabled", quiet=True)
    trained[1].restores = others[1].restores = level
    save_at(run, trained, log, 10)
    manifest = json.loads((checkpoint.directory(run.checkpoints, 10) / "manifest.json").read_text())
    assert manifest["resume"] == run.resumable == level
    opened = Run.open(run.path)
    opened.restore(*others, log)
    assert opened.resumed == level


def test_environments_that_begin_anew_are_not_called_exact(tmp_path):
    run, trained, others = make_run(tmp_path), parts(), parts()
    log = RunLog(run, "disabled", quiet=True)
    save_at(run, trained, log, 10)
    others[1].load_state_dict = lambda state: False
    opened = Run.open(run.path)
    opened.restore(*others, log)
    assert opened.resumed == "approximate"


def test_commands_can_be_pasted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert make_run(tmp_path, "mine").command("resume") == "rlgen resume mine"
    assert Run.create("other dir", "x", CONFIG).command("eval", "--json") == "rlgen eval 'other dir/x' --json"
