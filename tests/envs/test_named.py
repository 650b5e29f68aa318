"""Environments and modules by name, from the working directory."""

import subprocess
import sys

import numpy as np
import pytest

from rlgen.envs.find import check_env_id
from rlgen.envs.make import make_envs
from rlgen.envs.named import load_module
from rlgen.errors import UsageError


@pytest.mark.parametrize("vectorization", ["sync", "async"])
@pytest.mark.parametrize(
    ("env_id", "kwargs", "size"),
    [
        ("own_walk:Walk", {"size": 4}, 4),
        ("own_walk:OwnWalk-v0", {"size": 6}, 6),
        ("own_walk:make_walk", None, 3),
        ("own_walk:Any", {"size": 7, "depth": 2}, 7),
        ("pack.sub:Walk", None, 5),
    ],
)
def test_an_environment_of_a_file_here_is_found_and_takes_arguments(make, here, env_id, kwargs, size, vectorization):
    (here / "pack").mkdir()
    (here / "pack/sub.py").write_text("from own_walk import *\n")
    envs = make(env_id, 2, vectorization, try_first=True, env_kwargs=kwargs)
    assert envs.spec.env_id == env_id
    assert (envs.obs[:, 1] == size).all() and (envs.step(np.ones(2, int)).next_obs[:, 1] == size).all()


@pytest.mark.parametrize(
    ("env_id", "hint"),
    [
        ("own_walk:Wlak", r"did you mean Walk\?; .*own_walk.py has: OwnWalk-v0, Walk, Any$"),
        ("own_walk:OwnWalk-v1", "use|newest|did you mean OwnWalk-v0"),
        ("own_walk:Xqzzk", "there is no class and no registered id of that name"),
        ("own_walk:made", "is made already.*name its class, as own_walk:Walk"),
        ("own_wlk:Walk", r"it is not in .*Did you mean own_walk\?.*PYTHONPATH"),
        ("own_walk.py:Walk", "named without .py: own_walk:NAME"),
        ("./own_walk.py:Walk", "named without .py: own_walk:NAME"),
        ("Walk", r"did you mean own_walk:Walk\?"),
        ("own_walk.Walk", r"did you mean own_walk:Walk\?"),
        ("own_walk.py", r"it is a file; name what is in it, as own_walk:Walk$"),
        ("own_walk", r"it is a file; name what is in it, as own_walk:Walk$"),
        ("pack/inner.py", r"it is a file; name what is in it, as pack.inner:NAME$"),
        ("make_walk", r"did you mean own_walk:make_walk\?"),
        (
            "needs:Env",
            r"importing the module 'needs' failed \(ModuleNotFoundError: No module named 'not_here' \(.*needs.py:2\)\)",
        ),
        ("exits:Env", "it asks Python to exit; put what it does when it is run behind"),
    ],
)
def test_what_is_misspelt_gets_a_line(here, env_id, hint):
    (here / "pack").mkdir()
    (here / "pack/inner.py").write_text("from own_walk import *\n")
    (here / "needs.py").write_text("\nimport not_here\n")
    (here / "exits.py").write_text("import argparse\nargparse.ArgumentParser().parse_args(['--no'])\n")
    with pytest.raises(UsageError, match=hint) as error:
        make_envs(env_id, 1)
    assert repr(env_id) in str(error.value) and "\n" not in str(error.value)


def test_a_file_here_comes_first_and_the_path_stays_as_it_was_but_for_its_end(here):
    (here / "colorsys.py").write_text("here = True\n")
    (here / "beside.py").write_text("import colorsys\nfound = colorsys.here\n")
    before, loaded = [*sys.path], sys.modules.pop("colorsys", None)
    try:
        assert load_module("beside", "it").found
    finally:
        sys.modules.pop("colorsys", None)
        if loaded:
            sys.modules["colorsys"] = loaded
    assert sys.path == [*before, str(here)]
    load_module("own_walk", "it")
    assert sys.path == [*before, str(here)], "once"


def test_a_registered_environment_keeps_what_it_is_registered_with(here):
    spec = check_env_id("own_walk:OwnWalk-v0", {"size": 6})
    assert spec.kwargs == {"size": 6} and spec.max_episode_steps == 20
    assert check_env_id("own_walk:OwnWalk-v0").kwargs == {}, "the registry is as it was"


def test_the_console_script_finds_a_file_here(here):
    words = ["train", "dqn", "--env", "own_walk:Walk", "--dry-run", "--max-episode-steps", "9"]
    program = "import sys; from rlgen.commands import main; sys.exit(main(sys.argv[1:]))"
    subprocess.run([sys.executable, "-P", "-c", program, *words], check=True, timeout=100, cwd=here)
