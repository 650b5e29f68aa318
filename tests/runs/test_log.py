import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from rlgen.errors import DiskError, DivergedError
from rlgen.runs.log import RunLog
from rlgen.runs.run import read_metrics


def quiet(run):
    return RunLog(run, "disabled", quiet=True)


def losses(value):
    return {"losses/td_loss": torch.tensor(value), "losses/q_values": torch.tensor(2 * value)}


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


def test_adding_waits_for_no_device_and_keeps_few_tensors(run, monkeypatch):
    log, transfers = quiet(run), []
    for name in ("item", "tolist", "cpu", "numpy", "__float__", "__bool__"):
        original = getattr(torch.Tensor, name)
        monkeypatch.setattr(
            torch.Tensor,
            name,
            lambda self, *args, original=original, name=name: (transfers.append(name), original(self, *args))[1],
        )
    for _ in range(2000):
        log.add(losses(1.0))
    assert transfers == []
    assert sum(len(group.rows) for group in log._sums._groups.values()) < 256
    log.write(1)
    assert transfers == ["tolist"]


def test_metrics_that_are_written_over_in_place_are_counted_as_they_were(run):
    log, value = quiet(run), torch.tensor(1.0)
    log.add({"losses/td_loss": value})
    value.fill_(100.0)
    assert log.write(1)["losses/td_loss"] == 1.0


def test_saving_in_the_middle_changes_no_bit(run):
    values = torch.rand(700).tolist()
    one, two = quiet(run), quiet(run)
    for index, value in enumerate(values):
        one.add(losses(value))
        if index in (100, 256, 611):
            state, two = two.state_dict(), quiet(run)
            two.load_state_dict(state)
        two.add(losses(value))
    a, b = one.write(1), two.write(1)
    assert (a["losses/td_loss"], a["losses/q_values"]) == (b["losses/td_loss"], b["losses/q_values"])


def test_time_and_rate_go_on_after_a_resume(run, clock):
    log = quiet(run)
    clock.seconds = 10.0
    assert log.write(100)["charts/SPS"] == 10.0
    state = log.state_dict()
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


def test_every_row_is_on_disk_when_it_is_written(run):
    log = quiet(run)
    log.write(1)
    assert len(list(read_metrics(run.path))) == 1  # without close


def test_a_full_disk_is_a_disk_error(run):
    (run.path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(DiskError, match="No space left"):
        quiet(run).write(1)


def test_pictures_become_files(run):
    log = quiet(run)
    picture = np.full((4, 6, 3), 200, np.uint8)
    row = log.write(50, {"eval/elbo": -90.0, "samples/grid": picture, "samples/grey": picture[..., :1]}, kind="eval")
    assert "samples/grid" not in row
    assert sorted(path.name for path in (run.path / "samples").iterdir()) == [
        "grey_000000050.png",
        "grid_000000050.png",
    ]


def test_summary_says_how_it_ended_and_what_to_do_next(run, capsys):
    log = RunLog(run, "disabled", "eval/episodic_return")
    run.step = run.saved = 1000
    log.write(1000, {"eval/episodic_return": 487.25}, kind="eval")
    log.close()
    log.close()
    out = capsys.readouterr().out
    for text in ("mine: finished", "487.25", f"rlgen eval {run.path}\n", f"rlgen resume {run.path} --steps 2000\n"):
        assert out.count(text) == 1, out
    summary = json.loads((run.path / "summary.json").read_text())
    assert summary["status"] == "finished" and summary["metrics"]["eval/episodic_return"] == 487.25
    quiet(run).close(143)
    assert json.loads((run.path / "summary.json").read_text())["status"] == "interrupted"
    assert capsys.readouterr().out == ""


def test_without_a_terminal_there_is_one_line_early_and_then_one_a_minute(run, clock, capsys):
    log = RunLog(run, "disabled", "eval/episodic_return")
    for clock.seconds in range(200):
        run.step = 5 * clock.seconds
        log.add(losses(1.0))
        if clock.seconds == 3:
            log.write(run.step, {"charts/episodic_return": 21.0})
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4 and "\r" not in "".join(lines)
    assert lines[0] == "step 25 of 1,000 (2%), 5 steps/s, 03:15 left, episodic_return 21"
    assert lines[1].startswith("step 325 of")


def test_on_a_terminal_there_is_a_bar(run, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    log = RunLog(run, "disabled", "eval/episodic_return")
    log.write(100, {"eval/episodic_return": 21.0}, kind="eval")
    run.step, run.saved = 1000, 900
    log.close()
    last = capsys.readouterr().err.split("\r")[-1]
    assert "dqn: 100%" in last and "1.00k/1.00k" in last and "eval/episodic_return 21" in last and "saved 900" in last


def test_quiet_prints_nothing(run, clock, capsys):
    log = quiet(run)
    for clock.seconds in (0, 100, 200):
        log.add(losses(1.0))
    log.close()
    assert capsys.readouterr() == ("", "")


def test_a_video_goes_to_videos_and_to_wandb(run, monkeypatch):
    log = RunLog(run, "disabled", quiet=True)
    sent = []
    monkeypatch.setattr(log._wandb, "image", lambda *args: sent.append(args))
    log.write(50, {"videos/episode": np.zeros((3, 8, 6, 3), np.uint8), "eval/x": 1.0}, kind="eval")
    path = run.path / "videos/episode_000000050.gif"
    assert sent == [(50, "videos/episode", path)]
    with Image.open(path) as gif:
        assert gif.size == (6, 8)
