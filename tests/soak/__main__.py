"""The whole soak: `python -m tests.soak [--minutes 30] [--only NAME …]`, each load in a process of its own.

With `--minutes` the loads go round until the time is over. Every process may have 256 open files. `--short` is what the
tests run. One line of JSON a load; exit code 1 where something grew.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
FILES = 256


def one(name: str, units: int) -> dict:
    """A load in this process."""
    from soak.held import soak
    from soak.loads import LOADS, World

    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))
    load, whole, short = LOADS[name]
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        return {"load": name, **soak(lambda tick: load(world, units or whole, tick), units or whole)}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=0, help="go round until so much time is over")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these loads alone")
    parser.add_argument("--short", action="store_true", help="as few units as in the tests")
    parser.add_argument("--units", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.units:
        print(json.dumps(one(options.only[0], options.units)))
        return 0
    from soak.loads import LOADS

    end, failed, names = time.monotonic() + 60 * options.minutes, 0, options.only or list(LOADS)
    while True:
        for name in names:
            units = LOADS[name][1 + options.short]
            if not units:
                continue
            began = time.monotonic()
            command = [sys.executable, "-m", "tests.soak", "--only", name, "--units", str(units)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
            if done.returncode:
                print(f"{name}: ended with {done.returncode}")
                failed += 1
                continue
            told = json.loads(done.stdout.splitlines()[-1])
            failed += bool(told["faults"])
            print(json.dumps({key: told[key] for key in ("load", "units", "grown", "faults")} | {"seconds": round(time.monotonic() - began)}), flush=True)
        if time.monotonic() >= end:
            return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
