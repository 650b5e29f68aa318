"""wandb's own process may die, hang or be stopped: ours ends all the same, and says nothing more."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from rlgen.runs import wandb_process
from rlgen.runs.wandb_process import Service
from rlgen.runs.wandb_sink import OPTIONAL_SETTINGS, Wandb


@pytest.fixture(autouse=True)
def no_others(monkeypatch):
    """Leave alone what earlier tests of this process have left: a real one of wandb's."""
    children, before = wandb_process.children, wandb_process.children()
    monkeypatch.setattr(wandb_process, "children", lambda: children() - before)


@pytest.fixture
def core(tmp_path, monkeypatch):
    """Start a child that looks like wandb's, which `wandb.teardown` waits for."""
    for name in ("END_SECONDS", "HUNG_SECONDS", "KILLED_SECONDS"):
        monkeypatch.setattr(wandb_process, name, 0.5)
    (tmp_path / "wandb-core").symlink_to(shutil.which("sleep"))
    begun = []

    def start(*signals):
        child = subprocess.Popen([tmp_path / "wandb-core", "60"], start_new_session=True)
        begun.append(child)
        end = time.monotonic() + 10.0
        while child.pid not in wandb_process.children() and time.monotonic() < end:
            time.sleep(0.01)
        for signum in signals:
            child.send_signal(signum)
        return child

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(teardown=lambda: [child.wait() for child in begun]))
    yield start
    for child in begun:
        with contextlib.suppress(OSError):
            child.kill()
        child.wait()


def used():
    """The service after a run of ours."""
    service = Service()
    service.use()
    service.leave(0.0)
    return service


def seconds(call):
    begin = time.monotonic()
    call()
    return time.monotonic() - begin


def test_the_end_comes_within_a_minute_whatever_is_waited_for():
    finish = Wandb.FINISH_SECONDS
    assert finish + wandb_process.HUNG_SECONDS + 2 * wandb_process.KILLED_SECONDS < 55.0
    assert wandb_process.END_SECONDS + wandb_process.KILLED_SECONDS < 50.0, "Python itself takes seconds to end"
    assert OPTIONAL_SETTINGS["finish_timeout"] + Wandb.ARTIFACT_SECONDS < finish, "wandb says first what is missing"


def test_only_children_of_this_process_with_its_name_are_its_own(core, tmp_path):
    assert wandb_process.children() == set()
    child = core()
    other = subprocess.Popen([shutil.which("sleep"), "60"])
    code = f"import subprocess, time; subprocess.Popen(['{tmp_path}/wandb-core', '5']); time.sleep(5)"
    grandchild = subprocess.Popen([sys.executable, "-c", code])
    time.sleep(0.5)
    assert wandb_process.children() == {child.pid}
    for process in (other, grandchild):
        process.kill()
        process.wait()


@pytest.mark.parametrize("signals", [(), (signal.SIGSTOP,), (signal.SIGKILL,)], ids=["hangs", "stopped", "killed"])
def test_when_python_ends_it_is_killed_after_a_time(core, signals):
    service = used()
    child = core(*signals)
    assert seconds(service.exit) < 3.0 and child.wait(5.0) == -signal.SIGKILL
    assert wandb_process.children() == set()


def test_one_that_ends_by_itself_is_not_waited_for_longer(core, monkeypatch):
    monkeypatch.setattr(wandb_process, "END_SECONDS", 60.0)
    service = used()
    child = core(signal.SIGTERM)
    assert seconds(service.exit) < 30.0 and child.wait(5.0) == -signal.SIGTERM


def test_one_that_wandb_has_forgotten_is_killed_too(core, monkeypatch):
    monkeypatch.setattr(sys.modules["wandb"], "teardown", lambda: None)
    service = used()
    child = core(signal.SIGSTOP)
    service.exit()
    assert child.wait(5.0) == -signal.SIGKILL


def test_a_notebooks_own_is_left_alone_unless_it_hangs(core):
    child = core()
    service = used()
    service.exit()
    assert child.poll() is None
    service.give_up()
    assert child.poll() is None and service.hangs(), "the notebook goes on with it"
    service.exit()
    assert child.wait(5.0) == -signal.SIGKILL


def test_ours_is_killed_at_the_end_of_a_run_that_it_did_not_finish_and_forgotten(core):
    service = used()
    child = core(signal.SIGSTOP)
    assert not service.hangs()
    service.give_up()
    assert child.wait(5.0) == -signal.SIGKILL and not service.hangs()
    assert core().poll() is None, "the next one is not taken for it"
    assert not service.hangs()


def test_what_wandb_raises_over_a_dead_process_is_not_shown(core, monkeypatch, capsys):
    for raised in (ConnectionResetError("Connection lost"), AssertionError("Already torn down."), SystemExit(255)):

        def teardown(raised=raised):
            raise raised

        monkeypatch.setattr(sys.modules["wandb"], "teardown", teardown)
        service = used()
        monkeypatch.setattr(wandb_process, "END_SECONDS", 60.0)
        assert seconds(service.exit) < 10.0
    assert capsys.readouterr().err == ""


def test_ctrl_c_while_it_is_waited_for_kills_it_at_once(core, monkeypatch):
    monkeypatch.setattr(wandb_process, "END_SECONDS", 60.0)
    service = used()
    child = core()
    real, waits = service._ended.wait, []

    def wait(limit):
        waits.append(limit)
        if len(waits) == 1:
            raise KeyboardInterrupt
        return real(limit)

    monkeypatch.setattr(service._ended, "wait", wait)
    service.exit()
    assert child.wait(5.0) == -signal.SIGKILL and waits == [60.0, 0.5]


def test_a_fork_ends_at_once_and_without_it(core):
    service = used()
    child = core()
    pid = os.fork()
    if pid == 0:
        os._exit(int(seconds(service.exit) > 0.4))
    assert os.waitpid(pid, 0)[1] == 0 and child.poll() is None


def test_one_of_all_runs_says_that_it_hangs_and_a_later_one_again(core):
    service = Service()
    for _ in range(3):
        service.use()
    core(signal.SIGSTOP)
    assert [service.tell() for _ in range(3)] == [True, False, False]
    for _ in range(3):
        service.leave(0.0)
    service.use()
    assert service.tell()
