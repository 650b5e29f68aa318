"""Presets beside the algorithms, and files given with --config."""

import os

import pytest

from rlgen.errors import UsageError
from rlgen.options import algorithms, config
from rlgen.options.files import presets


def test_presets_are_inherited_and_replaced_table_by_table(lab):
    assert config.resolve("child", {}).preset == "agents/alpha.toml [CartPole-v1]"
    (lab / "agents" / "child.toml").write_text('["CartPole-v1"]\nlr = 9.0\n')
    child = config.resolve("child", {})
    assert (child.preset, child.values["lr"]) == ("agents/child.toml [CartPole-v1]", 9.0)
    assert child.values["steps"] == 100_000, "the own table replaces the inherited one, whole"
    assert config.resolve("child", {"env": "Acrobot-v1"}).values["lr"] == 3e-3


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("my.yaml", "lrr: 1\n", r"my\.yaml: lrr: there is no such option\. Did you mean lr\?"),
        ("my.yaml", "lr: -1\n", r"my\.yaml: lr -1\.0: must be in \(0, inf\)"),
        ("my.yaml", "- 1\n", r"my\.yaml must be a table"),
        ("my.yaml", "a: [\n", r"my\.yaml cannot be read"),
        ("my.toml", "lr = \n", r"my\.toml cannot be read"),
        ("my.toml", "batch_size = 2000\n", r"my\.toml: batch_size 2000 with --buffer-size 1000"),
        ("my.toml", "[dqn]\nlr = 1\n", r"my\.toml: dqn: there is no such option"),
        ("my.txt", "lr = 1\n", r"must end in \.toml, \.yaml or \.yml"),
        ("my.toml", None, "No such file"),
        ("my.yaml", "x: 1\n" * 2**17, r"my\.yaml has more than 262,144 bytes"),
        ("my.toml", "# \n" * 2**17, r"my\.toml has more than 262,144 bytes"),
        ("my.yaml", "\xff\n".encode("latin-1"), r"my\.yaml cannot be read: .*0xff"),
    ],
)
def test_bad_files_get_one_line(lab, name, text, message):
    if text is not None:
        (lab / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError, match=message) as caught:
        config.resolve("alpha", {"config": str(lab / name)})
    assert "\n" not in str(caught.value)


def test_yaml_reads_exponents_as_numbers(lab):
    (lab / "my.yaml").write_text("lr: 1e-4\nsteps: 1e6\nhidden: [8, 8]\nalgo: alpha\n")
    values = config.resolve("alpha", {"config": str(lab / "my.yaml")}).values
    assert (values["lr"], values["steps"], values["hidden"]) == (1e-4, 1_000_000, (8, 8))


def test_a_preset_that_holds_more_than_options_is_one_line(lab):
    (lab / "agents/alpha.toml").write_text("# much\n" * 2**16)
    with pytest.raises(UsageError, match=r"alpha\.toml has more than 262,144 bytes"):
        config.resolve("alpha", {})


def test_a_pipe_as_a_file_of_options_holds_nobody_up(lab):
    os.mkfifo(lab / "my.yaml")
    with pytest.raises(UsageError, match=r"my\.yaml: it is not a file"):
        config.resolve("alpha", {"config": str(lab / "my.yaml")})


def test_yaml_that_refers_to_itself_is_one_short_line(lab):
    levels = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30))
    (lab / "my.yaml").write_text(f"a0: &a0 [x, x]\n{levels}lr: *a29\n")
    with pytest.raises(UsageError, match=r"my\.yaml") as caught:
        config.resolve("alpha", {"config": str(lab / "my.yaml")})
    assert len(str(caught.value)) < 400
    (lab / "my.yaml").write_text("lr: &a [*a]\n")
    with pytest.raises(UsageError, match=r"my\.yaml"):
        config.resolve("alpha", {"config": str(lab / "my.yaml")})


def test_a_preset_may_be_of_a_pattern_of_names(lab):
    file = lab / "agents" / "alpha.toml"
    file.write_text(file.read_text() + '["ALE/*"]\nlr = 5e-3\n["ALE/Pong-v5"]\nlr = 6e-3\n')
    found = {
        env: config.resolve("alpha", {"env": env}) for env in ("ALE/Pong-v5", "ALE/Breakout-v5", "ALE", "Ale/X-v5")
    }
    assert [each.values["lr"] for each in found.values()] == [6e-3, 5e-3, 1e-3, 1e-3]
    assert found["ALE/Breakout-v5"].preset == "agents/alpha.toml [ALE/*]" and found["ALE"].preset is None
    assert config.resolve("child", {"env": "ALE/Breakout-v5"}).values["lr"] == 5e-3
    assert config.resolve("alpha", {"env": "ALE/Breakout-v5", "no_preset": True}).preset is None


def test_a_pattern_of_its_own_comes_before_an_inherited_name(lab):
    """An algorithm above another is tuned for all games at once, the other one for this game."""
    base, child = (lab / "agents" / f"{name}.toml" for name in ("alpha", "child"))
    base.write_text('["ALE/Pong-v5"]\nlr = 6e-3\n["ALE/*"]\nlr = 5e-3\n')
    assert config.resolve("child", {"env": "ALE/Pong-v5"}).values["lr"] == 6e-3
    child.write_text('["ALE/*"]\nlr = 4e-3\n')
    assert config.resolve("child", {"env": "ALE/Pong-v5"}).values["lr"] == 4e-3
    assert [*presets(algorithms.find("child"))] == ["ALE/*"], "the other one is out of reach"
    assert config.resolve("alpha", {"env": "ALE/Pong-v5"}).values["lr"] == 6e-3


@pytest.mark.parametrize("algo", ["dqn", "double_dqn", "ppo"])
@pytest.mark.parametrize(
    ("env", "frames", "least"), [("ALE/Pong-v5", 4, 5_000_000), ("MinAtar/Asterix-v1", 1, 500_000)]
)
def test_games_have_settings_of_their_own(algo, env, frames, least):
    found = config.resolve(algo, {"env": env})
    assert found.preset and found.preset.endswith(f"[{env.partition('/')[0]}/*]")
    assert found.values["steps"] >= least and found.values["frame_stack"] == frames
