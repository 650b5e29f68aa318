"""What is never pooled, and what makes no difference."""

import json

import pytest
from comparing import by_group, found
from synthetic import change, make_run, without_likelihood

from rlgen.compare.conditions import other_scores, unlearned
from rlgen.options import algorithms
from rlgen.options.config import run_options

NATIVE = {"env_id": "ALE/Pong-v5", "obs_shape": [4, 84, 84], "frame_stack": 4, "frame_padding": "zero"}
SINGLE = {"env_id": "ALE/Pong-v5", "obs_shape": [210, 160, 3], "frame_stack": 1, "frame_padding": "reset"}
PADDED = {"obs_shape": [4, 84, 84], "frame_stack": 4, "frame_padding": "reset"}
CARD = {"frame_skip": 4, "sticky": 0.25, "resize": "84x84 area", "life_loss": False, "ale_py": "0.12.1", "stack": 4}
STANDARD = NATIVE | {"protocol": CARD, "reward_clip": 1.0}
FEWER = {"obs_shape": [2, 84, 84], "frame_stack": 2, "frame_padding": "zero"}


def card(**entries):
    """The spec of a run of the standard task, with other entries in its protocol card."""
    return STANDARD | {"protocol": CARD | entries}


def make_two(runs, one, other, seeds=3, spec=None, other_spec=None):
    """Runs of one algorithm, half of them with other options and another description of the environment."""
    for seed in range(1, seeds + 1):
        algo = "vae" if "data" in one else "dqn"
        change(make_run(runs, algo, seed, final=300.0, **one), spec=spec)
        change(make_run(runs, algo, seed + 10, final=400.0, **other), spec=other_spec)


@pytest.mark.parametrize("group", [[], ["algo"], ["lr"]])
@pytest.mark.parametrize(
    ("one", "other", "spec", "other_spec", "reason"),
    [
        ({"env_id": "LunarLander-v2"}, {"env_id": "LunarLander-v3"}, None, None, "versions of the environment"),
        ({"env_id": "ALE/Pong-v5"}, {"env_id": "PongNoFrameskip-v4"}, None, None, "versions of the environment"),
        (
            {"env_id": "ALE/Pong-v5", "vectorization": "native"},
            {"env_id": "ALE/Pong-v5", "vectorization": "sync"},
            None,
            None,
            "native with clipped rewards",
        ),
        ({"env_id": "ALE/Pong-v5"}, {"env_id": "ALE/Pong-v5"}, NATIVE, SINGLE, "shapes of observations"),
        ({"env_id": "ALE/Pong-v5"}, {"env_id": "ALE/Pong-v5"}, NATIVE, STANDARD, "the standard one, raw frames"),
        *(
            (
                {"env_id": "ALE/Pong-v5"},
                {"env_id": "ALE/Pong-v5"},
                STANDARD,
                card(**entry),
                f"protocol.{next(iter(entry))}",
            )
            for entry in ({"sticky": 0.0}, {"resize": "84x84 area, OpenCV 9"}, {"life_loss": True}, {"ale_py": "0.13"})
        ),
        ({"env_id": "Own-v0"}, {"env_id": "Own-v0"}, FEWER, PADDED, "frames before an episode's first one"),
        ({"env_id": "Own-v0"}, {"env_id": "Own-v0"}, {"num_actions": 2}, {"num_actions": 3}, "numbers of actions"),
        ({"env_id": "Own-v0"}, {"env_id": "Own-v0"}, {"protocol": {"skip": 4}}, {"protocol": {"skip": 2}}, "protocol"),
        ({"data": "a.npz"}, {"data": "a.npz"}, {"sha256": "aa"}, {"sha256": "bb"}, "different data under the name"),
        ({"eval_episodes": 5}, {"eval_episodes": 50}, None, None, "evaluation episodes"),
        ({"env_kwargs": {"size": 3}}, {"env_kwargs": {"size": 4}}, None, None, "env_kwargs={'size':4}"),
        ({}, {"env_kwargs": {"size": 4}}, None, None, "arguments of the environment"),
        ({"eval_env_kwargs": None}, {"eval_env_kwargs": {"size": 4}}, None, None, "of the evaluations' environments"),
        ({}, {"wrapper": ["a:B"]}, None, None, "wrappers"),
        ({"max_episode_steps": 50}, {"max_episode_steps": 100}, None, None, "episode length limit"),
        ({"steps": 20_000}, {"steps": 40_000}, None, None, "step budgets"),
    ],
)
def test_what_differs_in_task_is_never_pooled(runs, one, other, spec, other_spec, reason, group):
    make_two(runs, one, other, spec=spec, other_spec=other_spec)
    (task,) = found(runs, group=group)["tasks"]
    assert [row["runs"] for row in task["groups"]] == [3, 3], [row["group"] for row in task["groups"]]
    assert not task["ranked"] and any(reason in refusal for refusal in task["refusals"]), task["refusals"]


@pytest.mark.parametrize(
    ("spec", "other_spec"),
    [
        (NATIVE, None),  # nothing is known of the other
        (NATIVE, NATIVE | {"num_envs": 8}),
        (NATIVE, FEWER),  # how many frames are stacked is an option of the agent
        (card(stack=4), card(stack=2)),
        ({"num_actions": 2}, {"num_actions": 2, "frame_stack": 1, "frame_padding": "reset"}),  # of an older run
    ],
)
def test_what_is_the_same_task_is_one_group(runs, spec, other_spec):
    make_two(runs, {}, {}, spec=spec, other_spec=other_spec)
    (task,) = found(runs)["tasks"]
    assert [row["runs"] for row in task["groups"]] == [6]


def test_native_and_single_environments_are_one_task_where_their_cards_are_equal(runs):
    ways = [{"env_id": "ALE/Pong-v5", "vectorization": way} for way in ("native", "sync")]
    make_two(runs, *ways, spec=STANDARD, other_spec=STANDARD)
    assert [row["runs"] for row in found(runs)["tasks"][0]["groups"]] == [6]


def test_time_in_the_observation_and_normalisation_are_other_groups_of_the_same_task(runs):
    seen = {"env_id": "Pendulum-v1", "obs_shape": [3], "obs_dtype": "float32"}
    for option in ("time_in_obs", "normalize_obs", "normalize_reward"):
        spec = seen | ({"obs_shape": [4]} if option == "time_in_obs" else {})
        make_two(runs / option, {}, {option: True}, spec=seen, other_spec=spec)
        (task,) = found(runs / option)["tasks"]
        assert [row["runs"] for row in task["groups"]] == [3, 3]
        assert task["ranked"] and not task["refusals"]
        assert {row["group"] for row in task["groups"]} == {f"dqn {option}=False", f"dqn {option}=True"}


def test_native_and_single_environments_are_one_task_outside_atari(runs):
    make_two(runs, {"vectorization": "native"}, {"vectorization": "sync"})
    assert [row["group"] for row in found(runs)["tasks"][0]["groups"]] == ["dqn"]


def test_three_groups_of_a_pooling_by_options_keep_their_tasks_apart(runs):
    for seed in range(1, 4):
        make_run(runs, "dqn", seed, env_id="LunarLander-v2", eval_episodes=5)
        make_run(runs, "dqn", seed, env_id="LunarLander-v3", eval_episodes=5)
        make_run(runs, "dqn", seed, env_id="LunarLander-v3", eval_episodes=50)
    (task,) = found(runs, group=["algo"])["tasks"]
    assert set(by_group(task)) == {
        "dqn env_id=LunarLander-v2",
        "dqn env_id=LunarLander-v3 eval_episodes=5",
        "dqn env_id=LunarLander-v3 eval_episodes=50",
    }


def test_evaluation_options_do_not_divide_scores_of_training(runs):
    make_two(runs, {"eval_episodes": 5}, {"eval_episodes": 50})
    (task,) = found(runs, group=["algo"], metric="charts/episodic_return")["tasks"]
    assert [row["runs"] for row in task["groups"]] == [6]


def test_options_that_change_nothing_that_is_learned_do_not_split_the_seeds(runs):
    others = {"graph": False, "verify_graph": 9, "vectorization": "sync", "device": "cuda", "threads": 3, "keep": 9}
    others |= {"video": True, "checkpoint_minutes": 2.0, "wandb": "online", "wandb_private": True, "step_timeout": 9.0}
    others |= {"wandb_project": "x", "name": "x", "log_every": 9, "checkpoint_every": 9}
    for seed, (name, value) in enumerate(others.items()):
        make_run(runs, "dqn", seed, **{name: value})
    (task,) = found(runs)["tasks"]
    assert [row["runs"] for row in task["groups"]] == [len(others)] and not task["differences"]


def test_every_option_about_watching_and_keeping_a_run_says_that_it_learns_the_same():
    found = unlearned(["dqn"])
    assert {"video", "graph", "verify_graph", "keep", "device", "threads", "runs_dir", "max_memory"} <= found
    assert {name for name in run_options() if name.startswith(("wandb", "log_", "checkpoint_"))} <= found
    assert not {"lr", "steps", "num_envs", "precision", "frame_stack", "eval_episodes", "gamma"} & found


def test_an_algorithm_says_which_of_its_own_options_learn_the_same(runs, tmp_path, monkeypatch):
    from rlgen.options import parsed_module

    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "odd.py").write_text(
        '"""Odd."""\nclass Config:\n    # learns the same\n    chatty: bool = False  # whether it talks\n'
        "    # other scores in eval/: rounds\n    rounds: int = 1  # of an evaluation\n"
    )
    monkeypatch.setattr(parsed_module, "ROOT", tmp_path)
    monkeypatch.setattr(algorithms, "entry_points", lambda group: [])
    for seed in range(3):
        make_run(runs, "odd", seed, chatty=bool(seed % 2), rounds=1 + seed // 2)
    (task,) = found(runs, group=["algo"])["tasks"]
    assert set(by_group(task)) == {"odd rounds=1", "odd rounds=2"}
    assert by_group(task)["odd rounds=1"]["runs"] == 2


def test_options_that_change_what_a_score_means_are_those_of_runs_and_what_algorithms_say():
    found = other_scores(["dqn"])
    assert (found["nll_samples"].prefix, found["nll_samples"].what) == (
        "eval/nll",
        "importance samples behind the NLL",
    )  # says a comment of the VAE
    assert (found["eval_episodes"].prefix, found["eval_episodes"].what) == ("eval/", "evaluation episodes")
    assert not {"lr", "gamma", "latent"} & set(found)


def test_a_run_of_an_algorithm_that_is_not_here_is_compared_all_the_same(runs):
    path = make_run(runs, "elsewhere", 1, video=True)
    make_run(runs, "elsewhere", 2, video=False)
    assert json.loads((path / "config.json").read_text())["config"]["video"]
    assert [row["runs"] for row in found(runs)["tasks"][0]["groups"]] == [2]


def test_a_run_from_before_an_option_did_what_its_default_does(runs):
    for seed in range(1, 4):
        make_run(runs, "vae", seed, data="digits")  # gets today's options when it is read
        make_run(runs, "elsewhere", seed, data="digits")  # no algorithm here, so that nobody knows its options
    (task,) = found(runs)["tasks"]
    assert task["ranked"], task["refusals"]


BOX = {"action_shape": [1], "action_low": [500.0], "action_high": [1000.0]}
CLIPPED = BOX | {"action_rescaled": [False], "action_dtype": "float32"}
RESCALED = BOX | {"action_rescaled": [True], "action_dtype": "float32"}


@pytest.mark.parametrize("other_spec", [BOX, CLIPPED])
@pytest.mark.parametrize("group", [(), ("algo",)])
def test_actions_that_are_rescaled_are_another_task_than_clipped_ones(runs, other_spec, group):
    """Those of a run of before were clipped: its spec does not say so."""
    options = {"rescale_actions": True}, {"rescale_actions": False}
    make_two(runs, *options, spec=RESCALED, other_spec=other_spec)
    (task,) = found(runs, group=group)["tasks"]
    assert [row["runs"] for row in task["groups"]] == [3, 3], [row["group"] for row in task["groups"]]
    assert not task["ranked"] and any("rescaled to their bounds and clipped" in each for each in task["refusals"])


@pytest.mark.parametrize(
    ("spec", "other_spec"),
    [
        (CLIPPED, BOX),  # bounds that are taken as they are: nothing is another
        (CLIPPED, CLIPPED | {"action_dtype": "float64"}),
        (
            {"num_actions": 3, "action_shape": [], "action_low": [-1], "num_choices": [], "action_rescaled": []},
            {"num_actions": 3, "action_shape": [], "action_low": []},
        ),
    ],
)
def test_actions_that_mean_the_same_are_one_group_whatever_wrote_the_run(runs, spec, other_spec):
    make_two(runs, {"rescale_actions": True}, {"rescale_actions": False}, spec=spec, other_spec=other_spec)
    (task,) = found(runs)["tasks"]
    assert [row["runs"] for row in task["groups"]] == [6]


LENET, OTHER = ({"features": "lenet", "sha256": letter * 64, "samples": 2000, "at_end": 10_000} for letter in "ab")


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (LENET, None),
        (OTHER, "different networks of features: gan lenet-bbbbbbbb, vae lenet-aaaaaaaa"),
        (LENET | {"at_end": 5000}, "different numbers of samples: gan 2000/5000, vae 2000/10000"),
        (LENET | {"samples": 1000}, "different numbers of samples: gan 1000/10000, vae 2000/10000"),
    ],
)
def test_scores_of_samples_are_ranked_by_the_same_features_and_as_many_images(runs, other, reason):
    """A model with a likelihood beside one without: their score is the FD."""
    for seed in range(5):
        path = make_run(runs, "vae", seed, data="digits", extra={"eval/fd_lenet": 30.0 + seed})
        change(path, judged=LENET)
        path = make_run(runs, "gan", seed, data="digits", extra={"eval/fd_lenet": 20.0 + seed})
        change(without_likelihood(path), judged=other)
    (task,) = found(runs)["tasks"]
    assert task["metric"] == "eval/fd_lenet"
    assert task["refusals"] == ([] if reason is None else [reason])
    if reason is None:
        assert [row["group"] for row in task["groups"]] == ["gan", "vae"], "the lower is the better"


def test_other_features_do_not_matter_to_a_likelihood(runs):
    for seed in range(5):
        for hidden, judged in ((8, LENET), (9, OTHER)):
            change(make_run(runs, "vae", seed, data="digits", hidden=[hidden]), judged=judged)
    assert found(runs)["tasks"][0]["refusals"] == []


def test_seeds_of_other_features_are_no_group(runs):
    for seed in range(6):
        change(
            make_run(runs, "vae", seed, data="digits", extra={"eval/fd_lenet": 30.0}),
            judged=LENET if seed % 2 else OTHER,
        )
    by_score = {metric: found(runs, metric=metric)["tasks"][0] for metric in ("eval/fd_lenet", "eval/nll")}
    assert len(by_score["eval/fd_lenet"]["groups"]) == 2 and by_score["eval/fd_lenet"]["refusals"]
    assert len(by_score["eval/nll"]["groups"]) == 1
