"""Memory: a limit is kept, and what is at hand is what the machine and the control groups leave."""

import os

import numpy as np
import pytest

from rlgen.commands import main
from rlgen.errors import UsageError
from rlgen.memory import Room, at_hand, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [("8GB", 8 * 10**9), ("1.5 GiB", 3 * 2**29), ("500m", 5 * 10**8), ("1e9", 10**9), ("64ki", 2**16)],
)
def test_sizes_are_written_as_people_do(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "8 apples", "-1GB", "0", "1.2.3GB", "1e999GB", "nan"])
def test_what_is_no_size_is_one_line(text):
    with pytest.raises(UsageError, match="is no size of memory: write it as 8GB"):
        parse_size(text)


def test_room_is_used_up():
    room = Room("10MB")
    room.take("a", 6_000_000)
    room.check("b", 4_000_000)
    with pytest.raises(UsageError, match=r"b needs 5\.7 MiB of memory, more than is left of --max-memory 10MB"):
        room.take("b", 6_000_000)
    room.take("b", 4_000_000)
    assert room.left == 0


def machine(folder, available, group, files):
    """A made-up /proc and /sys; files of control groups by path."""
    (folder / "proc/self").mkdir(parents=True)
    (folder / "proc/meminfo").write_text(f"MemTotal: 99999 kB\nMemAvailable: {available // 1024} kB\nHugePages: 0\n")
    (folder / "proc/self/cgroup").write_text(group)
    for path, text in files.items():
        (folder / "sys/fs/cgroup" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "sys/fs/cgroup" / path).write_text(text)
    return folder


def test_what_is_at_hand_is_the_least_of_all_limits(tmp_path):
    assert 0 < at_hand() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert at_hand(tmp_path) > 10**8, "a system without /proc: all there is"
    free = machine(tmp_path / "free", 2**24, "0::/\n", {"memory.max": "max\n", "memory.current": "5\n"})
    assert at_hand(free) == 2**24
    slurm = {
        "job/memory.max": "10000000\n",
        "job/memory.current": "8000000\n",
        "job/memory.stat": "anon 7\ninactive_file 1000000\n",
        "job/step/memory.max": "max\n",
        "job/step/memory.current": "1\n",
    }
    assert at_hand(machine(tmp_path / "v2", 2**24, "0::/job/step\n", slurm)) == 3_000_000, "a limit of a group above"
    docker = {"memory/memory.limit_in_bytes": "5000000", "memory/memory.usage_in_bytes": "6000000"}
    v1 = machine(
        tmp_path / "v1", 2**24, "9:cpu:/x\n4:memory:/docker/abc\n", docker
    )  # its own path is not in the container
    assert at_hand(v1) == 0


def test_the_flag_is_kept_and_checked(tmp_path, capsys):
    train = ["train", "vae", "--runs-dir", str(tmp_path), "--steps", "200", "--data"]
    data = tmp_path / "train-images-idx3-ubyte"
    data.write_bytes(b"\0\0\x08\x03" + b"".join(size.to_bytes(4, "big") for size in (50, 200, 200)) + bytes(2_000_000))
    assert main([*train, str(tmp_path), "--max-memory", "1MB"]) == 2
    assert main([*train, "digits", "--max-memory", "much"]) == 2
    assert main(["train", "dqn", "--max-memory", "1GB"]) == 2
    first, second, third = capsys.readouterr().err.splitlines()
    assert first == (
        f"error: {data} needs 1.9 MiB of memory, more than is left of --max-memory 1MB: raise that or give less of it"
    )
    assert "'much' is no size of memory" in second and "is an agent" in third
    assert os.listdir(tmp_path) == [data.name], "no run directory is made"


def test_a_limit_of_another_machine_does_not_go_on_with_a_run(tmp_path, capsys):
    """What began on a small machine is resumed, evaluated and queued again on another, with the limit of that."""
    words = ["train", "vae", "--data", str(tmp_path / "images.npy"), "--name", "mine", "--runs-dir", str(tmp_path)]
    words += ["--steps", "64", "--batch-size", "16", "--hidden", "8", "--wandb", "disabled", "--threads", "1"]
    words += ["--log-every", "16", "--eval-every", "32", "--checkpoint-every", "32"]
    np.save(tmp_path / "images.npy", np.zeros((64, 12, 12), np.uint8))
    assert main([*words, "--max-memory", "100kB"]) == 0
    path = tmp_path / "mine/config.json"
    path.write_text(path.read_text().replace('"100kB"', '"1kB"'))
    assert main(["eval", "mine", "--runs-dir", str(tmp_path)]) == 0
    assert main(["resume", "mine", "--steps", "80", "--runs-dir", str(tmp_path)]) == 0
    (tmp_path / "mine/summary.json").unlink()
    assert main([*words, "--steps", "80", "--resume-if-exists", "--max-memory", "90kB"]) == 0
    capsys.readouterr()
    for command in (["eval", "mine"], ["resume", "mine", "--steps", "96"]):
        assert main([*command, "--runs-dir", str(tmp_path), "--max-memory", "1kB"]) == 2
        assert "more than is left of --max-memory 1kB" in capsys.readouterr().err
