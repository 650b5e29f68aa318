"""A house with algorithms of its own."""

from pathlib import Path

import pytest

from rlgen.options import algorithms, parsed_module

AGENT = '''"""An agent."""
class Config:
    lr: float = 1e-3  # step size; in (0, inf)
    gamma: float = 0.99  # discount; in [0, 1]
    # at most buffer_size: a batch cannot be larger than the buffer
    batch_size: int = 32  # in [1, inf)
    # fixed: a buffer of another size
    buffer_size: int = 1_000  # in [1, inf)
    # at most buffer_size: learning would never start
    # below steps: nothing would be learned
    learning_starts: int = 100  # in [0, inf)
    hidden: tuple[int, ...] = (64, 64)  # widths, each in [1, 4096]
    mode: Literal["fast", "slow"] = "fast"  # how
    flag: bool = False  # whether
    limit: int | None = None  # most of it; in [1, inf)
    # learning_starts + every at most steps: nothing would be learned
    # num_envs * every + window at most buffer_size: no window would fit
    every: int = 1  # in [1, inf)
    window: int = 1  # in [1, inf)
'''
CHILD = '"""A child."""\nfrom agents import alpha\nclass Config(alpha.Config):\n    flag: bool = True  # whether\n'


@pytest.fixture
def write(tmp_path, monkeypatch):
    """An empty house with the two folders; the function writes an algorithm's file into one."""
    monkeypatch.setattr(parsed_module, "ROOT", tmp_path)
    monkeypatch.setattr(algorithms, "entry_points", lambda group: [])

    def write(name: str, text: str, folder: str = "agents") -> Path:
        (tmp_path / folder).mkdir(exist_ok=True)
        path = tmp_path / folder / f"{name}.py"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def lab(write, tmp_path):
    """A house with two agents, a model, and presets."""
    write("alpha", AGENT)
    write("child", CHILD)
    write("omega", '"""A model."""\nclass Config:\n    lr: float = 0.1  # in (0, 1)\n', "generative")
    (tmp_path / "agents" / "alpha.toml").write_text(
        '["CartPole-v1"]\nlr = 2e-3\nsteps = 50_000\n["Acrobot-v1"]\nlr = 3e-3\nhidden = [32]\n'
    )
    return tmp_path
