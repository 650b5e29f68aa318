import torch
from toy_runs import losses, quiet


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
    assert transfers == ["__bool__"] * 6  # every 256 updates, of a flag that is on the CPU for long
    transfers.clear()
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
            state, two = two.state_dict("digest"), quiet(run)
            two.load_state_dict(state)
        two.add(losses(value))
    a, b = one.write(1), two.write(1)
    assert (a["losses/td_loss"], a["losses/q_values"]) == (b["losses/td_loss"], b["losses/q_values"])
