"""Nothing grows: a few units of every load of `tests/soak`, which goes on for half an hour by itself.

And nothing stays: processes end with the one that started them, however that ended.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody tells what memory is a process's own")
if sys.platform == "linux":
    from soak.held import faults, soak
    from soak.loads import LOADS


@pytest.fixture(scope="module")
def told(root) -> dict[str, dict]:
    """What each load left behind, in a process that may have 256 open files."""
    command = [sys.executable, "-m", "tests.soak", "--short"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode in (0, 1), done.stderr[-3000:]
    return {each["load"]: each for each in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("load", LOADS)
def test_memory_threads_files_and_children_stay_flat(told, load):
    assert told[load]["faults"] == [], told[load]["looks"]


def test_what_leaks_is_told(tmp_path):
    """Each kind of leak is seen, also a small one: else a flat line would say nothing."""
    kept = []

    def leaking(tick):
        for _ in range(40):
            sleeper = threading.Thread(target=done.wait)
            sleeper.start()
            kept.append((bytearray(200_000), os.open(os.devnull, os.O_RDONLY), sleeper))
            tick()

    done = threading.Event()
    try:
        found = soak(leaking, 40)["faults"]
    finally:
        done.set()
        for _, file, _ in kept:
            os.close(file)
    assert [fault.split()[0] for fault in found] == ["memory_mb", "threads", "files"]
    assert faults({"memory_mb": 1.0, "threads": 0, "files": 2, "children": 0}, 60) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_workers_end_with_their_parent(root, number):
    code = "import time; from vcwork.data.engines import each; list(each(time.sleep, [600] * 4, workers=2))"
    environment = os.environ | {"PYTHONPATH": str(root)}
    parent = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.DEVNULL)
    started = _children(parent.pid, 3)  # two workers, and multiprocessing's own tracker
    parent.send_signal(number)
    parent.wait()
    gone, alive = psutil.wait_procs(started, timeout=20)
    for process in alive:
        process.kill()
    assert not alive and len(gone) >= 3


def _children(pid: int, wanted: int) -> list[psutil.Process]:
    """The processes below one, once there are so many and they have loaded what they need."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        time.sleep(0.2)
        found = psutil.Process(pid).children(recursive=True)
        if len(found) >= wanted:
            time.sleep(1)
            return found
    raise AssertionError(f"expected {wanted} processes, found {found}")
