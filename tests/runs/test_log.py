import json

import numpy as np
import pytest
import torch
from full_disk import FullDisk
from toy_runs import losses, quiet

from rlgen.errors import DiskError, DivergedError
from rlgen.runs.log import RunLog
from rlgen.runs.rows import read_metrics
from rlgen.video import Clip


def test_a_row_holds_the_means_of_what_was_added_and_what_was_given(run):
    log = quiet(run)
    values = np.random.default_rng(1).normal(size=1000).astype(np.float32)
    for value in values:
        log.add(losses(float(value)))
    log.add({})
    log.add({"losses/td_loss": torch.tensor(7), "losses/kl": torch.tensor(True)})  # other names, other dtypes
    row = log.write(100, {"charts/episodic_return": np.float64(3.5)})
    assert row["losses/td_loss"] == pytest.approx((values.sum(dtype=float) + 7) / 1001)
    assert row["losses/q_values"] == pytest.approx(2 * values.mean(dtype=float), rel=1e-5)
    assert (row["step"], row["losses/kl"], row["charts/episodic_return"]) == (100, 1.0, 3.5)
    assert "losses/td_loss" not in log.write(200)
    log.close()
    assert [row["step"] for row in read_metrics(run.path)] == [100, 200]


def test_an_evaluation_leaves_the_means_to_the_next_training_row(run):
    log = quiet(run)
    log.add(losses(1.0))
    assert log.write(10, {"eval/episodic_return": 9.0}, kind="eval").keys() == {"step", "time", "eval/episodic_return"}
    assert log.write(10)["losses/td_loss"] == 1.0


def test_time_and_rate_go_on_after_a_resume(run, clock):
    log = quiet(run)
    clock.seconds = 10.0
    assert log.write(100)["charts/SPS"] == 10.0
    state = log.state_dict("digest")
    clock.seconds = 5000.0
    log = quiet(run)
    log.load_state_dict(state)
    clock.seconds += 2.0
    row = log.write(200)
    assert (row["time"], row["charts/SPS"]) == (12.0, 50.0)


@pytest.mark.parametrize(
    ("value", "text"), [(float("nan"), "NaN"), (float("inf"), "Infinity"), (-float("inf"), "-Infinity")]
)
def test_a_value_that_is_not_finite_is_written_as_strict_json_and_stops_the_run(run, value, text):
    log = quiet(run)
    log.add(losses(value))
    with pytest.raises(DivergedError, match=r"losses/td_loss is .* at step 30: .*nothing is saved") as caught:
        log.write(30)
    log.close(caught.value.exit_code)

    def refuse(token):
        raise AssertionError(token)

    row = json.loads((run.path / "metrics.jsonl").read_text(), parse_constant=refuse)
    assert row["losses/td_loss"] == text
    assert str(next(read_metrics(run.path))["losses/td_loss"]) == str(value)
    summary = json.loads((run.path / "summary.json").read_text(), parse_constant=refuse)
    assert (summary["status"], summary["metrics"]["losses/td_loss"]) == ("diverged", text)


def test_a_loss_that_is_not_finite_is_noticed_within_a_thousand_updates(run):
    log = quiet(run)
    for _ in range(1234):
        log.add(losses(1.0))
    with pytest.raises(DivergedError, match="losses/td_loss is nan"):
        for _ in range(1000):
            log.add(losses(float("nan")))
    assert str(next(read_metrics(run.path))["losses/td_loss"]) == "nan"


def test_every_row_is_on_disk_when_it_is_written(run):
    log = quiet(run)
    log.write(1)
    assert len(list(read_metrics(run.path))) == 1  # without close


def test_a_full_disk_is_a_disk_error(run):
    log = quiet(run)
    with FullDisk(run.path, first=0), pytest.raises(DiskError, match="No space left"):
        log.write(1)


def test_pictures_become_files(run):
    log = quiet(run)
    picture = np.full((4, 6, 3), 200, np.uint8)
    row = log.write(50, {"eval/elbo": -90.0, "samples/grid": picture, "samples/grey": picture[..., :1]}, kind="eval")
    assert "samples/grid" not in row
    assert sorted(path.name for path in (run.path / "samples").iterdir()) == [
        "grey_000000050.png",
        "grid_000000050.png",
    ]


def test_a_video_goes_to_videos_and_to_wandb(run, monkeypatch):
    log = RunLog(run, "disabled", quiet=True)
    sent = []
    monkeypatch.setattr(log._wandb, "image", lambda *args: sent.append(args))
    log.write(50, {"videos/episode": Clip(b"GIF89a", "gif"), "eval/x": 1.0}, kind="eval")
    path = run.path / "videos/episode_000000050.gif"
    assert sent == [(50, "videos/episode", path)]
    assert path.read_bytes() == b"GIF89a"
    log.write(60, {"videos/episode": None, "eval/x": 1.0}, kind="eval")  # it could not be encoded
    assert [*read_metrics(run.path)][-1]["eval/x"] == 1.0 and len(sent) == 1
