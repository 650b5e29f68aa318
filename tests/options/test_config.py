"""Layers, origins, defaults, and what is refused before anything runs."""

import dataclasses

import pytest
from gymnasium.spaces import Box
from specs import spec_of

from rlgen.data.images import ImageSpec
from rlgen.errors import UsageError
from rlgen.options import algorithms, config
from rlgen.options.files import presets


def test_layers_and_where_each_value_is_from(lab):
    file = lab / "my.yaml"
    file.write_text("gamma: 0.5\nbatch_size: 16\n")
    resolved = config.resolve("alpha", {"config": str(file), "batch_size": 8})
    values, origin = resolved.values, resolved.origin
    assert (values["seed"], origin["seed"]) == (1, "default")
    assert (values["lr"], origin["lr"]) == (2e-3, "preset")
    assert (values["gamma"], origin["gamma"]) == (0.5, "file")
    assert (values["batch_size"], origin["batch_size"]) == (8, "flag")
    assert resolved.preset == "agents/alpha.toml [CartPole-v1]"
    assert config.resolve("alpha", {"lr": 1.0}).values["lr"] == 1.0, "a flag wins over the preset"


def test_the_preset_is_that_of_the_environment(lab):
    acrobot = config.resolve("alpha", {"env": "Acrobot-v1"})
    assert (acrobot.values["lr"], acrobot.values["hidden"], acrobot.values["steps"]) == (3e-3, (32,), 100_000)
    assert config.resolve("alpha", {"env": "Taxi-v4"}).preset is None
    assert config.resolve("alpha", {"no_preset": True}).values["lr"] == 1e-3
    file = lab / "env.toml"
    file.write_text('env = "Acrobot-v1"\n')
    assert config.resolve("alpha", {"config": str(file)}).preset == "agents/alpha.toml [Acrobot-v1]"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"env": "ALE/Pong-v5"}, 4),
        ({"env": "ale_py:PongNoFrameskip-v4", "atari": "life-loss"}, 4),
        ({"env": "ALE/Pong-v5", "frame_stack": 1}, 1),
        ({"env": "ALE/Pong-v5", "atari": "raw"}, 1),
        ({"env": "CartPole-v1"}, 1),
    ],
)
def test_frames_are_stacked_where_atari_is_the_standard_task(lab, given, expected):
    assert config.resolve("alpha", given).config["frame_stack"] == expected
    assert "frame_stack" not in config.resolve("omega", {}).config


def test_defaults_of_the_two_kinds(lab):
    agent, model = config.resolve("alpha", {"no_preset": True}).config, config.resolve("omega", {}).config
    assert (agent["algo"], agent["exp_name"], agent["env_id"], agent["steps"]) == (
        "alpha",
        "alpha",
        "CartPole-v1",
        100_000,
    )
    assert (model["data"], model["steps"]) == ("digits", 600_000)
    assert "data" not in agent and "env_id" not in model and "num_envs" not in model
    assert (agent["log_every"], agent["eval_every"], agent["checkpoint_every"]) == (500, 10_000, 10_000)
    assert config.resolve("omega", {"steps": 3}).config["log_every"] == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lr": 0}, r"--lr 0\.0: must be in \(0, inf\)"),
        ({"lr": -1}, r"--lr -1\.0: must be in \(0, inf\)"),
        ({"lr": float("inf")}, r"--lr inf: must be in"),
        ({"lr": float("nan")}, "--lr nan: must be a number"),
        ({"lr": "fast"}, "--lr 'fast': must be a number"),
        ({"lr": True}, "--lr True: must be a number"),
        ({"gamma": 1.01}, r"--gamma 1\.01: must be in \[0, 1\]"),
        ({"batch_size": 0}, r"--batch-size 0: must be in \[1, inf\)"),
        ({"batch_size": 1.5}, r"--batch-size 1\.5: must be a whole number$"),
        ({"frame_stack": "none"}, r"--frame-stack 'none': must be a whole number, or None$"),
        ({"hidden": [64, 0]}, r"--hidden 0: must be in \[1, 4096\]"),
        ({"hidden": 64}, "--hidden 64: must be a list, each a whole number"),
        ({"mode": "medium"}, "--mode 'medium': must be one of fast, slow"),
        ({"flag": "yes"}, "--flag 'yes': must be true or false"),
        ({"seed": -1}, r"--seed -1: must be in \[0, 2\*\*63\)"),
        ({"seed": 2**63}, r"--seed 9223372036854775808: must be in"),
        ({"steps": 0}, "--steps 0: must be in"),
        ({"steps": 10**30}, "--steps 10+: must be in"),
        ({"num_envs": 10**9}, "--num-envs 1000000000: must be in"),
        ({"name": "a/b"}, "--name 'a/b': must be"),
        ({"name": ".."}, "--name '..': must be"),
        ({"name": "last"}, "--name 'last': must be"),
        ({"name": "x" * 81}, "--name 'x+': must be"),
        ({"batch_size": 64, "buffer_size": 32}, "--batch-size 64 with --buffer-size 32"),
        ({"learning_starts": 2_000}, "--learning-starts 2000 with --buffer-size 1000"),
        ({"steps": 100}, "--learning-starts 100 with --steps 100: nothing would be learned"),
        ({"num_envs": 500, "steps": 200}, "--num-envs 500 with --steps 200"),
        ({"lrr": 1}, r"--lrr: there is no such option\. Did you mean --lr\?"),
        ({"batchsize": 1}, r"Did you mean --batch-size\?"),
        ({"data": "digits"}, "--data: alpha is an agent"),
    ],
)
def test_bad_values_get_one_line_that_names_them(lab, given, message):
    with pytest.raises(UsageError, match=message) as caught:
        config.resolve("alpha", given)
    assert "\n" not in str(caught.value)


def test_an_environment_for_a_generative_model_is_refused(lab):
    with pytest.raises(UsageError, match="--env: omega is generative: it learns from images, --data NAME"):
        config.resolve("omega", {"env": "CartPole-v1"})


def test_an_option_that_every_run_has_cannot_be_an_algorithms(lab):
    (lab / "agents" / "clash.py").write_text('"""C."""\nclass Config:\n    seed: int = 1  # mine\n')
    with pytest.raises(UsageError, match=r"Config\.seed is already an option of every run"):
        config.resolve("clash", {})


def test_algorithm_config_takes_a_configuration_read_from_json():
    @dataclasses.dataclass(frozen=True)
    class Config:
        lr: float = 1.0
        hidden: tuple[int, ...] = (1,)

    learner = type("Learner", (), {"Config": Config})
    assert config.algorithm_config(learner, {"lr": 2.0, "hidden": [3, 4], "algo": "x"}) == Config(2.0, (3, 4))


@pytest.mark.parametrize("name", algorithms.names())
def test_every_algorithm_starts_with_every_preset(name):
    """Those that it inherits as well: an option of one agent may have no meaning in another."""
    algorithm, learner = algorithms.find(name), algorithms.load(name)
    target = "env" if algorithm.kind == "agent" else "data"
    spec = spec_of(Box(-1, 1, (4,))) if algorithm.kind == "agent" else ImageSpec((1, 8, 8), 10)
    config.resolve(name, {"no_preset": True})
    for key in presets(algorithm):
        resolved = config.resolve(name, {target: key})
        assert resolved.preset
        learner(config.algorithm_config(learner, resolved.values), spec)


@pytest.mark.parametrize(
    ("algo", "option"), [("gan", "norm"), ("gan", "activation"), ("vae", "cnn_depth"), ("vae", "cnn_width")]
)
def test_a_shared_option_that_an_algorithm_does_not_take_is_refused_by_its_name(algo, option):
    with pytest.raises(UsageError, match=rf"--{option.replace('_', '-')}: {algo} does not take it"):
        config.resolve(algo, {option: "layer"})


def test_every_algorithm_takes_an_optimizer():
    for algo in algorithms.own_modules():
        values = config.resolve(algo, {"optimizer": "sgd", "momentum": "0.9", "weight_decay": "1e-2"}).values
        assert (values["optimizer"], values["momentum"], values["weight_decay"]) == ("sgd", 0.9, 0.01)


def test_a_fork_has_no_options_that_its_algorithm_has_not():
    for name, target in (("dqn", {"env": "CartPole-v1"}), ("vae", {"data": "digits"})):
        before = config.resolve(name, target).config
        assert config.changed(before, {"steps": 10**6}).keys() == before.keys()
