"""A file as a user writes it: an environment, a function that makes one, wrappers."""

TEXT = '''
import gymnasium as gym
import numpy as np


class Walk(gym.Env):
    """Walk to the end of a corridor, in `size` steps at least."""

    metadata = {"render_modes": []}

    def __init__(self, size=5, reward=1.0, goal=(0, 1), render_mode=None):
        self.size, self.reward, self.goal = size, reward, goal
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = gym.spaces.Discrete(2)

    def _obs(self):
        return np.array([self.at / self.size, self.size], np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = int(self.np_random.integers(2))
        return self._obs(), {}

    def step(self, action):
        self.at = max(0, self.at + (1 if action else -1))
        over = self.at >= self.size
        return self._obs(), float(self.reward if over else 0), over, False, {"is_success": over}


class Any(Walk):
    def __init__(self, depth=1, **kwargs):
        super().__init__(**kwargs)


class Shift(gym.ObservationWrapper):
    def __init__(self, env, by=0.5, times=1):
        super().__init__(env)
        self.by, self.times = by, times

    def observation(self, obs):
        return np.float32(obs + self.times * self.by)


def twice(env):
    return gym.wrappers.TransformReward(env, lambda reward: 2 * reward)


def no_env(env):
    return 5


def breaks(env):
    raise RuntimeError("no light")


def make_walk(size=3):
    return gym.wrappers.TimeLimit(Walk(size), 30)


made = Walk()
gym.register("OwnWalk-v0", Walk, max_episode_steps=20)
'''
