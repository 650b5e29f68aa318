"""The command line from outside: what is printed where, exit codes, and the whole way of an agent and of a model."""

import errno
import json
import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from full_disk import largest_file
from PIL import Image
from synthetic import make_run
from tiny_runs import DQN, TINY

from rlgen import __version__, commands
from rlgen.options import algorithms


def python(code: str) -> list[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()


def test_help_and_listing_do_not_import_torch():
    commands = [
        ["--help"],
        ["train", "--help"],
        ["train", "dqn", "--help"],
        ["train", "vae", "--help"],
        ["eval", "--help"],
        *(["list", what] for what in ("algos", "presets", "envs", "data", "runs")),
        ["train", "dqn", "--lr", "-1"],
        ["train", "dqn", "--env", "CartPol-v1"],
    ]
    code = f"""
import sys
from rlgen.commands import main
for argv in {commands!r}:
    try:
        main(argv)
    except SystemExit:
        pass
    assert not {{"torch", "wandb"}} & set(sys.modules), argv
print("light")
"""
    assert python(code)[-1] == "light"


def test_the_package_is_lazy_and_offers_train_and_load():
    code = """
import sys, rlgen
print("torch" in sys.modules, rlgen.__version__)
print(rlgen.train.__module__, rlgen.load.__module__)
try:
    rlgen.nothing
except AttributeError as error:
    print(error)
"""
    first, second, third = python(code)
    assert first.startswith("False ") and second == "rlgen.experiment rlgen.inference.restore" and "'nothing'" in third


def test_help_names_every_flag_with_its_comment(rlgen):
    code, out, _ = rlgen("train", "dqn", "--help")
    assert code == 0
    for option in algorithms.find("dqn").options:
        assert "--" + option.name.replace("_", "-") in out
    assert "--env" in out and "--seed" in out and "--dry-run" in out and "--data" not in out
    assert all(command in rlgen("--help")[1] for command in commands.listed())
    for word in ("--version", "version", "-V"):
        assert rlgen(word) == (0, f"{__version__}\n", "")
    assert rlgen("help") == rlgen("--help")
    for words in (["train"], ["train", "dqn"], ["show"]):
        assert rlgen("help", *words) == rlgen(*words, "--help")


def test_a_new_command_is_one_new_file(rlgen, tmp_path, monkeypatch):
    (tmp_path / "commands").mkdir()
    (tmp_path / "commands/greet.py").write_text(
        "from dataclasses import dataclass\n\n\n"
        "@dataclass(frozen=True)\nclass Options:\n"
        '    """Greet somebody."""\n\n'
        "    word: str  # who\n"
        "    times: int = 1  # how often; in [1, 3]\n"
        "    json: bool = False  # one JSON document on stdout\n\n\n"
        'def run(options):\n    print("asked")\n'
        '    return {"greeting": " ".join([f"hello {options.word}"] * options.times), "nan": float("nan")}\n'
    )
    monkeypatch.setattr(commands, "__path__", [*commands.__path__, str(tmp_path / "commands")])
    monkeypatch.delitem(sys.modules, "rlgen.commands.greet", raising=False)
    assert "  greet      Greet somebody." in rlgen("--help")[1].splitlines()
    assert "how often; in [1, 3]" in rlgen("greet", "--help")[1]
    code, out, _ = rlgen("greet", "you", "--times", "2")
    assert code == 0 and out.splitlines()[1].split(maxsplit=1) == ["greeting", "hello you hello you"]
    code, out, err = rlgen("greet", "you", "--json")
    assert code == 0 and json.loads(out) == {"greeting": "hello you", "nan": "NaN"} and err == "asked\n"
    assert rlgen("greet", "you", "--times", "4")[2] == "error: --times 4: must be in [1, 3]\n"
    assert rlgen("gret")[2] == "error: unknown command 'gret'. Did you mean greet? See `rlgen --help`\n"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "which command?"),
        (["evla", "x"], "unknown command 'evla'. Did you mean eval?"),
        (["train"], "which algorithm?"),
        (["dqn", "--steps", "9"], "It is an algorithm: rlgen train dqn --steps 9."),
        (["evaluate", "x"], "Did you mean eval?"),
        (["train", "dqn", "CartPole-v1"], "Type: rlgen train dqn --env CartPole-v1"),
        (["train", "vae", "my images"], "Type: rlgen train vae --data 'my images'"),
        (["train", "dqn", "--seeds", "5"], "--seeds 5: type 0:5"),
        (["train", "dqn", "--seeds", "0:2", "--seed", "1"], "--seed 1 with --seeds 0:2: give one of them"),
        (["train", "dqn", "--seeds"], "--seeds"),
        (["fork", "x", "--set", "lr"], "--set lr: type: --set lr=VALUE"),
        (["fork", "x", "--set", "lr", "0.1"], "--set lr: type: --set lr=0.1"),
        (["fork", "x", "--set", "lr=1", "lr=2"], "--set lr=2: lr is given twice"),
        (["fork", "x", "lr=0.1"], "Type: rlgen fork --set lr=0.1"),
        (["fork", "x", "--lr", "0.1"], "--lr: type: --set lr=VALUE"),
        (["resume", "x", "--lr", "0.1"], "rlgen fork RUN --set lr=VALUE"),
        (["show", "x", "y"], "'y' belongs to no flag"),
        (["eval", "x*"], "'x*' fits no run in runs"),
        (["train", "dqnn"], "unknown algorithm 'dqnn'. Did you mean dqn?"),
        (["train", "--steps", "1"], "the algorithm comes before --steps"),
        (
            ["train", "dqn", "--lerning-starts", "1"],
            "--lerning-starts: there is no such option. Did you mean --learning-starts?",
        ),
        (["train", "dqn", "-lr", "1"], "Did you mean --lr?"),
        (["train", "dqn", "--lr"], "Missing value for argument '--lr'"),
        (["train", "dqn", "--lr", "much"], "--lr 'much': must be a number"),
        (["train", "dqn", "--lr", "-1"], "--lr -1.0: must be in (0, inf)"),
        (["train", "dqn", "--hidden", "64", "-5"], "--hidden -5: must be in [1, 65536]"),
        (["train", "dqn", "--n-step", "100000"], "--n-step 100000: must be in [1, 1000]"),
        (["train", "vae", "--batch-size", "1000000000"], "--batch-size 1000000000: must be in [1, 10**6]"),
        (["train", "dqn", "--device", "tpu"], "--device 'tpu': must be one of auto, cpu, cuda"),
        (["train", "dqn", "stray"], "stray"),
        (["train", "dqn", "--steps", "100"], "nothing would be learned"),
        (
            ["train", "dqn", "--seed", "1", "2"],
            "'2' belongs to no flag. --seed takes one value; --seeds takes several.",
        ),
        (["show"], "type: rlgen show RUN. See"),
        (["list"], "type: rlgen list {algos,envs,data,presets,runs}. See"),
        (["list", "run"], "must be one of algos, envs, data, presets, runs. Did you mean runs?"),
        (["--verson"], "unknown command '--verson'. Did you mean --version?"),
        (["diff", "x"], "1 run given, two are compared"),
        (
            ["train", "dqn", "--steps", "300", "--learning-starts", "50", "--train-every", "1000"],
            "--learning-starts 50 + --train-every 1000 with --steps 300: nothing would be learned",
        ),
        (
            ["train", "dqn", "--steps", "300", "--learning-starts", "297"],
            "--learning-starts 297 + --train-every 8 with --steps 300: nothing would be learned",
        ),
        (
            ["train", "double_dqn", "--steps", "700", "--n-step", "100", "--learning-starts", "9"],
            "--n-step 100 * --num-envs 8 + --train-every 8 with --steps 700: nothing would be learned",
        ),
        (
            ["train", "dqn", "--n-step", "300", "--buffer-size", "1000", "--num-envs", "4"],
            "--n-step 300 * --num-envs 4 with --buffer-size 1000: no window of so many steps would fit",
        ),
        (["train", "dqn", "--name", "../x"], "--name '../x': must be"),
        (["train", "dqn", "--data", "digits"], "dqn is an agent"),
        (["train", "vae", "--env", "CartPole-v1"], "vae is generative"),
        (["train", "dqn", "--config", "gone.yaml"], "gone.yaml: No such file"),
        (["train", "dqn", "--env", "CartPol-v1"], "CartPole-v1"),
        (["train", "dqn", "--env", "Pendulum-v1"], "continuous actions"),
        (["train", "vae", "--data", "gone.npz"], "gone.npz"),
        (["train", "dqn", "--runs-dir", "file/runs", *DQN, *TINY], "file/runs"),
        (["eval"], "RUN"),
        (["delete"], "which run? rlgen delete RUN..."),
        (["resume"], "RUN"),
        (["eval", "x", "--episodes", "0"], "--episodes 0: must be in [1, 100000]"),
        (["eval", "x", "--episode", "1"], "Did you mean --episodes?"),
        (["show", "nothing"], "'nothing'"),
        (["list", "nothing"], "what 'nothing': must be one of algos, envs, data, presets, runs"),
        (["sample", "x", "--out", "x.gif"], "--out x.gif: must end in .png"),
        (["sample", "x", "--out", "gone/x.png"], "in a directory that exists"),
    ],
)
def test_a_mistake_is_one_line_on_stderr_and_exit_code_2(rlgen, tmp_path, argv, message):
    (tmp_path / "file").write_text("")
    code, out, err = rlgen(*argv)
    assert code == 2, (out, err)
    assert message in err and err.startswith("error: ") and err.count("\n") == 1
    assert not (tmp_path / "runs").exists(), "a refused run leaves nothing behind"


@pytest.mark.skipif(find_spec("ale_py") is not None, reason="the extra is installed")
def test_a_missing_extra_is_exit_code_3_and_the_install_command(rlgen):
    code, _, err = rlgen("train", "dqn", "--env", "ALE/Pong-v5")
    assert code == 3 and "-m pip install ale-py" in err and err.count("\n") == 1


def test_an_unexpected_error_is_one_line_and_its_traceback_is_shown_on_request(rlgen, monkeypatch):
    from rlgen.commands import show

    monkeypatch.setattr(show, "run", lambda options: 1 / 0)
    code, out, err = rlgen("show", "x")
    assert (code, out) == (1, "") and err.count("\n") == 1
    assert err.startswith(f"error: ZeroDivisionError: division by zero ({__file__}:") and "--traceback" in err
    for words in (("--traceback", "show", "x"), ("show", "--traceback", "x"), ("show", "x", "--traceback")):
        code, _, err = rlgen(*words)
        assert code == 1 and err.startswith("Traceback (most recent call last):") and err.endswith(line_of(err))
        assert line_of(err).startswith("error: ZeroDivisionError: ")


def line_of(err):
    """The last line of what was said."""
    return err.splitlines(keepends=True)[-1]


def test_a_users_mistake_shows_its_traceback_on_request_too(rlgen):
    plain, whole = rlgen("show", "nothing"), rlgen("show", "nothing", "--traceback")
    assert plain[0] == whole[0] == 2 and plain[2].count("\n") == 1
    assert "UsageError" in whole[2] and line_of(whole[2]) == plain[2]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_a_full_disk_nobody_thought_of_is_one_line_and_exit_code_6(rlgen, monkeypatch, code):
    from rlgen.commands import show

    def refused(options):
        raise OSError(code, os.strerror(code), "somewhere")

    monkeypatch.setattr(show, "run", refused)
    found, _, err = rlgen("show", "x")
    assert (found, err) == (6, f"error: cannot write somewhere: {os.strerror(code)}; free space or fix permissions\n")


@pytest.mark.parametrize("unbuffered", ["PYTHONUNBUFFERED=1", "PYTHONUNBUFFERED="])
def test_a_full_disk_behind_stdout_is_one_line_and_exit_code_6(unbuffered):
    command = f"{unbuffered} {sys.executable} -m rlgen completion bash > /dev/full"
    result = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert result.stderr.startswith("error: cannot write what it prints, or a file: No space left on device; free")
    assert result.stderr.count("\n") == 1 and result.returncode == 6


def test_an_error_that_cannot_be_said_has_its_exit_code(rlgen, monkeypatch):
    def full(text):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sys.stderr, "write", full)
    assert commands.main(["show"]) == 2


def test_a_pipe_that_broke_elsewhere_is_an_error(rlgen, monkeypatch):
    from rlgen.commands import show

    def broken(options):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")  # of a worker process, say

    monkeypatch.setattr(show, "run", broken)
    code, _, err = rlgen("show", "x")
    assert code == 1 and err.startswith("error: BrokenPipeError: ") and err.count("\n") == 1


@pytest.mark.parametrize("out", ["x.npz", "x.png"])
def test_samples_are_written_whole_or_not_at_all(rlgen, trained, tmp_path, out):
    words = ("sample", "model", "--num", "64", "--out", out, "--runs-dir", trained)
    with largest_file(1000):
        code, _, err = rlgen(*words)
    assert code == 6 and err.startswith(f"error: cannot write {out}: ") and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
    assert rlgen(*words)[0] == 0


@pytest.mark.parametrize("unbuffered", ["PYTHONUNBUFFERED=1", "PYTHONUNBUFFERED="])
def test_a_closed_pipe_is_no_error(unbuffered):
    command = f"{unbuffered} {sys.executable} -m rlgen list envs | head -n 1"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert result.stderr == "" and result.stdout.startswith("env")


def test_an_agent_all_the_way(rlgen, trained):
    where = ["--runs-dir", trained]
    code, out, _ = rlgen("eval", "agent", "--episodes", "2", "--json", *where)
    result = json.loads(out)["episodic_return"]
    assert code == 0 and len(result["values"]) == 2 and result["mean"] == pytest.approx(np.mean(result["values"]))
    again = json.loads(rlgen("eval", "agent", "--episodes", "2", "--json", *where)[1])["episodic_return"]
    assert again == result, "the same episodes for the same seed"

    code, out, _ = rlgen("show", "agent", "--json", *where)
    shown = json.loads(out)
    assert code == 0 and shown["steps"] == 300 <= shown["step"] == shown["checkpoints"][-1] < 310
    assert shown["config"]["env_id"] == "CartPole-v1" and shown["command"].startswith("rlgen train dqn ")
    assert "charts/episodic_return" in shown["metrics"] and any("rlgen eval" in line for line in shown["commands"])
    assert "rlgen eval" in rlgen("show", "agent", *where)[1]

    code, _, err = rlgen("sample", "agent", "--num", "2", *where)
    assert code == 2 and "agent" in err and err.count("\n") == 1
    code, _, err = rlgen("eval", "agent", "--checkpoint", "77", *where)
    assert code == 4 and err.startswith("error: ") and err.count("\n") == 1

    assert rlgen("resume", "agent", "--steps", "400", *where)[0] == 0
    assert json.loads(rlgen("show", "agent", "--json", *where)[1])["step"] in range(400, 410)


def test_a_generative_model_all_the_way(rlgen, trained, tmp_path):
    where = ["--runs-dir", trained]
    code, out, _ = rlgen("eval", "model", "--json", *where)
    result = json.loads(out)
    assert code == 0 and any(name in result for name in ("nll", "elbo"))

    code, out, _ = rlgen("sample", "model", "--num", "5", "--out", "x.npz", "--seed", "3", *where)
    assert code == 0 and "5 images in x.npz" in out
    images = np.load(tmp_path / "x.npz")["images"]
    assert images.shape == (5, 8, 8, 1) and images.dtype == np.uint8
    assert rlgen("sample", "model", "--num", "5", "--out", "y.npz", "--seed", "3", *where)[0] == 0
    np.testing.assert_array_equal(images, np.load(tmp_path / "y.npz")["images"])

    assert rlgen("sample", "model", "--num", "4", "--out", "x.png", *where)[0] == 0
    assert Image.open(tmp_path / "x.png").size[0] > 16
    assert any("rlgen sample" in line for line in json.loads(rlgen("show", "model", "--json", *where)[1])["commands"])


NOISY = """
import ctypes, os, sys, atexit
import rlgen.commands as commands
from rlgen.commands import show
libc = ctypes.CDLL(None)
def run(options):
    print("python")
    os.write(1, b"descriptor\\n")
    libc.printf(b"buffered by C\\n")
    os.system("echo child")
    return {"answer": 1}
show.run = run
atexit.register(lambda: libc.printf(b"at the end\\n"))
sys.exit(commands.main(["show", "x", "--json"]))
"""


def test_with_json_nothing_but_the_document_reaches_stdout():
    """An environment's native code prints past Python."""
    result = subprocess.run([sys.executable, "-c", NOISY], capture_output=True, text=True)
    assert (result.returncode, json.loads(result.stdout)) == (0, {"answer": 1})
    assert {"python", "descriptor", "buffered by C", "child", "at the end"} <= {*result.stderr.splitlines()}


def test_a_terminal_without_the_characters_gets_question_marks():
    env = os.environ | {"PYTHONIOENCODING": "ascii", "COLUMNS": "80"}
    command = [sys.executable, "-m", "rlgen", "list", "envs", "--sort", "group", "ä"]
    result = subprocess.run(command, capture_output=True, env=env)
    assert result.returncode == 0 and result.stdout == b"none\n", result.stderr
    code = "import sys; from rlgen.commands import main, doctor; doctor.run = lambda o: 'd\\u00efr'; main(['doctor'])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, env=env)
    assert result.stdout == b"d?r\n", result.stderr


def test_the_help_page_fits(rlgen, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert max(map(len, rlgen("--help")[1].splitlines())) <= 80


def test_a_path_that_is_not_ascii_works_where_paths_are_read_as_ascii(tmp_path):
    """LC_ALL=C with Python's UTF-8 mode off."""
    make_run(tmp_path / "läufe", "dqn", 0, final=300.0)
    setting = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    code = "import sys; from rlgen.commands import main; sys.exit(main())"
    words = [sys.executable, "-c", code, "list", "runs", "--runs-dir", "läufe"]
    ran = subprocess.run(words, cwd=tmp_path, env=os.environ | setting, capture_output=True, timeout=60)
    assert ran.returncode == 0 and b"dqn" in ran.stdout, ran.stderr


@pytest.mark.parametrize(("encoding", "word", "again"), [("ascii", "ü", 1), ("ascii", "u", 0), ("utf-8", "ü", 0)])
def test_python_begins_again_only_where_it_has_to(monkeypatch, encoding, word, again):
    started = []
    monkeypatch.setattr(sys, "argv", ["rlgen", "help", word])
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: encoding)
    monkeypatch.setattr(os, "environ", {"HOME": "/"})
    monkeypatch.setattr(os, "getcwd", lambda: "/")
    monkeypatch.setattr(os, "execve", lambda *args: started.append(args))
    commands.use_utf8()
    assert started == [(sys.executable, sys.orig_argv, {"HOME": "/", "PYTHONUTF8": "1"})] * again
