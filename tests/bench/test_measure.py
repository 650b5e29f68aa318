"""What is measured: the clock, and the CPU time of everything that worked."""

import subprocess
import sys
import threading
import time

from rlgen.bench.measure import Took, per, repeat

BURN = 0.05  # seconds of CPU


def burn(spent: list[float]) -> None:
    begin = time.thread_time()
    while time.thread_time() - begin < BURN:
        sum(range(1000))
    spent.append(time.thread_time() - begin)


def test_cpu_time_is_that_of_all_threads():
    spent: list[float] = []

    def step() -> int:
        threads = [threading.Thread(target=burn, args=(spent,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return 1

    count, took = repeat(0.0, step, "cpu")
    assert count == 1 and len(spent) == 2 and took.cpu >= sum(spent) >= 2 * BURN


def test_cpu_time_counts_processes_that_were_waited_for_and_no_sleep():
    burning = f"import time\nwhile time.process_time() < {2 * BURN}: pass"
    begin = Took.until_now()
    subprocess.run([sys.executable, "-S", "-c", burning], check=True)
    middle = Took.until_now()
    time.sleep(2 * BURN)
    slept = Took.until_now().since(middle)
    assert middle.since(begin).cpu >= 1.8 * BURN  # as exact as the system says it
    assert slept.wall >= 2 * BURN > slept.cpu


def test_costs_are_the_time_over_what_was_counted():
    costs = per(Took(wall=2.0, cpu=1.0), env_step=1000, update=0)
    assert costs == {"us per env step": (2000.0, 1000.0)}
