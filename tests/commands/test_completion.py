"""Completion in the shells."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rlgen.commands import __complete

BASH = 'COMP_WORDS=(rlgen show digits); COMP_CWORD=2; _rlgen; printf "%s\\n" "${COMPREPLY[@]}"; complete -p rlgen'
ZSH = """compadd() { print -l -- ${(P)2}; }; _files() { print files; }
words=(rlgen show digits); CURRENT=3; _rlgen; words=(rlgen train dqn --config ''); CURRENT=5; _rlgen"""


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
        ("rlgen study c", ["create", "compare", "clean"]),
        ("rlgen study create toy --al", ["--algo"]),
        ("rlgen study create toy --algo doub", ["double_dqn"]),
        ("rlgen study create toy --algo dqn --prune m", ["median"]),
        ("rlgen study create toy --algo dqn --env Cart", ["CartPole-v1"]),
        ("rlgen study create toy --algo dqn --buffer", ["--buffer-size"]),
        ("rlgen study create toy --buffer", []),
        ("rlgen study ablate doub", ["double_dqn"]),
        ("rlgen study ablate dqn --n-st", ["--n-step"]),
        ("rlgen study ablate dqn --tun", ["--tune", "--tuning-seeds"]),
        ("rlgen study work --jo", ["--jobs"]),
        ("rlgen study nothing ", []),
    ],
)
def test_what_may_follow_is_offered(four_runs, line, expected):
    assert __complete.candidates(line.split(" ")) == expected


def test_names_of_studies_are_offered(four_runs):
    for name in ("toy", "other"):
        Path("runs/studies", name).mkdir(parents=True)
        Path("runs/studies", name, "study.toml").touch()
    assert __complete.candidates(["rlgen", "study", "show", ""]) == ["other", "toy"]
    assert __complete.candidates(["rlgen", "study", "ablate", "to"]) == ["toy"]


def test_completion_and_inspection_import_no_torch(four_runs):
    code = """
import sys
from rlgen.commands import main
for line in ("__complete rlgen train dqn --env ", "__complete rlgen train vae --data ", "__complete rlgen show ",
             "__complete rlgen study ablate dqn --",
             "completion bash", "list runs", "show last", "diff CartPole-v1__dqn__0 CartPole-v1__dqn__1"):
    assert main(line.split(" ")) == 0
    assert not {"torch", "wandb", "gymnasium"} & set(sys.modules), line
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("shell", "ask", "expected"),
    [
        (["bash", "--norc", "-c"], BASH, ["digits__vae__3", "complete -o bashdefault -o default -F _rlgen rlgen"]),
        (["zsh", "-f", "-c"], ZSH, ["digits__vae__3", "files"]),
        (["fish", "--no-config", "-c"], 'complete -C "rlgen show digits"', ["digits__vae__3"]),
    ],
    ids=["bash", "zsh", "fish"],
)
def test_the_script_works_in_its_shell(four_runs, tmp_path, shell, ask, expected):
    if shutil.which(shell[0]) is None:
        pytest.skip(f"no {shell[0]} on this machine")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/rlgen").write_text(f'#!/bin/sh\nexec {sys.executable} -m rlgen "$@"\n')
    (tmp_path / "bin/rlgen").chmod(0o755)
    (tmp_path / "script").write_text(four_runs("completion", shell[0])[1])
    before = "compdef() { :; }\n" if shell[0] == "zsh" else ""
    environment = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    result = subprocess.run(
        [*shell, f"{before}source ./script\n{ask}"], capture_output=True, text=True, env=environment, check=True
    )
    assert result.stdout.split("\n")[: len(expected)] == expected and result.stderr == ""
