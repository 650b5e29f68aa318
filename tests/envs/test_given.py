"""Environments that a Python caller passes."""

import functools

import gymnasium as gym
import pytest
from counting import Counting

import rlgen
from rlgen import inference
from rlgen.commands import main
from rlgen.envs import given
from rlgen.envs.find import check_env_id
from rlgen.envs.wrap import find_wrappers, wrap
from rlgen.errors import UsageError
from rlgen.runs.rows import read_metrics


@pytest.fixture(autouse=True)
def none_held(monkeypatch):
    monkeypatch.setattr(given, "HELD", {})


def make_counting(start=2):
    return Counting(start=start)


def test_what_can_be_imported_is_known_by_module_and_name(monkeypatch):
    assert given.hold("CartPole-v1") == "CartPole-v1"
    assert given.hold(Counting) == "counting:Counting"
    assert given.hold(make_counting) == f"{__name__}:make_counting"
    monkeypatch.setattr(given, "HELD", {})
    assert check_env_id("counting:Counting").entry_point is Counting, "found by any other process"


def test_what_cannot_has_a_name_of_its_source_and_its_values():
    def make(start):
        return lambda: Counting(start=start)

    names = [given.hold(make(1)), given.hold(make(2)), given.hold(functools.partial(Counting, start=1))]
    assert all(name.startswith("passed:") for name in names) and len({*names}) == 3
    assert given.hold(make(1)) == names[0], "seeds of one group, also of another process"
    assert names[2].startswith("passed:Counting-")
    env = gym.make(check_env_id(names[1]))
    assert env.unwrapped.start == 2


def test_a_process_that_was_not_passed_it_says_what_to_do():
    with pytest.raises(UsageError, match=r"pass it again, as in rlgen.resume\(run, env=make_env\)"):
        check_env_id("passed:make_env-012345")
    given.hold(Counting, "passed:make_env-012345")
    assert check_env_id("passed:make_env-012345").entry_point is Counting


@pytest.mark.parametrize(
    ("env", "line"),
    [
        (Counting(), r"made already.*env=lambda: Counting\(\)"),
        (gym.make("CartPole-v1"), r"made already.*env=lambda: CartPoleEnv\(\)"),
        (5, "env is of type int: pass an id, a class"),
    ],
)
def test_what_makes_no_environment_gets_a_line(env, line):
    with pytest.raises(UsageError, match=line):
        given.hold(env)


def halved(env):
    return gym.wrappers.TransformReward(env, lambda reward: reward / 2)


def test_wrappers_are_known_as_environments_are():
    def make(factor):
        return lambda env: gym.wrappers.TransformReward(env, lambda reward: factor * reward)

    bound = functools.partial(gym.wrappers.TimeLimit, max_episode_steps=7)
    names = given.hold_wrappers([halved, "gymnasium.wrappers:ClipReward(0, 1)", make(2), make(3), bound])
    assert names[:2] == [f"{__name__}:halved", "gymnasium.wrappers:ClipReward(0, 1)"]
    assert all(name.startswith("passed:") for name in names[2:]) and len({*names}) == 5
    assert given.hold_wrappers(make(2)) == names[2:3] and given.hold_wrappers("a:B") == ["a:B"]
    env = wrap(gym.make("CartPole-v1"), find_wrappers(names))
    env.reset(seed=0)
    assert env.step(0)[1] == 3 and type(env.unwrapped).__name__ == "CartPoleEnv", "0.5 of it, times 2, times 3: 3"
    assert [env.step(0)[3] for _ in range(6)][-1], "the limit is one of them"


def test_a_run_with_passed_wrappers_goes_on_where_they_are_passed_again(tmp_path, capsys):
    def doubled(env):
        return gym.wrappers.TransformReward(env, lambda reward: 2 * reward)

    short = {"steps": 60, "learning_starts": 20, "batch_size": 8, "hidden": (8,), "eval_episodes": 1, "quiet": True}
    wrappers = [halved, doubled, doubled]
    how = {"runs_dir": str(tmp_path), "wandb": "disabled", "device": "cpu", "no_preset": True, "name": "mine"}
    run = rlgen.train("dqn", wrapper=wrappers, **short, **how)
    *_, last = read_metrics(run.path)
    assert last["eval/episodic_return"] == 2 * last["eval/episodic_length"]
    given.HELD.clear()
    line = (
        r"wrapper 'passed:doubled-\w+' was passed from Python: pass it again, as in rlgen.resume\(run, wrapper=doubled"
    )
    for lacking in (None, [halved], [doubled, lambda env: env]):
        with pytest.raises(UsageError, match=line if lacking is None else "pass those of the run that were passed"):
            rlgen.resume("mine", str(tmp_path), 90, wrapper=lacking)
    assert main(["resume", "mine", "--steps", "90", "--runs-dir", str(tmp_path)]) == 2
    assert "pass it again" in capsys.readouterr().err
    assert rlgen.resume("mine", str(tmp_path), 90, wrapper=doubled, quiet=True).finished
    given.HELD.clear()
    assert inference.evaluate("mine", str(tmp_path), 1, wrapper=wrappers)["episodic_return"]["mean"] > 2


@pytest.mark.parametrize(
    ("wrapper", "line"),
    [
        (5, "wrapper is of type int; a class, a function of the environment, or text, or a list of these"),
        ([halved, None], "wrapper is of type NoneType"),
        (gym.wrappers.TimeLimit(Counting(), 5), "wrapper is made already: pass what makes it, as TimeLimit"),
    ],
)
def test_what_makes_no_wrapper_gets_a_line(wrapper, line):
    with pytest.raises(UsageError, match=line):
        rlgen.train("dqn", wrapper=wrapper)


def test_a_passed_wrapper_that_lacks_an_argument_says_how_to_bind_it():
    (name,) = given.hold_wrappers(lambda env, size: env)
    with pytest.raises(UsageError, match=r"bind it, as functools.partial\(..., size=...\)"):
        wrap(gym.make("CartPole-v1"), find_wrappers([name]))
