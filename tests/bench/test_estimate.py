"""What a run is expected to cost, on a clock of its own: what is slow once, what every turn takes, what is left out."""

from contextlib import closing
from types import SimpleNamespace

import numpy as np
import pytest
from tiny import tiny

from rlgen import experiment
from rlgen.bench import estimate
from rlgen.bench.estimate import Seconds, Training, time_playing, time_scoring
from rlgen.core.evaluation import EvaluationInterrupted
from rlgen.errors import UsageError
from rlgen.runs import segments


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(estimate, "time", SimpleNamespace(perf_counter=lambda: clock.seconds))
    return clock


class Learning:
    """Updates once it has enough steps; the first ones are slow."""

    def __init__(self, clock, min_added=0, cold=3.0, update=0.01):
        self.clock, self.min_added, self.cold, self.update_seconds = clock, min_added, cold, update
        self.num_updates, self.progress, self.rows_per_turn, self.executor = 0, 0.0, 10, None
        self.device = SimpleNamespace(type="cpu")

    def batches(self, buffer):
        if buffer.num_added > self.min_added:
            yield {}

    def learn(self, batch):
        self.num_updates += 1
        self.clock.seconds += self.update_seconds + (self.cold if self.num_updates == 2 else 0)
        return {}


class Stepping:
    """Ten steps a turn."""

    def __init__(self, clock, step=0.001):
        self.clock, self.step, self.num_added = clock, step, 0
        self.n_step, self.ring = 1, SimpleNamespace(num_envs=10)

    def fill(self, buffer, learner):
        self.num_added += 10
        self.clock.seconds += 10 * self.step
        return 10


def timed(clock, steps, **options):
    source = Stepping(clock)
    learner = Learning(clock, **options)
    return (*Training(learner, source, source, steps).time(), source.num_added, learner)


def test_a_run_that_learns_before_its_time_has_a_whole_window_of_steps(tmp_path, monkeypatch):
    """Where a turn takes long there once were fewer rows than `n_step`, and nothing to draw."""
    monkeypatch.setattr(estimate, "WAIT", 1e-4)
    given = tiny("dqn", tmp_path, num_envs=4, train_every=4, n_step=20, learning_starts=400, steps=800)
    learner, source, buffer = experiment.build(given)
    with closing(source):
        Training(learner, source, buffer, 800).time()
    assert learner.num_updates > 100


def test_what_is_slow_once_is_counted_once(clock):
    found, rate, taken, _ = timed(clock, 100_000)
    assert found.about == pytest.approx(100_000 / 10 * 0.02 + 3.0, rel=0.01) and rate == pytest.approx(500, rel=0.01)
    assert found.low < found.about < found.high < 1.3 * found.about
    assert taken < 5_000, "a few seconds"


def test_steps_before_the_first_update_are_counted_at_their_own_speed(clock):
    found, *_ = timed(clock, 100_000, min_added=2_000)
    assert found.about == pytest.approx(2.0 + 98_000 / 10 * 0.02 + 3.0, rel=0.01)


def test_a_run_that_waits_long_before_it_learns_is_not_waited_for(clock):
    found, _, taken, learner = timed(clock, 100_000, min_added=80_000)
    assert found.about == pytest.approx(80.0 + 20_000 / 10 * 0.02 + 3.0, rel=0.02)
    assert taken < 12_000 and learner.num_updates > 100


def test_a_short_run_is_timed_as_a_whole(clock):
    found, rate, taken, _ = timed(clock, 100)
    assert (taken, found.low, found.high) == (100, found.about, found.about)
    assert found.about == pytest.approx(10 * 0.02 + 3.0) and rate == pytest.approx(100 / 3.2)


def test_what_is_recorded_late_is_no_window(clock):
    learner, source = Learning(clock, cold=0.0), Stepping(clock)
    executor = estimate.Recorded()
    learner.executor = executor
    learn = learner.learn

    def recording(batch):
        if learner.num_updates == 150:
            clock.seconds += 5.0
            executor.refused["loss"] = "it was tried"
        return learn(batch)

    learner.learn = recording
    found, rate = Training(learner, source, source, 100_000).time()
    assert rate == pytest.approx(500, rel=0.01) and found.about == pytest.approx(205, rel=0.01)


def test_evaluations_are_between_episodes_of_no_length_and_the_longest(clock, monkeypatch):
    played = []

    def play(agent, envs, episodes, interrupted):
        played.append(episodes)
        for _ in range(20):
            clock.seconds += 0.01
            if interrupted():
                raise EvaluationInterrupted

    def make_for_play(num_envs, seed):
        clock.seconds += 0.5
        return SimpleNamespace(close=lambda: None)

    monkeypatch.setattr(estimate, "play", play)
    source = SimpleNamespace(
        eval_episodes=100,
        seed=1,
        env_id="CartPole-v1",
        options={},
        eval_max_episode_steps=27_000,
        make_for_play=make_for_play,
    )
    found = time_playing(None, source, 3)
    assert found.low == pytest.approx(3 * 0.5) and found.high == pytest.approx(3 * (0.5 + 2 * 500 * 0.01))
    source.env_id = "CliffWalking-v1"  # which has no limit of its own
    assert time_playing(None, source, 1).high == pytest.approx(0.5 + 2 * 27_000 * 0.01)
    assert time_playing(None, source, 1).about == pytest.approx(0.5 + 2 * 13_500 * 0.01)
    assert time_playing(None, source, 1, 40.0).about == pytest.approx(0.5 + 2 * 40 * 0.01)  # as long as in training
    source.env_id = "CartPole-v1"
    assert time_playing(None, source, 1, 40.0).about == pytest.approx(0.5 + 2 * 250 * 0.01)  # it learns to go on


def test_the_last_evaluation_of_a_model_looks_at_all_images(clock):
    def evaluate(model):
        clock.seconds += 2.0
        return {"eval/nll": 1.0}

    source = SimpleNamespace(evaluate=evaluate, data=SimpleNamespace(test=np.zeros(10_000)))
    found, judged = time_scoring(None, source, 5)
    assert found.about == 5 * 2.0 + 10 * 2.0 and judged == ("eval/nll",)
    source.data.test = np.zeros(800)
    assert time_scoring(None, source, 5)[0].about == 5 * 2.0


def test_seconds_are_added_end_by_end():
    assert Seconds(1, 2, 3) + Seconds(1, 1, 4) == Seconds(2, 3, 7)


@pytest.mark.parametrize("algo", ["dqn", "ppo", "vae"])
def test_an_estimate_of_a_real_run_makes_no_directory(tmp_path, algo):
    found = estimate.estimate(tiny(algo, tmp_path / "runs", steps=300))
    assert found.training.about > 0 and found.parts["total"].high >= found.parts["total"].low > 0
    assert (found.steps, found.evaluations, found.checkpoints) == ({"dqn": 300, "ppo": 320, "vae": 304}[algo], 1, 1)
    assert found.saving.about > 0 and (found.episode == 500 or algo == "vae")
    assert not (tmp_path / "runs").exists()


def test_a_run_that_would_be_refused_has_no_estimate(tmp_path, monkeypatch):
    monkeypatch.setattr("rlgen.runs.preflight.available_memory", lambda device: 1000)
    with pytest.raises(UsageError, match="of memory for the buffer"):
        estimate.estimate(tiny("dqn", tmp_path, steps=300))


def test_memory_is_what_the_process_has_and_what_the_buffer_will_take(monkeypatch):
    monkeypatch.setattr(estimate, "peak", lambda: 1_000_000)
    need = SimpleNamespace(transition=100, transitions=50_000, buffer=5_000_000)
    assert estimate.memory(need, 1_000, buffer_is_here=True) == (5_900_000, 10_900_000)
    assert estimate.memory(need, 1_000, buffer_is_here=False) == (1_000_000, 6_000_000)
    need.buffer = 2**40  # it lies in segments, which are written without a copy
    assert estimate.memory(need, 1_000, buffer_is_here=True) == (5_900_000, 5_900_000 + segments.LARGE)
    nothing = SimpleNamespace(transition=0, transitions=0, buffer=0)
    assert estimate.memory(nothing, 0, buffer_is_here=True) == (1_000_000,) * 2
