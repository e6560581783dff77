"""The whole soak: `python -m tests.soak [--minutes 30] [--only NAME …]`, each load in a process of its own.

With `--minutes` the loads go round until the time is over. Every process may have 256 open files. One line of JSON a
load; exit code 1 where something grew.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
FILES = 256


def one(names: list[str], units: int = 0) -> Iterator[dict]:
    """Loads in this process, of so many units each (0: the few of the tests), on one world."""
    from soak.held import soak
    from soak.loads import LOADS, World

    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        for name in names:
            load, _, few = LOADS[name]
            began = time.monotonic()
            told = soak(lambda tick, load=load, n=units or few: load(world, n, tick), units or few)
            yield {"load": name, "seconds": round(time.monotonic() - began, 1), **told}


def in_a_process(name: str, units: int) -> dict:
    """A load in a process of its own; one that did not end well is a fault."""
    command = [sys.executable, "-m", "tests.soak", "--only", name, "--units", str(units)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode not in (0, 1) or not done.stdout:
        return {"load": name, "units": units, "faults": [f"its process ended with {done.returncode}"]}
    return json.loads(done.stdout.splitlines()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=0, help="go round until so much time is over")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these loads alone")
    parser.add_argument("--short", action="store_true", help="a few units of each, in one process, as the tests do")
    parser.add_argument("--units", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    from soak.loads import LOADS

    end, failed, names = time.monotonic() + 60 * options.minutes, False, options.only or list(LOADS)
    if options.short or options.units:
        for told in one(names, options.units):
            print(json.dumps(told), flush=True)
            failed |= bool(told["faults"])
        return int(failed)
    while True:
        for name in names:
            told = in_a_process(name, LOADS[name][1])
            failed |= bool(told["faults"])
            told |= {"now": told.pop("looks", [{}])[-1]}
            print(json.dumps(told), flush=True)
        if time.monotonic() >= end:
            return int(failed)


if __name__ == "__main__":
    sys.exit(main())
