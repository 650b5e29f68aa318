import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from rlgen.core.learner import Learner
from rlgen.core.loop import train
from rlgen.errors import CheckpointError, DivergedError, InterruptedRunError, UsageError
from rlgen.runs import checkpoint
from rlgen.runs import run as runs
from rlgen.runs.log import RunLog
from rlgen.runs.run import Run, find, list_runs, read_metrics

CONFIG = {"algo": "dqn", "exp_name": "dqn", "env_id": "ALE/Pong-v5", "seed": 3, "steps": 1000}


def make(tmp_path, name=None, **config):
    return Run.create(tmp_path / "runs", name, CONFIG | config)


class Regression(Learner):
    """Noise in the parameters, the optimizer and two generators: whatever is not restored shows."""

    def __init__(self, width=3):
        super().__init__(SimpleNamespace(batch_size=4))
        self.net = nn.Linear(width, 1)
        self.optimizer = torch.optim.Adam(self.parameters(), 0.01)

    def update(self, batch):
        def loss(learner, batch):
            noise = torch.randn(4, generator=learner.generator) + torch.randn(4)
            value = (learner.net(batch["obs"]).squeeze(-1) - noise).square().mean()
            return value, {"losses/value_loss": value, "losses/noise": noise.sum()}

        return self.minimize(loss, batch, self.optimizer)


class Counter:
    """A source and its buffer in one: rows that depend on how many there were."""

    streams = True

    def __init__(self, scores=()):
        self.count, self.rows, self.scores = 0, [], scores

    def fill(self, buffer, learner):
        self.count += 1
        buffer.rows.append([self.count % 7, 1.0, -1.0])
        return 2

    def sample(self, batch_size):
        return {"obs": torch.tensor(self.rows[-1:]).expand(batch_size, 3)}

    def metrics(self):
        return {"charts/episodic_return": float(self.count)}

    def evaluate(self, learner, final=False):
        return {"eval/episodic_return": self.scores[self.count // 10 - 1] if self.scores else float(self.count)}

    def state_dict(self):
        return {"count": self.count, "rows": self.rows}

    def load_state_dict(self, state):
        self.count, self.rows = state["count"], list(state["rows"])


def parts(seed=1, **options):
    torch.manual_seed(seed)
    return Regression(**options), Counter(), Counter()


def rows_of(run):
    return [{k: v for k, v in row.items() if k not in ("time", "charts/SPS")} for row in read_metrics(run.path)]


def test_create_writes_everything_needed_to_run_it_again(tmp_path):
    run = Run.create(tmp_path / "runs", None, CONFIG | {"log_every": 7, "eval_every": None}, ["rlgen", "train", "a b"])
    assert runs.NAME.fullmatch(run.name) and run.name.startswith("ALE-Pong-v5__dqn__3__")
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


@pytest.mark.parametrize("name", ["../x", "a/b", "..", ".hidden", "-flag", "", "x" * 81, "a\0b", "😀", "last", "a b"])
def test_bad_names_are_refused(tmp_path, name):
    with pytest.raises(UsageError, match="is not valid"):
        make(tmp_path, name)
    assert not (tmp_path / "runs").exists()


def test_taken_names_and_impossible_places_are_refused(tmp_path):
    make(tmp_path, "mine")
    with pytest.raises(UsageError, match="rlgen resume mine"):
        make(tmp_path, "mine")
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "runs", "/proc/runs"):
        with pytest.raises(UsageError, match="--runs-dir"):
            Run.create(place, "x", CONFIG)


def test_due_sees_every_multiple_however_far_a_step_goes(tmp_path):
    run = make(tmp_path, log_every=10)
    last_step, due = 0, []
    for run.step in (3, 9, 10, 11, 29, 30, 55):
        if run.due("log", last_step):
            due.append(run.step)
        last_step = run.step
    assert due == [10, 29, 30, 55]


def test_find_by_name_directory_prefix_and_last(tmp_path):
    runs_dir = tmp_path / "runs"
    for name in ("pong-1", "pong-2", "cart"):
        make(tmp_path, name)
    assert find("pong-1", runs_dir) == runs_dir / "pong-1"
    assert find(str(runs_dir / "cart"), tmp_path) == runs_dir / "cart"
    assert find("ca", runs_dir) == runs_dir / "cart"
    future = time.time_ns() + 10**10
    (runs_dir / "pong-1" / "metrics.jsonl").write_text("")
    os.utime(runs_dir / "pong-1" / "metrics.jsonl", ns=(future, future))
    assert find("last", runs_dir) == runs_dir / "pong-1"
    with pytest.raises(UsageError, match="pong-1, pong-2"):
        find("pong", runs_dir)
    with pytest.raises(UsageError, match="did you mean pong-2"):
        find("ponk-2", runs_dir)
    for text in ("last", "x", ""):
        with pytest.raises(UsageError, match="no run"):
            find(text, tmp_path / "nothing")
    with pytest.raises(UsageError, match="no run ''"):
        find("", runs_dir)


def test_open_refuses_what_is_not_a_run_and_extends_one_for_good(tmp_path):
    run = make(tmp_path, "mine")
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


def test_a_second_process_on_a_run_is_refused_and_told_the_first(tmp_path):
    run = make(tmp_path, "mine")
    with run.running():
        assert list_runs(tmp_path / "runs")[0]["status"] == "running"
        with pytest.raises(UsageError, match=f"in use by process {os.getpid()} on"), Run.open(run.path).running():
            pass
    assert list_runs(tmp_path / "runs")[0]["status"] == "stopped"
    with run.running():
        pass


def test_temporary_files_of_a_killed_process_go_when_the_run_goes_on(tmp_path):
    run = make(tmp_path, "mine")
    (run.checkpoints / ".tmp-step_000000010-77").mkdir(parents=True)
    (run.path / ".tmp-metrics.jsonl-77").write_text("half")
    with run.running():
        assert not list(run.path.rglob(".tmp-*"))


def test_signals(tmp_path, capfd):
    run = make(tmp_path, "mine")
    before = signal.getsignal(signal.SIGINT)
    with run.running():
        run.raise_if_interrupted()
        os.kill(os.getpid(), signal.SIGTERM)
        assert run.interrupted
        os.kill(os.getpid(), signal.SIGTERM)  # impatience of a scheduler does not cost the checkpoint
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        run.step = 10
        with pytest.raises(
            InterruptedRunError, match=r"SIGTERM, saved at step 10; go on with: rlgen resume .*mine"
        ) as it:
            run.raise_if_interrupted()
        assert it.value.exit_code == 143
        run.step = run.steps
        run.raise_if_interrupted()  # it had just ended
    assert signal.getsignal(signal.SIGINT) is before
    assert capfd.readouterr().err.count("stopping") == 1


def test_metrics_are_read_without_a_torn_last_line_and_cut_at_a_step(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [json.dumps({"step": step, "a": "NaN" if step == 2 else step}) for step in (1, 2, 2, 3)]
    path.write_text("\n".join(lines) + '\n{"step": 4, "a')
    rows = list(read_metrics(tmp_path))
    assert [row["step"] for row in rows] == [1, 2, 2, 3] and rows[1]["a"] != rows[1]["a"]
    runs._truncate_metrics(path, 2)
    assert path.read_text() == "\n".join(lines[:3]) + "\n"
    runs._truncate_metrics(path, 2)
    runs._truncate_metrics(path, 0)
    assert path.read_text() == ""
    assert list(read_metrics(tmp_path / "nothing")) == []
    path.write_text(lines[0] + "\n\x00\x00\n" + lines[1] + "\n")
    with pytest.raises(UsageError, match="line 2"):
        list(read_metrics(path))


def test_resume_is_as_if_never_stopped(tmp_path):
    config = {"steps": 400, "log_every": 30, "eval_every": 100, "checkpoint_every": 100}
    whole = make(tmp_path, "whole", **config)
    learner, source, buffer = parts()
    with whole.running():
        train(learner, source, buffer, whole, log := RunLog(whole, "disabled", quiet=True))
        log.close()

    part = make(tmp_path, "part", **config)
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


def save_at(run, trained, log, step, score=None):
    run.step = step
    better = score is not None and run.improved({"eval/episodic_return": score})
    run.save(*trained, log)
    return better


def test_best_checkpoint_is_marked_kept_and_found(tmp_path, capsys):
    run, trained = make(tmp_path, "mine"), parts()
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
    save_at(opened, trained, log, 45, 6.0)
    assert checkpoint.steps(run.checkpoints) == [40, 45]  # the damaged future is gone, and the old best
    assert opened.load("best")["step"] == 45


def test_lower_nll_is_better(tmp_path):
    run = make(tmp_path, data="digits", env_id=None)
    assert run.improved({"eval/nll": 90.0, "eval/elbo": -95.0})
    run.save(*parts(), RunLog(run, "disabled", quiet=True))
    assert not run.improved({"eval/nll": 91.0}) and run.improved({"eval/nll": 89.0})


def test_a_diverged_state_is_never_saved(tmp_path):
    run, trained = make(tmp_path), parts()
    log = RunLog(run, "disabled", quiet=True)
    log.add({"losses/td_loss": torch.tensor(float("inf"))})
    with pytest.raises(DivergedError, match="losses/td_loss is inf at step 0"):
        run.save(*trained, log)
    assert checkpoint.steps(run.checkpoints) == []


def test_checkpoint_of_another_architecture_is_one_line(tmp_path):
    run = make(tmp_path)
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


def test_runs_are_listed_without_torch_and_whatever_is_in_them(tmp_path):
    assert list_runs(tmp_path / "nothing") == []
    run = make(tmp_path, "mine")
    (run.path / "metrics.jsonl").write_text('{"step": 5}\n{"step": 70}\n{"ste')
    (tmp_path / "runs" / "not-a-run").mkdir()
    make(tmp_path, "broken")
    (tmp_path / "runs" / "broken" / "config.json").write_text("{")
    rows = {row["name"]: row for row in list_runs(tmp_path / "runs")}
    assert rows.keys() == {"mine", "broken"}
    assert (rows["mine"]["step"], rows["mine"]["algo"], rows["mine"]["status"]) == (70, "dqn", "stopped")
    assert rows["broken"]["status"] == "damaged"
    json.dumps(list(rows.values()), allow_nan=False)
    code = (
        "import sys; from rlgen import runs; print(len(runs.list_runs(sys.argv[1]))); assert 'torch' not in sys.modules"
    )
    out = subprocess.run([sys.executable, "-c", code, tmp_path / "runs"], capture_output=True, text=True)
    assert out.stdout == "2\n", out.stderr


def test_commands_can_be_pasted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert make(tmp_path, "mine").command("resume") == "rlgen resume mine"
    assert Run.create("other dir", "x", CONFIG).command("eval", "--json") == "rlgen eval 'other dir/x' --json"


def test_a_fork_goes_on_from_its_parent_with_other_options(tmp_path: Path) -> None:
    from rlgen import experiment
    from rlgen.commands.main import main
    from rlgen.runs import show as inspect_runs

    options: dict[str, Any] = {"hidden": (8,), "rollout_steps": 64, "batch_size": 16, "num_envs": 2, "no_preset": True}
    options |= {"runs_dir": str(tmp_path), "wandb": "disabled", "device": "cpu", "eval_episodes": 2}
    options |= {"checkpoint_every": 128, "log_every": 64, "eval_every": 512}
    parent = experiment.train("ppo", name="parent", steps=512, quiet=True, **options)
    before = {path: path.read_bytes() for path in parent.path.rglob("*") if path.is_file()}
    argv = ["fork", "parent", "--name", "child", "--steps", "768", "--set", "lr=1e-5", "entropy-coef=0.1"]
    assert main([*argv, "--runs-dir", str(tmp_path)]) == 0
    child = Run.open(tmp_path / "child", steps=1000)
    assert child.info["parent"] == {"run": "parent", "step": 512, "wandb_id": parent.info["wandb_id"]}
    assert (child.config["lr"], child.config["entropy_coef"], child.saved) == (1e-5, 0.1, 768)
    rows, inherited = list(read_metrics(child.path)), list(read_metrics(parent.path))
    assert rows[: len(inherited)] == inherited and rows[-1]["step"] == 768
    assert inspect_runs.show("child", str(tmp_path))["lineage"] == ["parent@512"]
    assert {path: path.read_bytes() for path in before if path.name != ".lock"} == {
        path: value for path, value in before.items() if path.name != ".lock"
    }
    for bad in (["--set", "lr=fast"], ["--set", "hidden=4"], ["--set", "speed=1"], [], ["--steps", "100"]):
        assert main(["fork", "parent", *bad, "--runs-dir", str(tmp_path)]) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["child", "parent"]


def test_a_fork_whose_networks_do_not_fit_leaves_no_directory(tmp_path: Path) -> None:
    from rlgen import experiment
    from rlgen.commands.main import main

    options: dict[str, Any] = {"width": 8, "batch_size": 16, "runs_dir": str(tmp_path), "wandb": "disabled"}
    experiment.train("gan", name="parent", steps=64, no_preset=True, quiet=True, **options)
    assert main(["fork", "parent", "--steps", "96", "--set", "width=16", "--runs-dir", str(tmp_path)]) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["parent"]
