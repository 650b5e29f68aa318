"""Environments that are closed after the test."""

import pytest

from rlgen.envs.make import make_envs
from rlgen.envs.stream import EnvStream


@pytest.fixture
def make(request):
    """`make_envs` and `EnvStream` whose environments are closed after the test."""

    def make(first, *args, **kwargs):
        made = make_envs(first, *args, **kwargs) if isinstance(first, str) else EnvStream(first, *args, **kwargs)
        request.addfinalizer(made.close)
        return made

    return make
