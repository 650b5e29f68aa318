"""wandb: what it gets, and that it can neither stop, slow nor delay training."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fake_wandb import finished

from rlgen.errors import DivergedError
from rlgen.runs import wandb_sink
from rlgen.runs.find import list_runs
from rlgen.runs.log import RunLog
from rlgen.runs.rows import read_metrics
from rlgen.runs.run import Run
from rlgen.runs.wandb_sink import Wandb

ROOT = Path(__file__).parents[2]
CONFIG = {"algo": "dqn", "exp_name": "dqn", "env_id": "CartPole-v1", "seed": 3, "steps": 1000, "lr": 0.001}


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


def test_the_end_of_a_run_waits_for_the_warning_of_a_wandb_that_just_failed(run, fake, capsys, monkeypatch):
    fake("log")
    log, failed = RunLog(run, "offline", quiet=True), threading.Event()

    def tell():
        failed.set()
        time.sleep(0.3)  # as a look at all processes takes on a busy machine
        return True

    monkeypatch.setattr(wandb_sink.service, "tell", tell)
    log.write(0, {"eval/nll": 1.0}, kind="eval")
    assert failed.wait(20)
    log.close()
    assert capsys.readouterr().err.count("warning: wandb is off") == 1


def test_wandb_that_is_missing_is_one_warning(run, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb", None)
    log = RunLog(run, "auto", quiet=True)
    log.write(1)
    log.close()
    assert capsys.readouterr().err.count("warning: wandb is off") == 1


def test_disabled_does_not_import_wandb(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setattr(wandb_sink, "warn", pytest.fail)
    RunLog(run, "disabled", quiet=True).close()
    monkeypatch.setenv("WANDB_MODE", "disabled")
    RunLog(run, "auto", quiet=True).close()
    assert not (run.path / "wandb").exists()


def init_of(run, fake, mode="offline", settings=None):
    """What `wandb.init` is told, if it is called."""
    module = fake()
    if settings:
        module.settings = SimpleNamespace(base_url="http://127.0.0.1:9", **settings)
    RunLog(run, mode, quiet=True).close()
    return next((options for name, _, options in module.calls if name == "init"), None)


VARIABLES = {"WANDB_NAME": "their-name", "WANDB_JOB_TYPE": "sweep", "WANDB_NOTES": "noted"}
OPTIONS = {"wandb_project": "p", "wandb_entity": "e", "wandb_group": "g", "wandb_tags": ["one,two", "three", "dqn"]}


def test_what_wandbs_variables_say_is_recorded_and_holds_in_a_resume_without_them(tmp_path, fake, monkeypatch):
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    created = Run.create(tmp_path / "runs", "mine", CONFIG | OPTIONS)
    for name in VARIABLES:
        monkeypatch.delenv(name)
    for run in (created, Run.open(created.path)):
        init = init_of(run, fake)
        assert [init[name] for name in ("project", "entity", "group")] == ["p", "e", "g"]
        assert [init[name] for name in ("name", "job_type", "notes")] == ["their-name", "sweep", "noted"]
        assert init["tags"][:5] == ["one", "two", "three", "dqn", "CartPole-v1"] and init["dir"] == str(run.path)
    created.info["together"] = [2, 3]
    assert init_of(created, fake)["name"] == "their-name-3", "seeds of one command are told apart"


def test_a_secret_in_a_note_is_not_told(tmp_path, fake, monkeypatch):
    """Wandb's own files lie in the run too."""
    monkeypatch.setenv("GIT_TOKEN", "opensesame")
    monkeypatch.setenv("WANDB_NOTES", "fetched with opensesame")
    run = Run.create(tmp_path / "runs", "mine", CONFIG)
    assert init_of(run, fake)["notes"] == "fetched with ***"


def test_without_them_the_names_are_ours(run, fake):
    init = init_of(run, fake)
    assert (init["project"], init["entity"], init["group"]) == ("rlgen", None, "CartPole-v1__dqn")
    assert (init["name"], init["job_type"]) == ("mine", "train") and "notes" not in init


def test_wandb_dir_is_asked_every_time(run, fake, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "there"))
    assert init_of(run, fake)["dir"] == str(tmp_path / "there")


@pytest.mark.parametrize(("mode", "begun"), [("offline", "offline"), ("dryrun", "offline"), ("disabled", None)])
def test_the_mode_in_wandbs_settings_files_holds(run, fake, monkeypatch, capsys, mode, begun):
    """`wandb offline` and `wandb disabled` write it."""
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setattr(wandb_sink, "why_offline", lambda settings: "")
    init = init_of(run, fake, "auto", {"mode": mode})
    assert (init and init["mode"]) == begun and capsys.readouterr().err == ""


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


def test_a_wandb_that_hangs_delays_the_start_by_less_than_5_s_and_no_update_at_all(run, fake, monkeypatch, capsys):
    assert Wandb.START_SECONDS < 5.0
    monkeypatch.setattr(Wandb, "START_SECONDS", 0.1)
    module = fake()
    module.hangs = "init"
    begin = time.perf_counter()
    log = RunLog(run, "offline", quiet=True)
    for step in range(1500):
        log.write(step, {"eval/nll": 1.0}, kind="eval")
    assert time.perf_counter() - begin < 3.0
    assert capsys.readouterr().err.count("warning: wandb is off, it hangs") == 1, "the queue is bounded"
    module.free.set()
    log.close()
    assert len(list(read_metrics(run.path))) == 1500


def test_rows_wait_for_a_slow_start_and_one_held_back_goes_out_by_itself(run, fake, monkeypatch):
    monkeypatch.setattr(Wandb, "START_SECONDS", 0.1)
    module = fake()
    module.hangs = "init"
    log = RunLog(run, "offline", quiet=True)
    log.write(1)
    log.write(2)  # too soon after the first one
    module.free.set()
    end = time.perf_counter() + 10.0
    while sum(name == "log" for name, *_ in module.calls) < 2 and time.perf_counter() < end:
        time.sleep(0.05)
    assert [args[0]["global_step"] for name, args, _ in module.calls if name == "log"] == [1, 2]
    log.close()


def test_the_summary_has_the_best_of_all_rows(run, fake, clock):
    module = fake()
    (run.path / "metrics.jsonl").write_text('{"step": 1, "time": 0.1, "eval/nll": 3.0}\n')  # an earlier session's
    log = RunLog(run, "offline", quiet=True)
    for step, value in enumerate((5.0, 90.0, 7.0)):
        log.write(2 + step, {"charts/episodic_return": value})  # the second of them never reaches wandb
    log.write(5, {"eval/nll": 4.0}, kind="eval")
    log.close()
    assert module.summary == {
        "charts/episodic_return": {"max": 90.0, "last": 7.0},
        "eval/nll": {"min": 3.0, "last": 4.0},
        "status": "finished",
    }
    defined = {args[0]: options for name, args, options in module.calls if name == "define_metric"}
    assert defined["eval/nll"] == {"step_metric": "global_step", "summary": "min,last"}
    assert {defined[f"{kind}/episodic_return"]["summary"] for kind in ("charts", "eval")} == {"max,last"}


def test_the_best_in_the_summary_is_of_the_same_images_and_the_last_of_all(run, fake):
    module = fake()
    log = RunLog(run, "offline", quiet=True)
    log.write(1, {"eval/nll": 5.0}, kind="eval")
    log.write(2, {"eval/nll": 3.0, "eval/first_1000/nll": 6.0}, kind="eval")  # the last one, of all images
    log.close()
    assert module.summary["eval/nll"] == {"min": 5.0, "last": 3.0}


def test_divergence_is_an_alert(run, fake):
    module = fake()
    log = RunLog(run, "offline", quiet=True)
    with pytest.raises(DivergedError):
        log.write(30, {"losses/td_loss": float("nan")})
    log.close(5)
    [alert] = [options for name, _, options in module.calls if name == "alert"]
    assert alert["title"] == "mine has diverged" and alert["text"].startswith("losses/td_loss is nan at step 30")
    assert module.calls[-1] == ("finish", (), {"exit_code": 5})


def test_private_sends_no_path_commit_or_file(run, fake):
    module = fake()
    run.config |= {"runs_dir": "/home/me/runs", "data_dir": "data", "data": "my/images", "teacher": "/home/me/t.pt"}
    finished(run, private=True)
    [init] = [options for name, _, options in module.calls if name == "init"]
    assert init["settings"].items() >= wandb_sink.PRIVATE_SETTINGS.items()
    assert {"runs_dir", "data_dir", "git_commit"}.isdisjoint(init["config"])
    assert (init["config"]["data"], init["config"]["teacher"]) == ("images", "t.pt")
    assert len(init["tags"]) == 3 and "Artifact" not in {name for name, *_ in module.calls}


def test_wandb_gets_no_secret(run, fake, monkeypatch):
    """It would write the words of the command as they are."""
    module = fake()
    monkeypatch.setenv("MY_TOKEN", "abc-def-123")
    run.config |= {"api_key": "opensesame", "data": "https://me:word@host/abc-def-123"}
    for words, hides in ((["--lr", "0.1"], False), (["--api-key", "opensesame"], True), (["--data=abc-def-123"], True)):
        monkeypatch.setattr(sys, "argv", ["rlgen", "train", "dqn", *words])
        module.calls.clear()
        log = RunLog(run, "offline", quiet=True)
        with pytest.raises(DivergedError):
            log.write(30, {"losses/abc-def-123": float("nan")})
        log.close(5)
        [init] = [options for name, _, options in module.calls if name == "init"]
        assert init["settings"].get("x_disable_meta", False) == hides
        assert (init["config"]["api_key"], init["config"]["data"]) == ("***", "https://***@host/***")
        [alert] = [options for name, _, options in module.calls if name == "alert"]
        assert "abc-def-123" not in alert["text"] and "***" in alert["text"]


def test_a_wandb_that_cannot_be_private_is_not_started(run, fake, monkeypatch, capsys):
    module = fake()

    def refuse(**options):
        if "x_disable_meta" in options:
            raise ValueError("x_disable_meta: no such setting")
        return options

    monkeypatch.setattr(module, "Settings", refuse, raising=False)
    finished(run, private=True)
    assert "init" not in {name for name, *_ in module.calls}
    assert capsys.readouterr().err.count("warning: wandb is off, starting failed: ValueError") == 1


TRAIN = """
import os, sys, numpy as np, torch
if "HOST" in os.environ:
    import platform, socket
    socket.gethostname = platform.node = lambda: os.environ["HOST"]
import agents  # wandb knows another package of this name, and advertises
from rlgen.runs.log import RunLog
from rlgen.runs.run import Run
run = Run.create(sys.argv[1], "mine", {"algo": "vae", "exp_name": "vae", "data": "digits", "seed": 3, "steps": 60,
    "runs_dir": sys.argv[1], "wandb_private": "private" in sys.argv})
run.export(torch.nn.Linear(2, 3))
log = RunLog(run, sys.argv[2], quiet=True)
for run.step in range(1, 61):
    log.add({"losses/elbo": torch.tensor(-float(run.step))})
    log.write(run.step, {"samples/grid": np.zeros((8, 8, 3), np.uint8)} if run.step == 30 else None, kind="train")
    if run.step == 40 and {"kill", "stop"} & set(sys.argv):
        import time
        from rlgen.runs import wandb_process, wandb_sink
        if "stop" in sys.argv:  # the test has no minute to wait
            wandb_sink.Wandb.FINISH_SECONDS = wandb_process.HUNG_SECONDS = wandb_process.KILLED_SECONDS = 1.0
        [pid] = wandb_process.children()
        os.kill(pid, 9 if "kill" in sys.argv else 19)
        time.sleep(0.3)
    if run.step % 20 == 0:
        log.write(run.step, {"eval/elbo": -float(run.step)}, kind="eval")
log.close()
"""


def in_child(tmp_path, *args, **more):
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1", **more}
    command = [sys.executable, "-c", textwrap.dedent(TRAIN), str(tmp_path / "runs"), *args]
    child = subprocess.run(command, capture_output=True, text=True, timeout=120, env=env, cwd=ROOT)
    assert child.returncode == 0, child.stderr
    return child


def test_wandb_offline_holds_what_was_logged(tmp_path):
    child = in_child(tmp_path, "auto")
    assert child.stdout == ""
    assert child.stderr.startswith("wandb is offline: no account") and child.stderr.count("\n") == 1
    [file] = (tmp_path / "runs" / "mine" / "wandb").glob("offline-run-*/run-mine-*.wandb")
    text = leet("--summary", file)
    found = json.loads(text)
    assert '"finished"' in text and '"digits"' in text, text
    assert found["summary"]["global_step"] == 60 and found["summary"]["eval/elbo"] == -60.0, text
    rows = leet(file)
    assert rows.count("eval/elbo") >= 3 and "digits__vae" in rows
    shared = tmp_path / "runs" / "wandb" / file.parent.name  # where `wandb leet` and `wandb sync` see many runs
    assert shared.is_symlink() and shared.resolve() == file.parent.resolve()
    assert [row["name"] for row in list_runs(tmp_path / "runs")] == ["mine"]


@pytest.mark.parametrize("home", ["", "/proc/nothing"])
def test_a_home_that_cannot_be_written_puts_no_word_on_the_terminal(tmp_path, home):
    child = in_child(tmp_path, "auto", HOME=home)
    assert child.stderr.startswith("wandb is offline: no account") and child.stderr.count("\n") == 1, child.stderr
    assert list((tmp_path / "runs" / "mine" / "wandb").glob("offline-run-*/run-mine-*.wandb"))


def test_wandb_killed_in_the_middle_costs_no_row(tmp_path):
    child = in_child(tmp_path, "offline", "kill")
    assert len(list(read_metrics(tmp_path / "runs" / "mine"))) == 63
    assert child.stderr.count("warning: wandb is off") == child.stderr.count("\n") == 1, child.stderr
    assert json.loads((tmp_path / "runs" / "mine" / "summary.json").read_text())["status"] == "finished"


def test_a_stopped_wandb_costs_no_row_and_does_not_keep_the_process(tmp_path):
    child = in_child(tmp_path, "offline", "stop")
    assert len(list(read_metrics(tmp_path / "runs" / "mine"))) == 63
    assert child.stderr == "warning: wandb did not finish in time and is left behind; metrics.jsonl has every row\n"
    assert json.loads((tmp_path / "runs" / "mine" / "summary.json").read_text())["status"] == "finished"


@pytest.mark.slow
def test_a_server_that_does_not_answer_makes_the_run_offline(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:  # takes connections and says nothing
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        child = in_child(tmp_path, "auto", WANDB_API_KEY="0" * 40, WANDB_BASE_URL=address)
    assert child.stderr.count("warning: wandb is offline") == 1 and "wandb is off," not in child.stderr, child.stderr
    [file] = (tmp_path / "runs" / "mine" / "wandb").glob("offline-run-*/run-mine-*.wandb")
    assert json.loads(leet("--summary", file))["summary"]["global_step"] == 60


def leet(*args):
    """What wandb itself reads in an offline file, as text."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", *map(str, args)]
    found = subprocess.run(command, capture_output=True, text=True)
    if found.returncode and "No such command" in found.stderr:
        pytest.skip("this wandb cannot read its own files")
    return found.stdout


def test_private_leaves_no_host_path_or_package_in_the_file(tmp_path):
    host, folder = b"host-of-mine", str(tmp_path).encode()
    secrets = {
        "host": host,
        "path": folder,
        "python": str(ROOT).encode(),
        "command": b'"-c"',  # with its quotes, as an argument is listed: two bytes alone occur by chance
        "packages": b"requirements",
    }
    found = {}
    for mode in ("public", "private"):
        in_child(tmp_path / mode, "offline", mode, **{name: host.decode() for name in ("WANDB_HOST", "HOST")})
        [file] = (tmp_path / mode / "runs" / "mine" / "wandb").glob("offline-run-*/run-mine-*.wandb")
        data = file.read_bytes() + leet(file).encode().replace(str(file).encode(), b"")
        found[mode] = {name for name, secret in secrets.items() if secret in data}
        packages = list(file.parent.rglob("requirements.txt"))
        assert len(packages) == (mode == "public")
        assert b"digits__vae" in data
    assert found["private"] == set(), found
    assert {"host", "path", "packages"} <= found["public"], "the search does find them"


ENDLESS = """
import sys, time
from rlgen.errors import InterruptedRunError
from rlgen.runs.log import RunLog
from rlgen.runs.run import Run
run = Run.create(sys.argv[1], "mine", {"algo": "vae", "data": "digits", "seed": 3, "steps": 10**6})
with run.running():
    log = RunLog(run, "offline", quiet=True)
    while not run.interrupted:
        run.step += 1
        log.write(run.step, {"eval/nll": time.time()}, kind="eval")
        time.sleep(0.05)
    log.close(143)
"""


@pytest.mark.parametrize(
    "signum",
    [signal.SIGKILL, signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)],
    ids=lambda signum: signum.name,
)
def test_a_kill_loses_at_most_2_s_of_rows_and_a_signal_none(tmp_path, signum):
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", ENDLESS, str(tmp_path / "runs")]
    child = subprocess.Popen(command, env=env, cwd=ROOT, start_new_session=True, stderr=subprocess.DEVNULL)
    metrics, end = tmp_path / "runs" / "mine" / "metrics.jsonl", time.monotonic() + 60.0
    while not metrics.exists() and time.monotonic() < end:
        time.sleep(0.1)
    time.sleep(4.5)
    listing = subprocess.run(["ps", "-eo", "pid,ppid"], capture_output=True, text=True).stdout.split("\n")[1:]
    children = [int(line.split()[0]) for line in listing if line and int(line.split()[1]) == child.pid]
    if signum == signal.SIGKILL:  # wandb's own process too, as when the machine stops
        for pid in (child.pid, *children):
            os.kill(pid, signum)
    else:
        os.killpg(child.pid, signum)  # as a terminal and a cluster do
    child.wait(30.0)
    written = [row["eval/nll"] for row in read_metrics(metrics)]
    [file] = (tmp_path / "runs" / "mine" / "wandb").glob("offline-run-*/run-mine-*.wandb")
    records = map(json.loads, leet(file).splitlines())
    kept = [r["history"]["item"]["eval/nll"] for r in records if "eval/nll" in r.get("history", {}).get("item", {})]
    assert len(written) > 40 and children
    if signum == signal.SIGKILL:
        assert written[-1] - kept[-1] <= 2.0
    else:
        assert kept == written
