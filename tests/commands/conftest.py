"""Commands, run in a directory of their own."""

import json
from pathlib import Path

import pytest
from synthetic import make_run
from tiny_runs import DQN, TINY

from rlgen.commands import main


@pytest.fixture
def rlgen(tmp_path, monkeypatch, capsys):
    """Run a command in an empty directory: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*argv: str) -> tuple[int, str, str]:
        try:
            code = main(list(argv))
        except SystemExit as stop:  # a help page
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def four_runs(rlgen, monkeypatch):
    """`rlgen`, beside `runs/` with four runs, on a wide terminal."""
    monkeypatch.setenv("COLUMNS", "200")
    path = make_run(Path("runs"), "dqn", 0, final=300.0)
    set_best(path, "eval/episodic_return", 301.5)
    set_best(make_run(Path("runs"), "dqn", 1, final=30.0, gamma=0.9), "eval/episodic_return", 31.0)
    make_run(Path("runs"), "ppo", 2, reached=20_000, status=None)
    set_best(make_run(Path("runs"), "vae", 3, final=90.0, data="digits"), "eval/nll", 90.25)
    (path / "checkpoints/step_000050000").mkdir(parents=True)
    (path / "checkpoints/step_000050000/state.pt").write_bytes(bytes(3 * 2**20))
    return rlgen


def set_best(path: Path, metric: str, value: float) -> None:
    """Write the best evaluation of a run into its summary."""
    summary = json.loads((path / "summary.json").read_text())
    (path / "summary.json").write_text(
        json.dumps(summary | {"best": {"metric": metric, "value": value, "step": 25_000}})
    )


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A directory with a tiny run of each kind, `agent` and `model`."""
    path = tmp_path_factory.mktemp("lab") / "runs"
    dqn = ["train", "dqn", "--steps", "300", "--name", "agent", "--runs-dir", str(path), *TINY, *DQN]
    vae = ["train", "vae", "--steps", "512", "--name", "model", "--runs-dir", str(path), *TINY]
    assert main(dqn) == 0
    assert main(vae) == 0
    return str(path)
