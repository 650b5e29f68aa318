"""Without an account or a network there is one line, soon. wandb itself is asked here."""

import time

import pytest

from rlgen.commands import main


@pytest.mark.parametrize(("key", "words"), [("", "no account"), ("a" * 40, "cannot be reached")])
def test_without_a_key_or_a_network_it_is_one_line_within_five_seconds(key, words, tmp_path, monkeypatch, capsys):
    import wandb

    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", key)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    wandb.teardown()  # its settings are read once
    begin = time.monotonic()
    assert main(["compare", "lab/bench?algo=dqn"]) == 2
    error = capsys.readouterr().err
    assert time.monotonic() - begin < 5.5 and error.count("\n") == 1 and words in error, error
    wandb.teardown()
