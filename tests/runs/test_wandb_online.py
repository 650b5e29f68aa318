"""Online mode, with the real wandb library and its own process, against a stub of its server on 127.0.0.1.

What the stub leaves out is said in `wandb_server`: these tests show what is sent and what is made of its answers, not
what wandb's own site makes of it.
"""

import json
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest
from wandb_server import KEY, Server

from rlgen.runs.health import LEVELS, NUMBER
from rlgen.runs.rows import read_metrics

ROOT = Path(__file__).parents[2]
SMALL = ("--steps", "1200", "--hidden", "16", "--eval-episodes", "2", "--threads", "1")
BRIEF = """
import sys
from rlgen.commands import main
from rlgen.runs import wandb_sink
wandb_sink.Wandb.ARTIFACT_SECONDS = 1.0  # the test has no minute to wait
wandb_sink.OPTIONAL_SETTINGS["finish_timeout"] = 2.0
sys.exit(main())
"""
START = """
import os, sys, time
from rlgen.runs.log import RunLog
from rlgen.runs.run import Run
run = Run.create(sys.argv[1], "mine", {"algo": "vae", "exp_name": "vae", "data": "digits", "seed": 3, "steps": 60})
begin = time.perf_counter()
log = RunLog(run, "online", quiet=True)
print(time.perf_counter() - begin, flush=True)
if sys.argv[2] == "hangs":  # what becomes of it is another test's, and takes 10 s
    os._exit(0)
for run.step in range(1, 61):
    log.write(run.step, {"eval/elbo": 1.0}, kind="eval")
log.close()
"""
READ = """
import json, sys
from rlgen.compare.collect import collect
from rlgen.compare.comparison import compare
entries = collect([sys.argv[1]])
[task] = compare(entries, resamples=100)["tasks"]
[row] = task["groups"]
group = [task["metric"], task["steps"], row["group"], sorted(row["scores"]), row["runs"], row["seeds"]]
runs = [
    {
        "points": entry.series("eval/episodic_return")[[0, 2]].tolist(),
        "status": entry.status, "step": entry.step, "metrics": sorted(entry.evaluations),
    }
    for entry in sorted(entries, key=lambda entry: entry.config["seed"])
]
print(json.dumps({"group": group, "runs": runs}))
"""
UNANSWERED = """
import os, signal, sys
from rlgen.commands import main
from rlgen.compare import wandb_api
from rlgen.runs import wandb_process
wandb_api.SILENT_SECONDS = 2.0
if sys.argv[2] == "stopped":
    answers = wandb_api.answers
    def stopped(ask):
        for pid in wandb_process.children():
            os.kill(pid, signal.SIGSTOP)
        return answers(ask)
    import rlgen.compare.wandb_runs as wandb_runs
    wandb_runs.answers = stopped
sys.exit(main(["compare", sys.argv[1]]))
"""


def child(folder, server, *command, key=KEY, code=0, cwd=ROOT):
    """Run Python with this account on this server and a home of its own; its output, once it has ended as expected."""
    env = {"PATH": "/usr/bin:/bin", "HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"}
    env |= {"WANDB_BASE_URL": server.address, "WANDB_API_KEY": key}
    env |= {"WANDB_CACHE_DIR": str(folder / "cache"), "WANDB_DATA_DIR": str(folder / "data")}
    found = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=120, env=env, cwd=cwd)
    assert found.returncode == code, found.stderr
    lines = found.stderr.splitlines(keepends=True)
    other = ("step ", "a resume will be approximate")  # progress, where 5 s are too short, and what seeds cannot keep
    found.stderr = "".join(line for line in lines if not line.startswith(other))
    return found


def train(folder, server, *args, mode="online", start=("-m", "rlgen"), **options):
    command = (*start, "train", "dqn", *SMALL, "--runs-dir", str(folder / "runs"), "--wandb", mode, *args)
    return child(folder, server, *command, **options)


def reading(folder, server, word):
    """What a comparison finds of a project or a directory."""
    return json.loads(child(folder, server, "-c", READ, word).stdout)


def local(folder, run):
    """The directory and the rows of a run that the server has; wandb gets the verdict as a number."""
    path = folder / "runs" / run.displayName
    lines = map(json.loads, (path / "metrics.jsonl").read_text().splitlines())
    verdicts = [LEVELS.index(line["health"]) for line in lines if "health" in line]
    return path, [row | {NUMBER: each} for row, each in zip(read_metrics(path), verdicts, strict=True)]


def sent(row):
    """A local row as it goes to wandb."""
    return {name: value for name, value in row.items() if name not in ("step", "time")} | {"global_step": row["step"]}


def own(row):
    """A row as it came, without what wandb adds."""
    return {name: value for name, value in row.items() if name[0] != "_"}


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A folder and a server with two seeds of one training, the second of them resumed."""
    folder, server = tmp_path_factory.mktemp("lab"), Server()
    begun = train(folder, server, "--seeds", "1:3")
    if not server.seen:
        pytest.skip(f"wandb's own process does not start here: {begun.stderr}")
    assert len(server.runs) == 2 and not begun.stderr.strip(), begun.stderr
    yield folder, server
    server.stop()


@pytest.fixture
def server(lab):
    """One more, where wandb's own process does start."""
    made = Server()
    yield made
    made.stop()


def test_every_evaluation_and_the_last_row_arrive_with_their_step(lab):
    folder, server = lab
    assert not server.unknown, "the stub answers all that is asked"
    for run in server.runs.values():
        _, rows = local(folder, run)
        evaluations = [sent(row) for row in rows if "eval/episodic_return" in row]
        arrived = [own(row) for row in server.rows(run)]
        assert len(evaluations) > 5
        assert [row for row in arrived if "eval/episodic_return" in row] == evaluations
        assert sent(rows[-1]) in arrived and sent([row for row in rows if "charts/SPS" in row][-1]) in arrived
        assert [sent(row) for row in rows if sent(row) in arrived] == arrived, "each as it is on disk, and in order"
        assert sorted(run.history) == list(range(len(run.history))), "no line is lost"


def test_a_run_is_named_grouped_and_tagged_and_its_options_are_flat_with_the_names_of_cleanrl(lab):
    folder, server = lab
    assert {(run.project, run.groupName, run.jobType) for run in server.runs.values()} == {
        ("rlgen", "CartPole-v1__dqn", "train")
    }
    for run in server.runs.values():
        path, _ = local(folder, run)
        info = json.loads((path / "config.json").read_text())
        assert run.id == info["wandb_id"] and run.displayName == path.name
        assert {"dqn", "CartPole-v1"} <= set(run.tags) and len(run.tags) >= 3
        config = {key: of["value"] for key, of in run.config.items() if key != "_wandb"}
        assert config.items() >= {"env_id": "CartPole-v1", "exp_name": "dqn", "algo": "dqn", "hidden": [16]}.items()
        assert config["seed"] == info["config"]["seed"] and config["steps"] == info["config"]["steps"]
        assert not any(isinstance(value, dict) for value in config.values())
    assert {run.config["seed"]["value"] for run in server.runs.values()} == {1, 2}


def test_the_summary_has_the_best_and_the_last_and_how_it_ended(lab):
    folder, server = lab
    for run in server.runs.values():
        _, rows = local(folder, run)
        values = [row["eval/episodic_return"] for row in rows if "eval/episodic_return" in row]
        assert run.summary["eval/episodic_return"] == {"max": max(values), "last": values[-1]}
        returns = [row["charts/episodic_return"] for row in rows if "charts/episodic_return" in row]
        assert run.summary["charts/episodic_return"] == {"max": max(returns), "last": returns[-1]}
        assert run.summary["global_step"] == rows[-1]["step"] and run.summary["status"] == "finished"
        assert run.state == "finished" and run.exitcode == 0


def test_checkpoints_weights_and_code_arrive_byte_for_byte_with_their_lineage(lab):
    folder, server = lab
    first = min(server.runs.values(), key=lambda run: run.config["seed"]["value"])
    path, _ = local(folder, first)
    made = [artifact for artifact in server.artifacts.values() if artifact.run == first.id]
    assert {(artifact.kind, artifact.state) for artifact in made} == {
        ("code", "COMMITTED"), ("checkpoint", "COMMITTED"), ("model", "COMMITTED"),
    }  # fmt: skip
    for artifact in made:
        if artifact.kind != "code":
            assert (artifact.metadata["run"], artifact.metadata["parent"]) == (path.name, None)
            assert artifact.metadata["algo"] == "dqn" and f"step-{artifact.metadata['step']}" in artifact.aliases
        for name, data in server.files(artifact).items():
            step = f"step_{artifact.metadata.get('step', 0):09d}"
            where = {"code": ROOT, "model": path, "checkpoint": path / "checkpoints" / step}[artifact.kind]
            if artifact.kind != "code":
                assert (where / name).read_bytes() == data, name
    [code] = [server.files(artifact) for artifact in made if artifact.kind == "code"]
    assert {"rlgen/core/loop.py", "agents/dqn.py", "agents/dqn.toml", "generative/vae.py"} <= code.keys()
    assert code["agents/dqn.py"] == (ROOT / "agents/dqn.py").read_bytes()
    checkpoints = [artifact for artifact in made if artifact.kind == "checkpoint"]
    assert "last" in checkpoints[-1].aliases and any("best" in artifact.aliases for artifact in checkpoints)
    assert {"state.pt", "manifest.json"} == server.files(checkpoints[-1]).keys()


def test_compare_reads_from_the_server_what_the_directories_say(lab):
    folder, server = lab
    remote, here = (reading(folder, server, word) for word in ("lab/rlgen", str(folder / "runs")))
    assert remote == here and len(remote["runs"]) == 2 and remote["group"][-2:] == [2, 2]
    assert all(len(run["points"][0]) > 5 for run in remote["runs"])
    assert reading(folder, server, "lab/rlgen?algo=dqn&seed=1,2") == remote
    assert reading(folder, server, "lab/rlgen?seed=2")["runs"] == remote["runs"][1:]


def test_a_project_that_the_server_does_not_have_is_one_line(lab):
    folder, server = lab
    found = child(folder, server, "-m", "rlgen", "compare", "lab/missing", code=2)
    assert found.stderr.startswith("error: cannot read lab/missing from wandb") and found.stderr.count("\n") == 1


@pytest.mark.parametrize("fault", ["silent", "stopped"])
def test_compare_ends_soon_where_wandb_does_not_answer(fault, lab, server):
    """A history is read, and Python ends, without a limit of wandb's own."""
    folder, begun = lab
    server.runs, server.fault = begun.runs, lambda what: time.sleep(60.0) if "History" in what else None
    if fault == "stopped":
        server.fault = lambda what: None
    begin = time.monotonic()
    found = child(folder, server, "-c", UNANSWERED, "lab/rlgen", fault, code=2)
    assert time.monotonic() - begin < 30.0
    assert found.stderr.count("\n") == 1 and "no answer for 2 s" in found.stderr, found.stderr


def test_a_comparison_is_saved_as_a_view_of_the_project(lab):
    pytest.importorskip("wandb_workspaces.workspaces")
    folder, server = lab
    found = child(folder, server, "-m", "rlgen", "compare", "lab/rlgen", "--wandb")
    assert f"wandb view: {server.address}/lab/rlgen?nw=" in found.stdout
    [view] = server.views
    assert (view["entityName"], view["projectName"]) == ("lab", "rlgen")
    assert view["displayName"] == "rlgen compare: CartPole-v1"
    assert all(name in view["spec"] for name in (*server.runs, "eval/episodic_return", "global_step"))


def test_a_resumed_run_goes_on_as_the_same_run(lab):
    folder, server = lab
    last = max(server.runs.values(), key=lambda run: run.config["seed"]["value"])
    before, runs = dict(last.history), set(server.runs)
    path, _ = local(folder, last)
    child(folder, server, "-m", "rlgen", "resume", str(path), "--steps", "2000")
    assert set(server.runs) == runs, "no run but this one"
    assert {at: last.history[at] for at in before} == before and len(last.history) > len(before)
    rows = server.rows(last)
    assert [row["_step"] for row in rows] == sorted({row["_step"] for row in rows})
    evaluations = [own(row) for row in rows if "eval/episodic_return" in row]
    assert evaluations == [sent(row) for row in local(folder, last)[1] if "eval/episodic_return" in row]
    assert last.summary["global_step"] >= 2000 and last.state == "finished" and last.config["steps"]["value"] == 2000


def test_private_sends_no_host_path_package_command_commit_or_code(tmp_path, lab, server):
    secrets = {
        "path": str(ROOT).encode(),
        "folder": str(tmp_path).encode(),
        "python": sys.executable.encode(),
        "command": b'"--runs-dir"',
        "option": b"- --runs-dir",
        "package": b"scikit-learn==",
        "code": b"class Wandb:",
        "git": subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True).stdout.strip() or b"\0none",
        "host": json.dumps({"host": platform.node()})[1:-1].replace(" ", "").encode(),
        "host in a list": f"host: {platform.node()}\n".encode(),
    }
    folder, other = lab
    public = secrets | {"folder": str(folder).encode()}
    found = {name for name, secret in public.items() if any(secret in body for body in other.bodies)}
    assert {"folder", "package", "code", "option", "host", "host in a list", "python"} <= found, (
        "the search does find them"
    )
    train(tmp_path, server, "--wandb-private", "--name", "mine")
    server.stop()
    assert not server.unknown
    found = {name: body[:300] for name, secret in secrets.items() for body in server.bodies if secret in body}
    assert not found, found
    [run] = server.runs.values()
    assert run.host in (None, "private") and not run.commit and not run.repo and len(run.tags) == 3
    evaluations = [row for row in local(tmp_path, run)[1] if "eval/episodic_return" in row]
    assert len([row for row in server.rows(run) if "eval/episodic_return" in row]) == len(evaluations) > 5
    assert "runs_dir" not in run.config and {"requirements.txt", "wandb-metadata.json"}.isdisjoint(run.files)
    assert not server.artifacts, "a manifest names every file's absolute path"


@pytest.mark.slow
def test_divergence_is_an_alert_at_the_server(tmp_path, server):
    train(tmp_path, server, "--lr", "1e30", "--name", "mine", code=5)
    [alert] = server.alerts
    [run] = server.runs.values()
    assert (alert["title"], alert["severity"], alert["runName"]) == ("mine has diverged", "ERROR", run.id)
    assert "is nan at step" in alert["text"] or "is inf at step" in alert["text"]
    assert run.state == "failed" and run.exitcode == 5 and run.summary["status"] == "diverged"


def test_a_key_that_the_server_refuses_makes_the_run_offline_with_one_line(tmp_path, server):
    found = train(tmp_path, server, "--name", "mine", key="f" * 40)
    assert found.stderr.count("warning: wandb is offline") == 1 and found.stderr.strip().count("\n") == 0, found.stderr
    assert "401" in found.stderr and not server.runs
    assert json.loads((tmp_path / "runs" / "mine" / "summary.json").read_text())["status"] == "finished"
    rows = list(read_metrics(tmp_path / "runs" / "mine"))
    assert rows[-1]["step"] >= 1200 and len([row for row in rows if "eval/episodic_return" in row]) > 5
    assert len(list((tmp_path / "runs" / "mine" / "wandb").glob("offline-run-*/*.wandb"))) == 1


@pytest.mark.parametrize("fault", ["refuses", "hangs"])
def test_a_server_that_refuses_or_hangs_delays_the_start_by_less_than_five_seconds(tmp_path, server, fault):
    if fault == "hangs":
        server.fault = lambda what: time.sleep(30.0)
    found = child(tmp_path, server, "-c", START, str(tmp_path / "runs"), fault, key="f" * 40)
    assert float(found.stdout) < 5.0
    if fault == "hangs":
        return
    assert found.stderr.count("warning: wandb is offline") == 1 and found.stderr.count("\n") <= 1, found.stderr
    assert len(list(read_metrics(tmp_path / "runs" / "mine"))) == 60


@pytest.mark.slow
def test_a_server_that_goes_away_costs_one_line_and_no_row_nor_a_minute_of_asking_it_about_artifacts(tmp_path, server):
    """It asked about each artifact without an end, before its time to finish began, and said two lines of its own."""
    server.fault = lambda what: server.stop() if what.endswith("file_stream") else None
    begin = time.monotonic()
    found = train(tmp_path, server, "--name", "mine", start=("-c", BRIEF))
    assert time.monotonic() - begin < 30.0, "it was 60 s"
    assert server.runs and server.stopped
    assert found.stderr.count("warning: wandb has not all results") == 1 and found.stderr.strip().count("\n") == 0
    rows = list(read_metrics(tmp_path / "runs" / "mine"))
    assert rows[-1]["step"] >= 1200 and len([row for row in rows if "eval/episodic_return" in row]) > 5
    assert json.loads((tmp_path / "runs" / "mine" / "summary.json").read_text())["status"] == "finished"


@pytest.mark.slow
def test_a_server_that_refuses_artifacts_gets_every_row_all_the_same(tmp_path, server):
    """The code is sent first, after asking who we are: what went wrong there turned the sink off."""
    server.fault = lambda what: 403 if what == "Viewer" or "Artifact" in what else None
    found = train(tmp_path, server, "--name", "mine")
    assert found.stderr.count("warning: wandb has not all results") == 1 and found.stderr.strip().count("\n") == 0
    [run] = server.runs.values()
    evaluations = [sent(row) for row in local(tmp_path, run)[1] if "eval/episodic_return" in row]
    assert [own(row) for row in server.rows(run) if "eval/episodic_return" in row] == evaluations
    assert run.state == "finished" and not server.artifacts


@pytest.mark.slow
def test_an_offline_run_is_uploaded_later_by_wandb_sync(tmp_path, server):
    train(tmp_path, server, "--name", "mine", mode="offline")
    assert not server.seen
    [folder] = (tmp_path / "runs" / "mine" / "wandb").glob("offline-run-*")
    child(tmp_path, server, "-m", "wandb", "sync", str(folder), cwd=tmp_path)  # it leaves a log where it is called
    assert not server.unknown
    [run] = server.runs.values()
    assert (run.displayName, run.groupName, run.jobType) == ("mine", "CartPole-v1__dqn", "train")
    evaluations = [sent(row) for row in local(tmp_path, run)[1] if "eval/episodic_return" in row]
    assert [own(row) for row in server.rows(run) if "eval/episodic_return" in row] == evaluations
    assert run.summary["status"] == "finished" and run.state == "finished"
    kinds = {artifact.kind for artifact in server.artifacts.values() if server.files(artifact)}
    assert kinds == {"code", "checkpoint", "model"}
