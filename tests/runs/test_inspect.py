"""Looking at runs: the table, one run with its curves, the difference of two, completion in the shells."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from synthetic import make_run

from rlgen.commands import completion
from rlgen.commands import main as cli
from rlgen.runs import show as inspect_runs


@pytest.fixture
def rlgen(tmp_path, monkeypatch, capsys):
    """Run a command beside `runs/`, which holds four runs: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    path = make_run(tmp_path / "runs", "dqn", 0, final=300.0)
    best(path, "eval/episodic_return", 301.5)
    best(make_run(tmp_path / "runs", "dqn", 1, final=30.0, gamma=0.9), "eval/episodic_return", 31.0)
    make_run(tmp_path / "runs", "ppo", 2, reached=20_000, status=None)
    best(make_run(tmp_path / "runs", "vae", 3, final=90.0, data="digits"), "eval/nll", 90.25)
    (path / "checkpoints/step_000050000").mkdir(parents=True)
    (path / "checkpoints/step_000050000/state.pt").write_bytes(bytes(3 * 2**20))

    def run(*argv: str) -> tuple[int, str, str]:
        code = cli.main(list(argv))
        out, err = capsys.readouterr()
        return code, out, err

    return run


def best(path: Path, metric: str, value: float) -> None:
    summary = json.loads((path / "summary.json").read_text())
    (path / "summary.json").write_text(
        json.dumps(summary | {"best": {"metric": metric, "value": value, "step": 25_000}})
    )


def change(path: Path, **entries: object) -> None:
    info = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(info | entries))


def test_the_table_has_the_columns_and_reads_well(rlgen):
    code, out, _ = rlgen("list", "runs")
    lines = out.splitlines()
    assert code == 0 and lines[0].split() == list(inspect_runs.COLUMNS) and len(lines) == 5
    assert "301.5 return" in lines[1] and "3.0 MiB" in lines[1] and "finished" in lines[1] and " d " in lines[1]
    assert "20,000 of 50,000" in lines[3] and "stopped" in lines[3] and "90.25 nll" in lines[4]


@pytest.mark.parametrize(
    ("flags", "order"),
    [
        ([], [0, 1, 2, 3]),
        (["--reverse"], [3, 2, 1, 0]),
        (["--sort", "score"], [1, 3, 0, 2]),
        (["--sort", "score", "--reverse"], [0, 3, 1, 2]),  # the run without a score stays last
        (["--sort", "seed", "--reverse"], [3, 2, 1, 0]),
        (["--sort", "algo"], [0, 1, 2, 3]),
        (["--sort", "env/data", "--reverse"], [3, 0, 1, 2]),
        (["--sort", "step"], [2, 0, 1, 3]),
        (["--sort", "size", "--reverse", "dqn"], [0, 1]),
        (["DQN cartpole"], [0, 1]),
        (["stopped"], [2]),
        (["runs"], []),  # the path is no column
    ],
)
def test_the_table_is_sorted_and_filtered(rlgen, flags, order):
    code, out, _ = rlgen("list", "runs", "--json", *flags)
    rows = json.loads(out)
    assert code == 0 and [row["seed"] for row in rows] == order
    for row in rows:
        assert isinstance(row["size"], int) and isinstance(row["age"], int) and row["status"] == row["state"]
    assert len(rlgen("list", "runs", *flags)[1].splitlines()) == (len(order) + 1 if order else 1)


def test_every_list_is_sorted_by_its_own_columns(rlgen):
    rows = json.loads(rlgen("list", "algos", "--sort", "kind", "--reverse", "--json")[1])
    assert [row["kind"] for row in rows] == sorted((row["kind"] for row in rows), reverse=True)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["list", "runs", "--sort", "scor"], "--sort scor: must be one of name, algo, env/data"),
        (["list", "algos", "--sort", "seed"], "--sort seed: must be one of algo, kind"),
        (["diff"], "0 runs given, two are compared: rlgen diff RUN RUN"),
        (["diff", "vae"], "1 runs given"),
        (["diff", "CartPole-v1__dqn__0", "CartPole-v1__dqn__0"], "are the same run"),
        (["diff", "CartPole-v1__dqn__0", "nothing"], "no run 'nothing'"),
        (["completion", "tcsh"], "shell 'tcsh': must be one of bash, zsh, fish"),
    ],
)
def test_a_mistake_is_one_line(rlgen, argv, message):
    code, _, err = rlgen(*argv)
    assert code == 2 and message in err and err.count("\n") == 1


def test_a_damaged_run_is_listed(rlgen):
    change(Path("runs/CartPole-v1__dqn__0"), created="yesterday")
    Path("runs/broken").mkdir()
    Path("runs/broken/config.json").write_text("{")
    for flags in ([], ["--sort", "age"], ["--sort", "seed"]):
        code, out, _ = rlgen("list", "runs", *flags)
        assert code == 0 and "damaged" in out


def test_show_draws_the_curves_and_names_the_last_checkpoint(rlgen):
    code, out, _ = rlgen("show", "CartPole-v1__dqn__0")
    assert code == 0
    curves = out[out.index("curves\n") : out.index("\nmetrics\n")].splitlines()[1:]
    assert len(curves) == inspect_runs.HEIGHT + 2 <= 10
    assert curves[0].split()[0] == "eval/episodic_return" and "█" in curves[0]
    assert curves[-2].split() == ["0", "50,000", "steps"] and curves[-1].split()[0] == "losses/td_loss"
    assert "last_checkpoint" in out and "step_000050000" in out and "3.0 MiB" in out
    shown = json.loads(rlgen("show", "CartPole-v1__dqn__0", "--json")[1])
    assert len(shown["curves"]["eval/episodic_return"]) == 10
    assert shown["curves"]["eval/episodic_return"][-1] == [50_000, pytest.approx(300)]
    assert shown["last_checkpoint"]["step"] == 50_000 and shown["best"]["value"] == 301.5 and shown["lineage"] == []


def test_a_model_and_a_run_that_has_not_begun_are_shown(rlgen):
    out = rlgen("show", "digits__vae__3")[1]
    assert out.index("eval/nll") < out.index("losses/elbo") and "last 90" in out
    path = make_run(Path("runs"), "dqn", 9)
    (path / "metrics.jsonl").write_text("")
    code, out, _ = rlgen("show", path.name)
    assert code == 0 and "curves\nmetrics\n" in out


def test_the_lineage_is_followed_and_a_circle_ends(rlgen):
    first, second, third = (Path(f"runs/CartPole-v1__{name}") for name in ("dqn__0", "dqn__1", "ppo__2"))
    change(third, parent={"run": second.name, "step": 30_000})
    change(second, parent=first.name)
    assert json.loads(rlgen("show", third.name, "--json")[1])["lineage"] == [f"{second.name}@30000", first.name]
    change(first, parent=first.name)
    assert json.loads(rlgen("show", third.name, "--json")[1])["lineage"] == [f"{second.name}@30000", first.name]


def test_a_curve_rises_holds_and_survives_what_is_not_finite(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    line, _, numbers = str(inspect_runs.Curve([(i, i) for i in range(600)], 600)).partition(" ")
    assert len(line) == 60 and (line[0], line[-1]) == ("▁", "█") and list(line) == sorted(line)
    assert numbers == "4.5 to 594.5, last 599"
    assert str(inspect_runs.Curve([(5, 1.0), (10, float("nan"))], 10)).endswith("1 to 1, last nan")
    assert str(inspect_runs.Curve([(5, float("inf"))], 10)) == "no finite value, last inf"
    assert str(inspect_runs.Curve([(0, 1.0), (100, 2.0)], 200)).split(" ")[0].count("▁") == 30, "held in between"
    assert len(inspect_runs.Curve([(i, i) for i in range(2500)], 2500).tolist()) <= 1000
    constant = str(inspect_runs.Curve([(i, 106.9) for i in range(100_000)], 100_000)).split(" ")[0]
    assert len(set(constant)) == 1, "the rounding of means is no curve"
    monkeypatch.setenv("COLUMNS", "80")
    assert len(str(inspect_runs.Curve([(i, i) for i in range(600)], 600)).split(" ")[0]) == 20
    monkeypatch.setattr(sys, "stdout", open(os.devnull, "w", encoding="ascii"))  # noqa: SIM115
    assert str(inspect_runs.Curve([(i, i) for i in range(600)], 600, height=4)).isascii()


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (3 * 2**20, "3.0 MiB"), (2**41, "2048.0 GiB")]
)
def test_sizes_read_well(number, text):
    assert str(inspect_runs.Bytes(number)) == text


def test_diff_names_what_differs_and_nothing_else(rlgen):
    first, second = "CartPole-v1__dqn__0", "CartPole-v1__dqn__1"
    change(Path("runs", second), versions={"python": "3.11.2", "torch": "2.12.0", "gymnasium": "1.4.0"}, wandb_id="x")
    code, out, _ = rlgen("diff", first, second, "--json")
    assert code == 0 and json.loads(out) == [
        {"what": "config.seed", "a": 0, "b": 1},
        {"what": "config.gamma", "a": 0.99, "b": 0.9},
        {"what": "versions.torch", "a": "2.13.0", "b": "2.12.0"},
        {"what": "versions.numpy", "a": "2.4.6", "b": None},
    ]
    lines = rlgen("diff", first, second)[1].splitlines()
    assert lines[0].split() == ["what", first, second] and lines[2].split() == ["config.gamma", "0.99", "0.9"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("rlgen comp", ["compare", "completion"]),
        ("rlgen train doub", ["double_dqn"]),
        ("rlgen train dqn --batch", ["--batch-size"]),
        ("rlgen train dqn --device c", ["cpu", "cuda"]),
        ("rlgen train dqn --device = c", ["cpu", "cuda"]),  # as bash splits --device=c
        ("rlgen train dqn --device=c", ["--device=cpu", "--device=cuda"]),
        ("rlgen train dqn --env Cart", ["CartPole-v1"]),
        ("rlgen train vae --data dig", ["digits"]),
        ("rlgen train dqn --seed 3 --dry", ["--dry-run"]),
        ("rlgen train nothing --", []),
        ("rlgen nothing ", []),
        ("rlgen list al", ["algos"]),
        ("rlgen list runs --sort sc", ["score"]),
        ("rlgen show CartPole-v1__p", ["CartPole-v1__ppo__2"]),
        ("rlgen show digits__vae__3 --j", ["--json"]),
        ("rlgen diff CartPole-v1__dqn__0 dig", ["digits__vae__3"]),
        ("rlgen show --runs-dir elsewhere C", []),
        ("rlgen completion z", ["zsh"]),
    ],
)
def test_what_may_follow_is_offered(rlgen, line, expected):
    assert completion.candidates(line.split(" ")) == expected


def test_completion_and_inspection_import_no_torch(rlgen):
    code = """
import sys
from rlgen.commands.main import main
for line in ("__complete rlgen train dqn --env ", "__complete rlgen train vae --data ", "__complete rlgen show ",
             "completion bash", "list runs", "show last", "diff CartPole-v1__dqn__0 CartPole-v1__dqn__1"):
    assert main(line.split(" ")) == 0
    assert not {"torch", "wandb", "gymnasium"} & set(sys.modules), line
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


BASH = 'COMP_WORDS=(rlgen show digits); COMP_CWORD=2; _rlgen; printf "%s\\n" "${COMPREPLY[@]}"; complete -p rlgen'
ZSH = """compadd() { print -l -- ${(P)2}; }; _files() { print files; }
words=(rlgen show digits); CURRENT=3; _rlgen; words=(rlgen train dqn --config ''); CURRENT=5; _rlgen"""


@pytest.mark.parametrize(
    ("shell", "ask", "expected"),
    [
        (["bash", "--norc", "-c"], BASH, ["digits__vae__3", "complete -o bashdefault -o default -F _rlgen rlgen"]),
        (["zsh", "-f", "-c"], ZSH, ["digits__vae__3", "files"]),
        (["fish", "--no-config", "-c"], 'complete -C "rlgen show digits"', ["digits__vae__3"]),
    ],
    ids=["bash", "zsh", "fish"],
)
def test_the_script_works_in_its_shell(rlgen, tmp_path, shell, ask, expected):
    if shutil.which(shell[0]) is None:
        pytest.skip(f"no {shell[0]} on this machine")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/rlgen").write_text(f'#!/bin/sh\nexec {sys.executable} -m rlgen "$@"\n')
    (tmp_path / "bin/rlgen").chmod(0o755)
    (tmp_path / "script").write_text(rlgen("completion", shell[0])[1])
    before = "compdef() { :; }\n" if shell[0] == "zsh" else ""
    environment = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    result = subprocess.run(
        [*shell, f"{before}source ./script\n{ask}"], capture_output=True, text=True, env=environment, check=True
    )
    assert result.stdout.split("\n")[: len(expected)] == expected and result.stderr == ""
