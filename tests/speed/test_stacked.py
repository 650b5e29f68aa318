"""Many seeds in one process: each is the run it would have been alone."""

import json
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import ALGORITHMS, GAMES, assert_equal, comparable, those, tiny

from rlgen import experiment, inference
from rlgen.commands import main
from rlgen.core.batch import Batch
from rlgen.core.learner import Learner
from rlgen.core.ring import Tensors
from rlgen.core.step import Eager
from rlgen.errors import DivergedError, InterruptedRunError
from rlgen.nets.networks import mlp
from rlgen.runs.rows import read_metrics
from rlgen.runs.run import Run
from rlgen.speed import recorded, stacked
from rlgen.speed.stacked import Together, stack


@pytest.fixture(autouse=True)
def _record_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "MIN_UPDATES_LEFT", 0)


def learners_of(name: str, tmp_path: Path, num: int, **options: Any) -> list[tuple[Learner, Any, Any]]:
    return [experiment.build(tiny(name, tmp_path, seed=seed, **options)) for seed in range(num)]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *(pytest.param(name, {}, id=name) for name in ALGORITHMS),
        *(pytest.param("gan", options, id=f"gan-{game}", marks=pytest.mark.slow) for game, options in GAMES.items()),
    ],
)
def test_the_same_batches_move_a_stacked_seed_as_one_alone(
    name: str, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacked, "stackable", lambda learner: True)  # as on a GPU, convolutions too
    alone, side_by_side = (learners_of(name, tmp_path, 3, **options) for _ in range(2))
    together = Together(verify=2)
    taken: list[list[Any]] = [[], [], []]

    for seed, (learner, source, buffer) in enumerate(alone):
        learner.executor = Eager()
        while learner.num_updates < 6:
            source.fill(buffer, learner)
            for batch in learner.batches(buffer):
                state = learner.generator.get_state()
                metrics = learner.learn(batch)
                taken[seed].append((batch, state, metrics))

    def body(seed: int) -> int:
        learner = side_by_side[seed][0]
        learner.executor = together
        for batch, state, expected in taken[seed]:
            learner.generator.set_state(state)
            metrics = learner.learn(batch)
            for key, value in expected.items():
                assert torch.allclose(metrics[key], value, rtol=1e-4, atol=1e-5), key
        return seed

    assert together.run([lambda seed=seed: body(seed) for seed in range(3)]) == [0, 1, 2]  # type: ignore[misc]
    assert not together.recorded.refused and together.recorded.recordings, "they were stacked"
    for (one, source, _), (other, other_source, _) in zip(alone, side_by_side, strict=True):
        source.close()
        other_source.close()
        for (key, a), b in zip(one.named_parameters(), other.parameters(), strict=True):
            assert torch.allclose(a, b, atol=1e-5), key


class Errors(Learner):
    """Reports the error of every sample."""

    def __init__(self, seed: int) -> None:
        super().__init__(None)
        torch.manual_seed(seed)
        self.net = mlp([3, 32, 1])
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=1e-2, fused=True)

    def loss(self, nets: Any, batch: Batch) -> tuple[torch.Tensor, Batch]:
        error = nets.net(batch["x"]).squeeze(-1)  # [B]
        return error.square().mean(), {"losses/loss": error.square().mean(), "error": error}

    def update(self, batch: Batch) -> Batch:
        return self.minimize(self.loss, batch, self.optimizer)


def errors_of(seed: int, executor: Any, num: int = 6) -> list[torch.Tensor]:
    """What every sample of so many updates had as its error."""
    learner, generator, found = Errors(seed), torch.Generator().manual_seed(seed), []
    learner.executor = executor
    for _ in range(num):
        metrics = learner.learn({"x": torch.randn(40, 3, generator=generator)})
        assert metrics.keys() == {"losses/loss"} and metrics["losses/loss"].ndim == 0
        assert learner.per_sample.keys() == {"error"} and learner.per_sample["error"].shape == (40,)
        found.append(learner.per_sample["error"].clone())
    return found


def test_values_of_every_sample_are_each_seed_s_own_and_not_in_the_log() -> None:
    together = Together(verify=2)
    side_by_side = together.run([partial(errors_of, seed, together) for seed in range(3)])
    assert not together.recorded.refused and together.recorded.recordings
    for seed, found in enumerate(side_by_side):
        assert isinstance(found, list), found
        for one, other in zip(found, errors_of(seed, Eager()), strict=True):
            assert torch.allclose(one, other, atol=1e-5)


def test_to_check_a_step_changes_no_number() -> None:
    """The eager step that it is compared with rounds otherwise; what goes on is the recorded one."""
    runs = []
    for verify in (0, 50):
        together = Together(verify)
        runs.append(together.run([partial(errors_of, seed, together, 30) for seed in range(3)]))
        assert not together.recorded.refused and together.recorded.recordings
    assert_equal(runs[0], runs[1])


@pytest.mark.gpu
@pytest.mark.parametrize("name", ALGORITHMS)
def test_stacked_seeds_are_graphed_and_verified_on_the_gpu(name: str, tmp_path: Path) -> None:
    """TF32 rounds batched products otherwise than single ones: recorded steps are checked against the same kernels."""
    results = experiment.start_seeds(
        tiny(name, tmp_path, name="many", steps=600, device="cuda", verify_graph=20), range(3), quiet=True
    )
    for run in results.values():
        assert isinstance(run, Run), run
        assert json.loads((run.path / "summary.json").read_text())["status"] == "finished"


def test_batches_that_are_drawn_late_are_stacked_too(tmp_path: Path) -> None:
    """On a GPU every seed's buffer has tensors of its own to draw from; that once kept seeds apart."""
    nouns, together = learners_of("dqn", tmp_path, 2), Together(verify=2)

    def body(learner: Learner, source: Any, buffer: Any) -> None:
        learner.executor, buffer.backend = together, Tensors(learner.generator)
        while learner.num_updates < 20:
            source.fill(buffer, learner)
            for batch in learner.batches(buffer):
                learner.learn(batch)
        source.close()

    assert together.run([partial(body, *each) for each in nouns]) == [None, None]
    assert not together.recorded.refused and not together._alone
    assert [len(key) for key in together.recorded.recordings] == [3]


@pytest.mark.parametrize("name", those("dqn", "rainbow"))
def test_every_seed_has_a_run_of_its_own_that_resumes(name: str, tmp_path: Path) -> None:
    results = experiment.start_seeds(tiny(name, tmp_path, name="many", steps=600), range(3, 6), quiet=True)
    assert list(results) == [3, 4, 5]
    rows = []
    for seed, run in results.items():
        assert isinstance(run, Run)
        assert run.name == f"many-{seed}" and run.config["seed"] == seed
        assert json.loads((run.path / "summary.json").read_text())["status"] == "finished"
        rows.append(comparable(run.path))
        size = (run.path / f"checkpoints/step_{run.saved:09d}/state.pt").stat().st_size
        alone = sum(v.nbytes for v in inference.load(run.path).state_dict().values() if torch.is_tensor(v))
        weights = (run.path / "weights.safetensors").stat().st_size
        assert weights < 2 * alone + 10_000 and size > alone, "a checkpoint holds its own seed alone"
    assert rows[0] != rows[1] != rows[2]
    resumed = experiment.resume("many-4", str(tmp_path), steps=900, quiet=True)
    assert resumed.step >= 900


def test_seeds_learn_as_separate_runs_do(tmp_path: Path) -> None:
    """The first rows, before rounding has grown, are those of runs on their own."""
    results = experiment.start_seeds(tiny("ppo", tmp_path, name="many", steps=320), range(2), quiet=True)
    for seed, run in results.items():
        assert isinstance(run, Run)
        alone = experiment.start(tiny("ppo", tmp_path, name=f"alone-{seed}", seed=seed, steps=320), quiet=True)
        for one, other in zip(comparable(run.path)[:2], comparable(alone.path)[:2], strict=True):
            assert one == pytest.approx(other, rel=1e-3, abs=1e-4)


def test_one_diverged_seed_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    minimize = Learner.minimize

    def doomed(self: Learner, *args: Any, **kwargs: Any) -> Any:
        if self.num_updates == 20 and getattr(self, "doomed", False):
            with torch.no_grad():
                next(self.parameters()).fill_(float("nan"))
        return minimize(self, *args, **kwargs)

    build = experiment.build

    def built(config: dict[str, Any], runs: int) -> Any:
        learner, source, buffer = build(config, runs)
        learner.doomed = config["seed"] == 1
        return learner, source, buffer

    monkeypatch.setattr(experiment, "build", built)
    monkeypatch.setattr(Learner, "minimize", doomed)
    results = experiment.start_seeds(tiny("dqn", tmp_path, name="many"), range(3), quiet=True)
    assert isinstance(results[1], DivergedError)
    for seed in (0, 2):
        run = results[seed]
        assert isinstance(run, Run) and run.step >= 1200
        values = [value for row in read_metrics(run.path) for value in row.values() if isinstance(value, float)]
        assert all(value == value for value in values)
    assert json.loads((tmp_path / "many-1/summary.json").read_text())["status"] == "diverged"


def test_a_signal_stops_every_seed_after_saving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    due = Run.due

    def kill(self: Run, what: Any, last_step: int) -> bool:
        if what == "log" and self.seed == 0 and self.step >= 500 and not self.interrupted:
            os.kill(os.getpid(), signal.SIGTERM)
        return due(self, what, last_step)

    monkeypatch.setattr(Run, "due", kill)
    before = signal.getsignal(signal.SIGTERM)
    results = experiment.start_seeds(tiny("dqn", tmp_path, name="many"), range(3), quiet=True)
    assert signal.getsignal(signal.SIGTERM) == before
    for seed, result in results.items():
        assert isinstance(result, InterruptedRunError)
        assert 400 < Run.open(tmp_path / f"many-{seed}").saved < 700


def test_parameters_are_rows_of_the_stack(tmp_path: Path) -> None:
    learners = [learner for learner, source, _ in learners_of("dqn", tmp_path, 2)]
    values = [[param.clone() for param in learner.parameters()] for learner in learners]
    whole = stack(learners)
    for row, (learner, value) in enumerate(zip(learners, values, strict=True)):
        for (name, param), old in zip(learner.named_parameters(), value, strict=True):
            assert torch.equal(param, old)
            assert param.data_ptr() == whole[name][row].data_ptr()


def test_the_command_trains_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--steps", "300", "--no-preset", "--learning-starts", "50", "--batch-size", "8", "--hidden", "8"]
    flags += ["--wandb", "disabled", "--runs-dir", str(tmp_path), "--eval-episodes", "2"]
    assert main(["train", "dqn", "--seeds", "0:2", *flags]) == 0
    out = capsys.readouterr().out
    assert out.count("finished") >= 2
    assert len(list(tmp_path.glob("CartPole-v1__dqn__*"))) == 2
    assert main(["train", "dqn", "--seeds", "0:2", "--seed", "1", *flags]) == 2
    assert main(["train", "dqn", "--seeds", "nine", *flags]) == 2
