"""Runs without an algorithm: a learner, a source and a buffer of a few lines each."""

from types import SimpleNamespace

import torch
from torch import nn

from rlgen.core.learner import Learner
from rlgen.runs.log import RunLog
from rlgen.runs.rows import read_metrics
from rlgen.runs.run import Run

CONFIG = {"algo": "dqn", "exp_name": "dqn", "env_id": "ALE/Pong-v5", "seed": 3, "steps": 1000}


def make_run(tmp_path, name=None, **config):
    return Run.create(tmp_path / "runs", name, CONFIG | config)


class Regression(Learner):
    """Noise in the parameters, the optimizer and two generators: whatever is not restored shows."""

    def __init__(self, width=3):
        super().__init__(SimpleNamespace(batch_size=4))
        self.net = nn.Linear(width, 1)
        self.optimizer = torch.optim.Adam(self.parameters(), 0.01)

    def batches(self, buffer):
        yield buffer.sample(4)

    def update(self, batch):
        def loss(learner, batch):
            noise = torch.randn(4, generator=learner.generator) + torch.randn(4)
            value = (learner.net(batch["obs"]).squeeze(-1) - noise).square().mean()
            return value, {"losses/value_loss": value, "losses/noise": noise.sum()}

        return self.minimize(loss, batch, self.optimizer)


class Counter:
    """A source and its buffer in one: rows that depend on how many there were."""

    restores, restores_why = "exact", ""
    streams = True
    is_allocated = False  # as a buffer: it has no ring

    def __init__(self, scores=()):
        self.count, self.rows, self.scores = 0, [], scores

    def fill(self, buffer, learner):
        self.count += 1
        buffer.rows.append([self.count % 7, 1.0, -1.0])
        return 2

    def sample(self, batch_size):
        return {"obs": torch.tensor(self.rows[-1:]).expand(batch_size, 3)}

    def metrics(self):
        return {"charts/episodic_return": float(self.count)}

    def evaluate(self, learner, final=False, interrupted=None):
        return {"eval/episodic_return": self.scores[self.count // 10 - 1] if self.scores else float(self.count)}

    def mark(self):
        return ()

    def changed_since(self, mark):
        return {}

    def state_dict(self):
        return {"count": self.count, "rows": self.rows}

    def load_state_dict(self, state):
        self.count, self.rows = state["count"], list(state["rows"])
        return True


def parts(seed=1, **options):
    torch.manual_seed(seed)
    return Regression(**options), Counter(), Counter()


def rows_of(run):
    return [{k: v for k, v in row.items() if k not in ("time", "charts/SPS")} for row in read_metrics(run.path)]


def save_at(run, trained, log, step, score=None):
    run.step = step
    better = score is not None and run.improved({"eval/episodic_return": score})
    run.save(*trained, log)
    return better


def quiet(run):
    return RunLog(run, "disabled", quiet=True)


def losses(value):
    return {"losses/td_loss": torch.tensor(value), "losses/q_values": torch.tensor(2 * value)}
