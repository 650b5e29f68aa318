"""Runs of an older version are still read, evaluated, gone on with and forked from.

`fixtures/runs` holds run directories as the version of commit e37e59d wrote them: one of every algorithm, three seeds,
a fork, a run that diverged, one without recorded steps, and three that SIGTERM stopped, each with what the same run
came to when nothing stopped it, NAME.json. `expected.json` is what that version made of them with the commands below.
"""

import hashlib
import json
import shlex
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import golden
import pytest

from rlgen.commands import train

RUNS = golden.ROOT / "tests/fixtures/runs"
REFERENCE = golden.ROOT / "runs/reference"
AGENTS = ("dqn", "double-dqn", "reinforce", "ppo", "ppo-pendulum", "seeds-1", "ppo-fork", "no-graph", "dqn-interrupted")
IMAGES = ("vae", "gan", "vae-interrupted")
INTERRUPTED = ("dqn-interrupted", "dqn-native-interrupted", "vae-interrupted")
OTHERS = ("seeds-0", "seeds-2", "diverged", "dqn-native-interrupted")  # beside those of AGENTS and IMAGES
LONGER = {
    "dqn": 1400,
    "double-dqn": 1400,
    "reinforce": 1536,
    "ppo": 1536,
    "ppo-pendulum": 1536,
    "vae": 6400,
    "gan": 2400,
}

EVALS = [*(f"eval {name} --json --episodes 3" for name in AGENTS), *(f"eval {name} --json" for name in IMAGES)]
EVALS += [
    "eval dqn --json --episodes 3 --checkpoint best --seed 10001",
    "eval ppo --json --episodes 3 --checkpoint 512 --seed 7",
]
SAMPLES = [f"sample {name} --num 9 --seed 3 --out {name}.npz" for name in IMAGES]
READING = [
    "list runs",
    "list runs dqn --json",
    *(f"show {name}" for name in (*AGENTS, *IMAGES, *OTHERS)),
    "show dqn --json",
    "compare",
    "compare dqn double-dqn ppo --json",
    "compare seeds-* no-graph --group graph --out report.html,report.md,report.csv,report.json",
    "compare vae --metric eval/elbo",
    "diff dqn double-dqn",
    "diff ppo ppo-fork --json",
    *EVALS,
    *SAMPLES,
    "sample gan --num 4 --out gan.png",
]
TRAINING = [
    [
        "fork dqn --name forked-dqn --steps 1400 --set lr=1e-3 gamma=0.9",
        "resume dqn-interrupted",
        *(f"resume {name} --steps {LONGER[name]}" for name in ("dqn", "double-dqn", "reinforce")),
    ],
    [
        "fork ppo --name forked-ppo --steps 1536 --checkpoint 512",
        "fork vae --name forked-vae --steps 6400 --set lr=1e-3",
        "resume vae-interrupted",
        "resume dqn-native-interrupted",
        *(f"resume {name} --steps {LONGER[name]}" for name in ("ppo", "ppo-pendulum", "vae", "gan")),
        "resume ppo-fork --steps 2560",
        "resume seeds-2 --steps 700",
        "resume no-graph --steps 700",
    ],
]
PROCESSES = [READING + TRAINING[0], TRAINING[1]]  # what runs in one, in this order; each has a copy of the runs
COMMANDS = [command for commands in PROCESSES for command in commands]


def play(commands: list[str], folder: Path, checkout: Path, python: str) -> dict[str, golden.Result]:
    """Copy the runs to `folder`/runs and do the commands there; how each ended."""
    shutil.copytree(RUNS, folder / "runs")
    results = golden.run_commands([command.split() for command in commands], folder, checkout, python)
    return dict(zip(commands, results, strict=True))


def play_all(folder: Path, checkout: Path, python: str) -> tuple[dict[str, golden.Result], dict[str, Any]]:
    """How each command ended, and what they computed, as expected.json holds it."""
    folders = [folder / str(index) for index in range(len(PROCESSES))]
    with ThreadPoolExecutor(golden.AT_ONCE) as pool:
        parts = list(pool.map(lambda commands, own: play(commands, own, checkout, python), PROCESSES, folders))

    computed: dict[str, Any] = {"evals": {}, "samples": {}, "runs": {}}
    for results, own in zip(parts, folders, strict=True):
        for command, result in results.items():
            words = command.split()
            if result.code:
                continue
            if words[0] == "eval":
                computed["evals"][command] = json.loads(result.out)
            elif words[0] == "sample" and words[-1].endswith(".npz"):
                computed["samples"][command] = image_digest(own / words[-1])
            elif words[0] in ("resume", "fork"):
                name = words[words.index("--name") + 1] if words[0] == "fork" else words[1]
                computed["runs"][name] = golden.summarize(own / "runs" / name)
    return parts[0] | parts[1], computed


def image_digest(file: Path) -> str:
    import numpy as np

    images = np.load(file)["images"]
    return hashlib.sha256(f"{images.dtype} {images.shape} ".encode() + images.tobytes()).hexdigest()[:32]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, golden.Result], dict[str, Any]]:
    return play_all(tmp_path_factory.mktemp("old"), golden.ROOT, sys.executable)


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    """What the version that wrote the runs made of them."""
    value: dict[str, Any] = json.loads((RUNS / "expected.json").read_text(encoding="utf-8"))
    here = golden.fingerprint(golden.ROOT, sys.executable)
    if here != value["fingerprint"]:
        where = golden.differing(value["fingerprint"], here)
        pytest.skip(f"bits depend on machine and versions, and the old runs are from others: {where}")
    return value


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_takes_an_old_run(command: str, played: tuple[dict[str, golden.Result], dict[str, Any]]) -> None:
    result = played[0][command]
    assert "Traceback" not in result.out + result.err, result.err
    assert result.code == 0, result.out + result.err


def test_every_run_is_listed_with_its_state(played: tuple[dict[str, golden.Result], dict[str, Any]]) -> None:
    names = {path.name for path in RUNS.iterdir() if path.is_dir()}
    lines = {line.split()[0]: line for line in played[0]["list runs"].out.splitlines()[1:]}
    assert lines.keys() == names == {*AGENTS, *IMAGES, *OTHERS}
    for name, line in lines.items():
        state = "diverged" if name == "diverged" else "interrupted" if name in INTERRUPTED else "finished"
        assert state in line.replace(name, "", 1), line


@pytest.mark.parametrize("name", INTERRUPTED)
def test_an_interrupted_run_ends_as_if_nothing_had_stopped_it(
    name: str, played: tuple[dict[str, golden.Result], dict[str, Any]], expected: dict[str, Any]
) -> None:
    whole = json.loads((RUNS / f"{name}.json").read_text(encoding="utf-8"))
    assert golden.differences(whole["uninterrupted"], played[1]["runs"][name]) == {}


def test_training_goes_on_as_it_did(
    played: tuple[dict[str, golden.Result], dict[str, Any]], expected: dict[str, Any]
) -> None:
    runs = played[1]["runs"]
    found = {name: golden.differences(summary, runs[name]) for name, summary in expected["runs"].items()}
    assert {name: lines for name, lines in found.items() if lines} == {}
    assert runs.keys() == expected["runs"].keys()


def test_evaluations_and_samples_are_what_they_were(
    played: tuple[dict[str, golden.Result], dict[str, Any]], expected: dict[str, Any]
) -> None:
    says = {"policy": "greedy"}  # which that version left unsaid
    agents = {command: row | says if "episodic_return" in row else row for command, row in expected["evals"].items()}
    assert played[1]["evals"] == agents
    assert played[1]["samples"] == expected["samples"]


@pytest.mark.parametrize("path", sorted(REFERENCE.glob("*-0")), ids=lambda path: path.name)
def test_the_tables_of_readme_are_those_of_todays_defaults(path: Path) -> None:
    """Somebody who types the command of a reference run trains what it trained."""
    saved = json.loads((path / "config.json").read_text())
    today = train.parse(shlex.split(saved["command"])[2:]).resolved.config
    again, before = (json.loads(json.dumps(config)) for config in (today, saved["config"]))
    again |= {name: before[name] for name in ("name", "seed")}  # --seeds gives each its own
    assert {name: again[name] for name in before} == before
