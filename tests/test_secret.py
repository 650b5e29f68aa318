"""What is named like a key, a token, a secret or a password is in no file of a run, and is asked for later."""

import importlib
import json
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from rlgen import inference, secret
from rlgen.commands import main
from rlgen.errors import UsageError
from rlgen.options import algorithms
from rlgen.secret import HIDDEN, command_line, hidden, is_secret, restored, scrubbed

SECRETS = [
    *(
        "api_key",
        "API_KEY",
        "apikey",
        "accessKey",
        "dbPassword",
        "HF_TOKEN",
        "WANDB_API_KEY",
        "PGPASSWORD",
        "MYSQL_PWD",
    ),
    *(
        "AWS_SECRET_ACCESS_KEY",
        "secret",
        "key",
        "ssh_key_path",
        "github-token",
        "password2",
        "CLIENT_SECRETS",
        "passwd",
    ),
]
OTHERS = [
    *(
        "num_keys",
        "max_tokens",
        "tokenizer",
        "TOKENIZERS_PARALLELISM",
        "monkey",
        "PWD",
        "OLDPWD",
        "keyboard",
        "hotkeys",
    ),
    *("keyboard", "keep", "lr", "env_id", "secretary"),
]


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    """Nothing is known of the secrets of other tests."""
    monkeypatch.setattr(secret, "_options", set())


@pytest.mark.parametrize("name", SECRETS)
def test_names_of_secrets(name):
    assert is_secret(name)


@pytest.mark.parametrize("name", OTHERS)
def test_names_of_no_secrets(name):
    assert not is_secret(name)


def test_values_of_such_variables_are_found_in_any_text(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_1234567")
    monkeypatch.setenv("HF_TOKEN_OLD", "hf_1234567_and_more")
    monkeypatch.setenv("SHORT_KEY", "a")
    monkeypatch.setenv("HOSTS", "not-a-secret")
    assert scrubbed("a hf_1234567, hf_1234567_and_more of not-a-secret") == "a ***, *** of not-a-secret"
    assert scrubbed({"lr": 0.1, "data": ["x/hf_1234567", None, True]}) == {"lr": 0.1, "data": ["x/***", None, True]}
    assert scrubbed("https://me:word@host/x git@host") == "https://***@host/x git@host"


def test_entries_of_such_names_are_hidden_all_the_way_down_and_then_in_any_text():
    given = {"api_key": "opensesame", "kwargs": {"token": ["tic-tac-toe", 3], "n": 1}, "token_dim": 5, "password": ""}
    expected = {"api_key": HIDDEN, "kwargs": {"token": [HIDDEN, 3], "n": 1}, "token_dim": 5, "password": ""}
    assert scrubbed(given) == expected and given["api_key"] == "opensesame"
    assert scrubbed("no opensesame for tic-tac-toe") == "no *** for ***"
    assert hidden(HIDDEN) == HIDDEN and scrubbed(expected) == expected


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--api-key", "opensesame", "--lr", "0.1"], "--api-key '***' --lr 0.1"),
        (["--api-key=opensesame", "--lr=0.1"], "'--api-key=***' --lr=0.1"),
        (["--set", "api_key=opensesame", "lr=0.1"], "--set 'api_key=***' lr=0.1"),
        (["--kw", "a=1,token=opensesame,b=2"], "--kw 'a=1,token=***,b=2'"),
        (["--kw", '{"api_key": "opensesame", "b": 2}'], """--kw '{"api_key": "***", "b": 2}'"""),
        (["--use-key", "--lr", "0.1"], "--use-key --lr 0.1"),
        (["--env", "token:Env-v0"], "--env token:Env-v0"),
        (["--name", "my run"], "--name 'my run'"),
    ],
)
def test_a_command_is_shown_without_them(words, shown):
    assert command_line(words) == shown
    if "opensesame" in " ".join(words):
        assert scrubbed("opensesame") == HIDDEN, "nor does another text have it"


def test_they_are_asked_for_in_the_environment(monkeypatch):
    stored = {"lr": 0.1, "api_key": HIDDEN, "kwargs": {"token": HIDDEN, "n": [1]}, "data_dir": f"/home/{HIDDEN}/x"}
    with pytest.raises(UsageError, match=r"api_key is a secret, which no run keeps: set .* RLGEN_SECRET_API_KEY to it"):
        restored(stored)
    monkeypatch.setenv("RLGEN_SECRET_API_KEY", "opensesame")
    monkeypatch.setenv("RLGEN_SECRET_KWARGS_TOKEN", "tic-tac-toe")
    monkeypatch.setenv("RLGEN_SECRET_DATA_DIR", "/home/me/x")
    found = {"lr": 0.1, "api_key": "opensesame", "kwargs": {"token": "tic-tac-toe", "n": [1]}, "data_dir": "/home/me/x"}
    assert restored(stored) == found and stored["api_key"] == HIDDEN
    monkeypatch.setenv("RLGEN_SECRET_TOKEN", "one,two")
    assert restored({"token": [HIDDEN, HIDDEN], "hidden": (1, 2)}) == {"token": ["one", "two"], "hidden": (1, 2)}


PLUGIN = '''"""A variant that asks a service (Author 2001)."""

from dataclasses import dataclass

from generative import vae


@dataclass(frozen=True)
class Config(vae.Config):
    """The VAE's, with a key."""

    api_key: str = ""  # of the service


class Asking(vae.VAE):
    """Keeps the key that it was given."""

    Config = Config
    given: list = []

    def __init__(self, cfg, spec):
        super().__init__(cfg, spec)
        self.given.append(cfg.api_key)

    def update(self, batch):
        if self.num_updates >= 20 and self.cfg.api_key != "another-key":
            raise RuntimeError(f"the service refuses {self.cfg.api_key}")
        return super().update(batch)
'''


@pytest.fixture
def given(tmp_path, monkeypatch):
    """The keys that learners of a plug-in were made with, as they are made."""
    (tmp_path / "asking.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    entry = EntryPoint("asking", "asking", "rlgen.algorithms")
    monkeypatch.setattr(algorithms, "entry_points", lambda group: [entry])
    return importlib.import_module("asking").Asking.given


def test_a_run_of_a_plugin_has_its_secret_in_no_file(given, monkeypatch, capsys):
    secrets = {"MY_SERVICE_TOKEN": "from-the-environment", "OTHER_PASSWORD": "xyzzy-xyzzy"}
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    words = ["train", "asking", "--steps", "640", "--batch-size", "16", "--checkpoint-every", "160", "--name", "mine"]
    words += ["--nll-samples", "2", "--eval-every", "640"]
    words += ["--wandb", "disabled", "--threads", "1", "--api-key", "opensesame"]
    monkeypatch.setattr(sys, "argv", ["rlgen", *words])
    assert main(words) == 1
    assert "the service refuses" in (Path("runs/mine/error.txt")).read_text()
    assert given == ["opensesame"]
    for file in Path("runs").rglob("*"):
        content = file.read_bytes() if file.is_file() else b""
        assert not [text for text in ("opensesame", *secrets.values()) if text.encode() in content], file
    info = json.loads(Path("runs/mine/config.json").read_text())
    assert info["config"]["api_key"] == HIDDEN and "--api-key '***'" in info["command"]

    capsys.readouterr()
    assert main(["resume", "mine"]) == 2
    assert "set the environment variable RLGEN_SECRET_API_KEY" in capsys.readouterr().err
    monkeypatch.setenv("RLGEN_SECRET_API_KEY", "another-key")
    assert main(["resume", "mine"]) == 0 and given[-1] == "another-key"
    assert not Path("runs/mine/error.txt").exists()
    assert "another-key" not in Path("runs/mine/config.json").read_text()
    assert inference.sample("mine", 1).shape[0] == 1
    monkeypatch.delenv("RLGEN_SECRET_API_KEY")
    fork = ["fork", "mine", "--set", "api_key=another-key", "--steps", "672", "--name", "child"]
    assert main(fork) == 0 and given[-1] == "another-key"
    assert "another-key" not in Path("runs/child/config.json").read_text()
