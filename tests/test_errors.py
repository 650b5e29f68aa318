"""Errors that a user can act on."""

import importlib.util
import sys

import pytest
import torch

from rlgen import commands
from rlgen.errors import UsageError, install, is_out_of_memory, one_line

WORDS = [
    "CUDA out of memory. Tried to allocate 2.00 GiB",
    "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate",
    "[enforce fail] data. DefaultCPUAllocator: not enough memory: you tried to allocate 800 bytes.",
    "std::bad_alloc",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "Cannot allocate memory (12)",
]


@pytest.mark.parametrize("words", WORDS)
def test_memory_that_ran_out_is_one_line_whoever_says_it(words, monkeypatch, capsys):
    def run_out(*_):
        raise RuntimeError(words + "\nmore lines")

    monkeypatch.setattr(commands, "dispatch", run_out)
    assert commands.main(["list", "algos"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: out of memory (") and "smaller" in line


def test_torch_says_it_in_words_that_are_known():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**58, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


def test_other_errors_are_not_taken_for_it(monkeypatch, capsys):
    def fail(*_):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(commands, "dispatch", fail)
    assert commands.main(["list", "algos"]) == 1
    assert capsys.readouterr().err.startswith("error: RuntimeError: mat1 and mat2 shapes")


def test_an_error_that_was_foreseen_is_its_message_and_another_says_what_and_where():
    assert one_line(UsageError("give another")) == "give another"
    assert one_line(ValueError("never raised")) == "ValueError: never raised"
    try:
        raise KeyError("first\nsecond")
    except KeyError as error:
        assert one_line(error).startswith("KeyError: 'first\\nsecond' (") and f"{__file__}:" in one_line(error)
    try:
        raise RuntimeError("\nfirst\nsecond")
    except RuntimeError as error:
        assert one_line(error).startswith(f"RuntimeError: first ({__file__}:")
    assert one_line(AssertionError()) == "AssertionError"


def test_the_install_command_is_that_of_this_python(monkeypatch):
    assert install("ale-py", "gymnasium[box2d]") == f"{sys.executable} -m pip install ale-py 'gymnasium[box2d]'"
    monkeypatch.setattr(sys, "executable", "/my envs/bin/python")
    assert install("x") == "'/my envs/bin/python' -m pip install x" and install().endswith("python' -m pip install")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert install("x") == "uv pip install --python '/my envs/bin/python' x", "a virtual environment of uv has no pip"


def test_a_dependency_that_is_missing_is_one_line_and_exit_code_3():
    assert commands.verdict(ModuleNotFoundError("No module named 'PIL.Image'", name="PIL.Image")) == (
        3,
        f"error: pillow is not installed: {sys.executable} -m pip install pillow",
    )
    assert commands.verdict(ModuleNotFoundError("No module named 'theirs'", name="theirs"))[0] == 1


def test_a_library_that_cannot_be_mapped_is_memory_and_its_own_variables_are_not():
    assert is_out_of_memory(ImportError("libtorch.so: failed to map segment from shared object"))
    assert is_out_of_memory(OSError("libgomp.so: cannot allocate memory for a stack"))
    assert not is_out_of_memory(ImportError("libgomp.so: cannot allocate memory in static TLS block"))
    assert not is_out_of_memory(FileNotFoundError(2, "No such file", "out of memory.txt"))
    assert one_line(MemoryError()).startswith("out of memory (MemoryError): smaller ")
