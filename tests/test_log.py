import json
import subprocess
import sys
import textwrap
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import rlgen.log
from rlgen.errors import DiskError, DivergedError
from rlgen.log import RunLog
from rlgen.runs import Run, read_metrics

CONFIG = {"algo": "dqn", "exp_name": "dqn", "env_id": "CartPole-v1", "seed": 3, "steps": 1000, "lr": 0.001}


@pytest.fixture
def run(tmp_path):
    return Run.create(tmp_path / "runs", "mine", CONFIG)


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(rlgen.log.time, "monotonic", lambda: now.seconds)
    return now


def quiet(run):
    return RunLog(run, "disabled", quiet=True)


def losses(value):
    return {"losses/td_loss": torch.tensor(value), "losses/q_values": torch.tensor(2 * value)}


def test_a_row_holds_the_means_of_what_was_added_and_what_was_given(run):
    log = quiet(run)
    values = np.random.default_rng(1).normal(size=1000).astype(np.float32)
    for value in values:
        log.add(losses(float(value)))
    log.add({})
    log.add({"losses/td_loss": torch.tensor(7), "losses/kl": torch.tensor(True)})  # other names, other dtypes
    row = log.write(100, {"charts/episodic_return": np.float64(3.5)})
    assert row["losses/td_loss"] == pytest.approx((values.sum(dtype=float) + 7) / 1001)
    assert row["losses/q_values"] == pytest.approx(2 * values.mean(dtype=float), rel=1e-5)
    assert (row["step"], row["losses/kl"], row["charts/episodic_return"]) == (100, 1.0, 3.5)
    assert "losses/td_loss" not in log.write(200)
    log.close()
    assert [row["step"] for row in read_metrics(run.path)] == [100, 200]


def test_an_evaluation_leaves_the_means_to_the_next_training_row(run):
    log = quiet(run)
    log.add(losses(1.0))
    assert log.write(10, {"eval/episodic_return": 9.0}, kind="eval").keys() == {"step", "time", "eval/episodic_return"}
    assert log.write(10)["losses/td_loss"] == 1.0


def test_adding_waits_for_no_device_and_keeps_few_tensors(run, monkeypatch):
    log, transfers = quiet(run), []
    for name in ("item", "tolist", "cpu", "numpy", "__float__", "__bool__"):
        original = getattr(torch.Tensor, name)
        monkeypatch.setattr(
            torch.Tensor,
            name,
            lambda self, *args, original=original, name=name: (transfers.append(name), original(self, *args))[1],
        )
    for _ in range(2000):
        log.add(losses(1.0))
    assert transfers == []
    assert sum(len(group.rows) for group in log._sums._groups.values()) < 256
    log.write(1)
    assert transfers == ["tolist"]


def test_metrics_that_are_written_over_in_place_are_counted_as_they_were(run):
    log, value = quiet(run), torch.tensor(1.0)
    log.add({"losses/td_loss": value})
    value.fill_(100.0)
    assert log.write(1)["losses/td_loss"] == 1.0


def test_saving_in_the_middle_changes_no_bit(run):
    values = torch.rand(700).tolist()
    one, two = quiet(run), quiet(run)
    for index, value in enumerate(values):
        one.add(losses(value))
        if index in (100, 256, 611):
            state, two = two.state_dict(), quiet(run)
            two.load_state_dict(state)
        two.add(losses(value))
    a, b = one.write(1), two.write(1)
    assert (a["losses/td_loss"], a["losses/q_values"]) == (b["losses/td_loss"], b["losses/q_values"])


def test_time_and_rate_go_on_after_a_resume(run, clock):
    log = quiet(run)
    clock.seconds = 10.0
    assert log.write(100)["charts/SPS"] == 10.0
    state = log.state_dict()
    clock.seconds = 5000.0
    log = quiet(run)
    log.load_state_dict(state)
    clock.seconds += 2.0
    row = log.write(200)
    assert (row["time"], row["charts/SPS"]) == (12.0, 50.0)


@pytest.mark.parametrize(
    ("value", "text"), [(float("nan"), "NaN"), (float("inf"), "Infinity"), (-float("inf"), "-Infinity")]
)
def test_a_value_that_is_not_finite_is_written_as_strict_json_and_stops_the_run(run, value, text):
    log = quiet(run)
    log.add(losses(value))
    with pytest.raises(DivergedError, match=r"losses/td_loss is .* at step 30: .*nothing is saved") as caught:
        log.write(30)
    log.close(caught.value.exit_code)

    def refuse(token):
        raise AssertionError(token)

    row = json.loads((run.path / "metrics.jsonl").read_text(), parse_constant=refuse)
    assert row["losses/td_loss"] == text
    assert str(next(read_metrics(run.path))["losses/td_loss"]) == str(value)
    summary = json.loads((run.path / "summary.json").read_text(), parse_constant=refuse)
    assert (summary["status"], summary["metrics"]["losses/td_loss"]) == ("diverged", text)


def test_every_row_is_on_disk_when_it_is_written(run):
    log = quiet(run)
    log.write(1)
    assert len(list(read_metrics(run.path))) == 1  # without close


def test_a_full_disk_is_a_disk_error(run):
    (run.path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(DiskError, match="No space left"):
        quiet(run).write(1)


def test_pictures_become_files(run):
    log = quiet(run)
    picture = np.full((4, 6, 3), 200, np.uint8)
    row = log.write(50, {"eval/elbo": -90.0, "samples/grid": picture, "samples/grey": picture[..., :1]}, kind="eval")
    assert "samples/grid" not in row
    assert sorted(path.name for path in (run.path / "samples").iterdir()) == [
        "grey_000000050.png",
        "grid_000000050.png",
    ]


def test_summary_says_how_it_ended_and_what_to_do_next(run, capsys):
    log = RunLog(run, "disabled", "eval/episodic_return")
    run.step = run.saved = 1000
    log.write(1000, {"eval/episodic_return": 487.25}, kind="eval")
    log.close()
    log.close()
    out = capsys.readouterr().out
    for text in ("mine: finished", "487.25", f"rlgen eval {run.path}\n", f"rlgen resume {run.path} --steps 2000\n"):
        assert out.count(text) == 1, out
    summary = json.loads((run.path / "summary.json").read_text())
    assert summary["status"] == "finished" and summary["metrics"]["eval/episodic_return"] == 487.25
    quiet(run).close(143)
    assert json.loads((run.path / "summary.json").read_text())["status"] == "interrupted"
    assert capsys.readouterr().out == ""


def test_without_a_terminal_there_is_one_line_early_and_then_one_a_minute(run, clock, capsys):
    log = RunLog(run, "disabled", "eval/episodic_return")
    for clock.seconds in range(200):
        run.step = 5 * clock.seconds
        log.add(losses(1.0))
        if clock.seconds == 3:
            log.write(run.step, {"charts/episodic_return": 21.0})
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4 and "\r" not in "".join(lines)
    assert lines[0] == "step 25 of 1,000 (2%), 5 steps/s, 03:15 left, episodic_return 21"
    assert lines[1].startswith("step 325 of")


def test_on_a_terminal_there_is_a_bar(run, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    log = RunLog(run, "disabled", "eval/episodic_return")
    log.write(100, {"eval/episodic_return": 21.0}, kind="eval")
    run.step, run.saved = 1000, 900
    log.close()
    last = capsys.readouterr().err.split("\r")[-1]
    assert "dqn: 100%" in last and "1.00k/1.00k" in last and "eval/episodic_return 21" in last and "saved 900" in last


def test_quiet_prints_nothing(run, clock, capsys):
    log = quiet(run)
    for clock.seconds in (0, 100, 200):
        log.add(losses(1.0))
    log.close()
    assert capsys.readouterr() == ("", "")


# wandb


class FakeWandb(SimpleNamespace):
    """Records calls; raises in the one named by `breaks`."""

    def __init__(self, breaks=""):
        super().__init__(
            calls=[], breaks=breaks, dir="d/files", url=None, Image=str, Settings=lambda **options: options
        )

    def __getattr__(self, name):
        def call(*args, **options):
            self.calls.append((name, args, options))
            if name == self.breaks:
                raise ConnectionResetError("Connection lost\nlong story")
            return self

        return call


@pytest.fixture
def fake(monkeypatch):
    def install(breaks=""):
        module = FakeWandb(breaks)
        monkeypatch.setitem(sys.modules, "wandb", module)
        return module

    return install


@pytest.mark.parametrize("breaks", ["init", "define_metric", "log", "finish"])
def test_wandb_that_fails_is_one_warning_and_training_goes_on(run, fake, breaks, capsys):
    module = fake(breaks)
    log = RunLog(run, "offline", quiet=True)
    for step in range(5):
        log.write(step, {"eval/nll": 1.0, "samples/grid": np.zeros((2, 2, 3), np.uint8)}, kind="eval")
    log.close()
    assert len(list(read_metrics(run.path))) == 5
    error = capsys.readouterr().err
    assert error.count("warning") == 1 and error.count("\n") == 1 and "ConnectionResetError: Connection lost" in error
    assert sum(name == breaks for name, *_ in module.calls) == 1


def test_wandb_that_is_missing_is_one_warning(run, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb", None)
    log = RunLog(run, "auto", quiet=True)
    log.write(1)
    log.close()
    assert capsys.readouterr().err.count("warning: wandb is off") == 1


def test_disabled_does_not_import_wandb(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setattr(rlgen.log, "_warn", pytest.fail)
    quiet(run).close()
    monkeypatch.setenv("WANDB_MODE", "disabled")
    RunLog(run, "auto", quiet=True).close()


def test_wandb_gets_a_few_training_rows_a_second_every_evaluation_and_the_last_row(run, fake, clock):
    module = fake()
    log = RunLog(run, "offline", quiet=True)
    for step in range(100):
        clock.seconds = step / 100
        log.write(step)
        if step == 50:
            log.write(step, {"eval/nll": 1.0}, kind="eval")
    log.close()
    rows = [args[0] for name, args, _ in module.calls if name == "log"]
    assert len(rows) <= 8 and len(list(read_metrics(run.path))) == 101
    assert [row["global_step"] for row in rows] == sorted(row["global_step"] for row in rows)
    assert rows[-1]["global_step"] == 99
    assert {"eval/nll": 1.0, "global_step": 50} in rows
    assert module.calls[-1] == ("finish", (), {"exit_code": 0})


def test_wandb_is_online_only_with_an_account_and_a_network(monkeypatch, tmp_path):
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("WANDB_API_KEY", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with rlgen.log.socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        settings = SimpleNamespace(base_url=f"http://127.0.0.1:{port}", api_key=None)
        assert "no account" in rlgen.log._why_offline(settings)
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login user password secret")
        assert rlgen.log._why_offline(settings) == ""
        monkeypatch.setenv("WANDB_API_KEY", "secret")
        assert rlgen.log._why_offline(settings) == ""
    assert rlgen.log._why_offline(settings) == "127.0.0.1 cannot be reached"


TRAIN = """
import os, sys, numpy as np, torch
import agents  # wandb knows another package of this name, and advertises
from rlgen.log import RunLog
from rlgen.runs import Run
run = Run.create(sys.argv[1], "mine", {"algo": "vae", "exp_name": "vae", "data": "digits", "seed": 3, "steps": 60})
log = RunLog(run, sys.argv[2], quiet=True)
for run.step in range(1, 61):
    log.add({"losses/elbo": torch.tensor(-float(run.step))})
    log.write(run.step, {"samples/grid": np.zeros((8, 8, 3), np.uint8)} if run.step == 30 else None, kind="train")
    if run.step == 40 and len(sys.argv) > 3:
        import subprocess, time
        children = subprocess.run(["ps", "-o", "pid,comm", "--ppid", str(os.getpid())], capture_output=True, text=True)
        pids = [int(line.split()[0]) for line in children.stdout.splitlines() if "wandb-core" in line]
        assert pids
        os.kill(pids[0], 9)
        time.sleep(0.3)
    if run.step % 20 == 0:
        log.write(run.step, {"eval/elbo": -float(run.step)}, kind="eval")
log.close()
"""


def in_child(tmp_path, *args):
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", textwrap.dedent(TRAIN), str(tmp_path / "runs"), *args]
    child = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env=env, cwd=rlgen.log.__file__[: -len("rlgen/log.py")]
    )
    assert child.returncode == 0, child.stderr
    return child


def test_wandb_offline_holds_what_was_logged(tmp_path):
    child = in_child(tmp_path, "auto")
    assert child.stdout == ""
    assert child.stderr.startswith("wandb is offline: no account") and child.stderr.count("\n") == 1
    [file] = (tmp_path / "runs" / "mine" / "wandb").glob("offline-run-*/run-mine-*.wandb")
    leet = [sys.executable, "-m", "wandb", "leet", "inspect", "--json"]
    summary = subprocess.run([*leet, "--summary", file], capture_output=True, text=True)
    if summary.returncode and "No such command" in summary.stderr:
        pytest.skip("this wandb cannot read its own files")
    text = summary.stdout
    found = json.loads(text)
    assert '"finished"' in text and '"digits"' in text, text
    assert found["summary"]["global_step"] == 60 and found["summary"]["eval/elbo"] == -60.0, text
    rows = subprocess.run([*leet, file], capture_output=True, text=True).stdout
    assert rows.count("eval/elbo") >= 3 and "digits__vae" in rows


def test_wandb_killed_in_the_middle_costs_no_row(tmp_path):
    child = in_child(tmp_path, "offline", "kill")
    assert len(list(read_metrics(tmp_path / "runs" / "mine"))) == 63
    assert child.stderr.count("warning: wandb is off") == 1, child.stderr
    assert json.loads((tmp_path / "runs" / "mine" / "summary.json").read_text())["status"] == "finished"
