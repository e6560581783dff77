"""The same numbers again: on another number of threads and workers, and as on an older processor.

What is stated in `docs/promises.md`, "The same numbers": which of them are the same to the last bit, and how far the
others may be apart. A processor without this one's units is played by telling each library not to use them.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from vcwork.data.engines import cores

HERE = Path(__file__).parent
OLDER = {
    "ATEN_CPU_CAPABILITY": "default",  # torch's own kernels
    "ONEDNN_MAX_CPU_ISA": "SSE41",  # and its products
    "MKL_CBWR": "COMPATIBLE",
    "OPENBLAS_CORETYPE": "Nehalem",  # NumPy's
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL",
    "FAISS_OPT_LEVEL": "generic",
}
SETTINGS = {"again": ("1", 1, {}), "two": ("2", 2, {}), "older": ("1", 2, OLDER)}  # threads, workers, environment
DECIDED = ("found", "clusters")
BYTES = ("films", "features", "drawn", *DECIDED, *(f"trained_{name}" for name in DECIDED))  # the same everywhere
ROUNDED = {  # how far apart, of the largest value
    **dict.fromkeys(("results", "trained_results"), 1e-12),  # the last bit of an interval's float64
    **dict.fromkeys(("video", "text", "seconds", "scores"), 1e-5),
    **dict.fromkeys(("log", "trained_video", "trained_text", "trained_seconds", "trained_scores"), 1e-4),
}


@pytest.fixture(scope="module")
def numbers(ws, tmp_path_factory):
    """`numbers(setting)`: what a process of that setting computes; "here" is one thread of this processor."""
    made = {}
    assert ws.encoder and ws.store  # made before they are opened

    def of(setting: str) -> dict[str, np.ndarray]:
        if setting not in made:
            threads, workers, more = SETTINGS.get(setting, SETTINGS["again"])
            out = tmp_path_factory.mktemp(setting)
            environment = {key: value for key, value in os.environ.items() if key not in OLDER}
            environment |= {"OMP_NUM_THREADS": threads, "PYTHONPATH": str(HERE.parent), **more}
            command = [sys.executable, str(HERE / "small_world.py"), str(ws.tiny), str(out), str(workers)]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
            assert done.returncode == 0, done.stderr[-3000:]
            made[setting] = dict(np.load(out / "numbers.npz"))
        return made[setting]

    return of


def apart(a: np.ndarray, b: np.ndarray, axis: int | None = None) -> float:
    """The largest difference, as a share of the largest value; with axis 0 column by column."""
    assert a.shape == b.shape and np.isfinite(a).all() and np.isfinite(b).all()
    return float((np.abs(a.astype(float) - b).max(axis) / np.abs(a.astype(float)).max(axis)).max())


def test_the_same_setting_gives_the_same_bits(numbers):
    here, again = numbers("here"), numbers("again")
    assert set(here) == {*BYTES, *ROUNDED}
    assert [name for name in here if not np.array_equal(here[name], again[name])] == []


@pytest.mark.parametrize("setting", ["two", "older"])
def test_another_number_of_threads_or_another_processor_decides_nothing_otherwise(numbers, setting):
    here, other = numbers("here"), numbers(setting)
    assert [name for name in BYTES if not np.array_equal(here[name], other[name])] == []
    far = {name: apart(here[name], other[name], 0 if name == "log" else None) for name in ROUNDED}
    assert {name: by for name, by in far.items() if by > ROUNDED[name]} == {}


@pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"), reason="is an older processor")
def test_the_settings_do_change_how_it_is_computed(numbers):
    """Else nothing would have been compared: an older processor has other last bits, and two threads have them too."""
    here, settings = numbers("here"), ["older", *(["two"] if cores() > 1 else [])]
    assert [s for s in settings if np.array_equal(here["trained_scores"], numbers(s)["trained_scores"])] == []


def test_workers_change_no_byte_of_films_and_features(numbers):
    assert np.array_equal(numbers("here")["films"], numbers("two")["films"])
    assert np.array_equal(numbers("here")["features"], numbers("two")["features"])
