"""CleanRL's own scripts as a contender, on a stand-in checkout: a few lines with the same flags and reports."""

import json
import time
from contextlib import ExitStack

import pytest

from rlgen.bench.peers import cleanrl
from rlgen.bench.works import WORKS, configure
from rlgen.errors import MissingExtraError, UsageError

HEAD = """import json, sys, threading, time
from cleanrl_utils import own
from pathlib import Path

Path(__file__).with_name("flags.json").write_text(json.dumps(sys.argv[1:]))
"""
DQN = (
    HEAD
    + """
def burn():
    begin = time.thread_time()
    while time.thread_time() - begin < 0.01:
        pass

while time.process_time() < 0.3:  # its start
    pass
for global_step in range(own.STEPS):
    thread = threading.Thread(target=burn)
    thread.start()
    thread.join()
    if global_step % 2 == 0:
        print("SPS:", 1)
if own.BREAKS:
    raise KeyError("final_observation")
"""
)


@pytest.fixture
def checkout(tmp_path):
    """A folder as a clone of CleanRL has it; its script takes so many steps of 10 ms of CPU in another thread."""

    def make(steps=10**6, breaks=False, script=DQN, own=""):
        for name in ("cleanrl", "cleanrl_utils"):
            (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / "cleanrl_utils" / "__init__.py").touch()
        (tmp_path / "cleanrl_utils" / "own.py").write_text(f"{own}\nSTEPS, BREAKS = {steps}, {breaks}\n")
        for name in ("dqn.py", "ppo.py"):
            (tmp_path / "cleanrl" / name).write_text(script)
        return tmp_path

    return make


@pytest.fixture
def start(checkout):
    """The script as a contender."""
    with ExitStack() as stack:

        def make(name="dqn-1env", **options):
            folder = checkout(**options)
            return cleanrl.makers(str(folder), [name])[name](configure(name), WORKS[name], stack)

        yield make


def as_pairs(words):
    pairs, rest = {}, list(words)
    while rest:
        word = rest.pop(0).removeprefix("--")
        pairs[word] = rest.pop(0) if rest and not rest[0].startswith("--") else True
    return pairs


def test_it_stands_beside_ours_in_the_report_and_gets_the_works_hyperparameters(checkout, rlgen):
    folder = checkout()
    code, out, _ = rlgen("--only", "dqn-1env,vae-mlp", "--cleanrl", str(folder), "--json")
    report = json.loads(out)
    assert code == 0 and not report["skipped"] and report["versions"]["CleanRL"]
    rows = {(row["work"], row["contender"]): row for row in report["results"]}
    assert set(rows) == {("dqn-1env", "rlgen"), ("dqn-1env", "CleanRL"), ("vae-mlp", "rlgen")}
    row, config = rows["dqn-1env", "CleanRL"], configure("dqn-1env")
    assert set(row["measures"]) == set(row["cpu"]) == set(row["cpu_ratio"]) == {"us per env step", "us per update"}
    given = as_pairs(json.loads((folder / "cleanrl" / "flags.json").read_text()))
    same = {
        "env-id": "env_id", "seed": "seed", "total-timesteps": "steps", "num-envs": "num_envs", "learning-rate": "lr",
        "gamma": "gamma", "buffer-size": "buffer_size", "batch-size": "batch_size", "tau": "tau",
        "start-e": "epsilon_start",
        "learning-starts": "learning_starts", "train-frequency": "train_every", "end-e": "epsilon_end",
        "target-network-frequency": "target_every", "exploration-fraction": "exploration_fraction",
    }  # fmt: skip
    assert given == {flag: str(config[name]) for flag, name in same.items()} | {"no-cuda": True}


@pytest.mark.parametrize(("name", "num_envs"), [("ppo-4env", 4), ("ppo-64env", 64)])
def test_flags_of_ppo_are_the_works_hyperparameters(name, num_envs):
    config = configure(name)
    given = as_pairs(cleanrl.flags(config))
    rollout = num_envs * int(given["num-steps"])
    assert given["num-envs"] == str(num_envs) and rollout == config["rollout_steps"]
    assert rollout // int(given["num-minibatches"]) == config["batch_size"]
    same = {
        "learning-rate": "lr", "gamma": "gamma", "update-epochs": "num_epochs", "gae-lambda": "gae_lambda",
        "clip-coef": "clip_coef", "ent-coef": "entropy_coef", "vf-coef": "value_coef", "max-grad-norm": "max_grad_norm",
    }  # fmt: skip
    assert {flag: given[flag] for flag in same} == {flag: str(config[name]) for flag, name in same.items()}
    assert config["anneal_lr"] and config["target_kl"] == 0
    assert {"anneal-lr", "norm-adv", "no-clip-vloss", "no-cuda"} <= set(given) and "target-kl" not in given


def test_layers_without_a_flag_are_those_of_the_scripts():
    sizes = {name: configure(name)["hidden"] for name in cleanrl.SCRIPTS}
    assert {name: [*found] for name, found in sizes.items()} == {
        "dqn-1env": [120, 84], "dqn-every-step": [120, 84], "ppo-4env": [64, 64], "ppo-64env": [64, 64],
    }  # fmt: skip


def test_steps_are_timed_between_reports_with_all_threads_and_without_the_start(start):
    block = start()
    steps, wall, cpu = block.worker.ask(0.0)
    assert steps == 2 and wall > 0 and 2 * 0.01 <= cpu < 0.3  # its start took 0.3 s
    costs = block(0.0)
    assert costs["us per env step"].cpu >= 1e4  # of another thread
    assert costs["us per update"].cpu == pytest.approx(10 * costs["us per env step"].cpu)


def test_time_in_which_others_work_is_not_the_scripts(start):
    block = start()
    time.sleep(1.0)
    assert block.worker.ask(0.0)[1] < 1.0


def test_a_script_that_ends_or_breaks_begins_again(start):
    block = start(steps=4, breaks=True)  # reports 0 and 2: one window in a life
    process = block.worker.process
    assert all(block(0.0)["us per env step"].value > 0 for _ in range(2)) and block.worker.process is not process


def test_what_comes_before_the_end_counts(start):
    block = start(steps=6)  # reports 0, 2, 4
    assert block.worker.ask(60.0)[0] == 4 and block.worker.ask(60.0) is None


def test_a_script_that_never_reports_is_left_out_with_its_last_words(checkout, tiny_bench):
    folder = checkout(script=HEAD + "raise KeyError('final_observation')")
    report = tiny_bench(only="dqn-1env", cleanrl=str(folder))
    assert [row["contender"] for row in report["results"]] == ["rlgen"]
    assert report["skipped"]["dqn-1env: CleanRL"].endswith("ended before it learned: KeyError: 'final_observation'")


def test_its_process_ends_with_the_bench(checkout):
    with ExitStack() as stack:
        folder = checkout()
        block = cleanrl.makers(str(folder), ["dqn-1env"])["dqn-1env"](configure("dqn-1env"), WORKS["dqn-1env"], stack)
        assert block.worker.process.poll() is None
    assert block.worker.process.poll() is not None


def test_what_the_scripts_import_and_is_missing_is_one_line(checkout, rlgen):
    folder = checkout(own="import stable_baselines3x, numpy\ntry:\n    import psutilx\nexcept ImportError: pass\n")
    (folder / "cleanrl" / "ppo.py").write_text(
        "from torch.utils.tensorboard import SummaryWriter\nimport nothingx.at\n"
    )
    installed = cleanrl.is_installed("tensorboard")
    with pytest.raises(MissingExtraError) as error:
        cleanrl.makers(str(folder), ["dqn-1env", "ppo-4env"])
    expected = ("stable_baselines3x", *([] if installed else ["tensorboard"]), "nothingx")
    assert error.value.packages == expected
    code, out, err = rlgen("--only", "dqn-1env", "--cleanrl", str(folder))
    assert code == 3 and not out and err.count("\n") == 1 and "pip install stable_baselines3x" in err


def test_a_package_is_named_as_pip_knows_it(checkout, monkeypatch):
    monkeypatch.setattr(cleanrl, "is_installed", lambda name: name != "stable_baselines3")
    folder = checkout(own="from stable_baselines3.common.buffers import ReplayBuffer")
    with pytest.raises(MissingExtraError, match="install stable-baselines3"):
        cleanrl.makers(str(folder), ["dqn-1env"])


def test_what_cannot_be_timed_is_one_line(checkout, rlgen, tmp_path):
    folder = checkout(script="import (")
    assert "cannot read dqn.py" in rlgen("--only", "dqn-1env", "--cleanrl", str(folder))[2]
    for flags in (["--cleanrl", str(tmp_path / "none")], ["--cleanrl", str(folder), "--only", "vae"]):
        code, out, err = rlgen(*flags)
        assert code == 2 and not out and err.count("\n") == 1 and "--cleanrl" in err
    with pytest.raises(UsageError, match=r"no cleanrl/dqn\.py"):
        cleanrl.makers("", ["dqn-1env"])


def test_a_checkout_of_no_git_is_of_an_unknown_commit(checkout):
    assert cleanrl.commit(str(checkout())) == "of an unknown commit"
