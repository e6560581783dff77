"""`python -m tests.fuzz [READER ...] --runs N`: atheris over readers, each in a process of its own, counted in a file.

Half of the changes are atheris's own, led by which lines of `vcwork` they reach; half are those of `changes`, with
`--plain` all of them, in one process and five times as fast. What is not a VcworkError is a crash: it is printed with
the bytes, each kind once, and the exit code is 1. So is an input that takes 20 s or, with atheris, 4 GB.
`--count` adds to counts.json, which says what was run so far. Needs the extra `fuzz` (atheris, on Linux) or `--plain`.
"""

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent)]
COUNTS = HERE / "counts.json"
LIMITS = ("-timeout=20", "-rss_limit_mb=4096", "-max_len=8192", "-verbosity=0", "-print_final_stats=0")


def main() -> int:
    """Each reader in its own process, because atheris ends the one that it runs in."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="every reader under bytes of any kind")
    parser.add_argument("readers", nargs="*", help="names in tests/fuzz/readers.py (default: all)")
    parser.add_argument("--runs", type=int, default=1000, help="executions of each")
    parser.add_argument("--seed", type=int, default=0, help="of the changes (0: another each time)")
    parser.add_argument("--plain", action="store_true", help="without atheris")
    parser.add_argument("--count", action="store_true", help="add to counts.json")
    parser.add_argument("--one", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        led(options.one, options.runs, options.seed)
    from fuzz.readers import READERS

    bad = [name for name in options.readers or READERS if not one_reader(name, options)]
    print(f"crashes in: {', '.join(bad)}" if bad else "no crash")
    return bool(bad)


def one_reader(name: str, options: argparse.Namespace) -> bool:
    """Whether nothing but VcworkErrors came; counted where it is asked for."""
    crashes = plain(name, options.runs, options.seed) if options.plain else in_a_process(name, options)
    print(f"{name}: {options.runs:,} executions, {len(crashes)} crashes", *crashes, sep="\n  ", flush=True)
    if options.count and not crashes:
        counts = json.loads(COUNTS.read_text()) if COUNTS.is_file() else {}
        how = "plain" if options.plain else "atheris"
        counts.setdefault(name, {})[how] = counts.get(name, {}).get(how, 0) + options.runs
        COUNTS.write_text(json.dumps(dict(sorted(counts.items())), indent=1) + "\n")
    return not crashes


def in_a_process(name: str, options: argparse.Namespace) -> list[str]:
    """What atheris found."""
    asked = ["--one", name, "--runs", str(options.runs), "--seed", str(options.seed)]
    done = subprocess.run([sys.executable, "-m", "tests.fuzz", *asked], capture_output=True, text=True)
    crashes = [line for line in done.stdout.splitlines() if line.startswith("CRASH ")]
    all_done = f"Done {options.runs} in" in done.stderr and done.returncode == -signal.SIGALRM  # its clock, at the end
    failed = done.returncode and not all_done
    return crashes or ([f"CRASH {name}: {done.stdout[-300:]}{done.stderr[-2000:]}"] if failed else [])


class Under:
    """A reader in a folder of its own; `once` prints and keeps what comes of bytes, where it is no VcworkError."""

    def __init__(self, name: str) -> None:
        from fuzz.readers import READERS

        self.name, self.reader, self.seen = name, READERS[name], {}
        self.folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        (self.folder / "here").mkdir()
        self.reader.lay(self.folder / "here")
        self.seeds = self.reader.seeds(self.folder / "here")

    def once(self, data: bytes) -> None:
        from vcwork.base.errors import VcworkError

        try:
            self.reader.take(self.folder / "here", data)
        except VcworkError:
            pass
        except Exception as error:
            at = [f"{Path(f.filename).name}:{f.lineno}" for f in traceback.extract_tb(error.__traceback__)][-2:]
            if (kind := (type(error).__name__, *at)) not in self.seen:
                told = f"CRASH {self.name}: {type(error).__name__}: {error!s:.200} at {at}: {data[:300]!r}"
                self.seen[kind] = " ".join(told.split())
                print(self.seen[kind], flush=True)


def plain(name: str, runs: int, seed: int) -> list[str]:
    """What so many changes of the reader's good bytes found."""
    from fuzz.changes import changed

    under, rng = Under(name), random.Random(seed or None)
    for _ in range(runs):
        data = changed(rng.choice(under.seeds), rng)
        began = time.process_time()
        under.once(data)
        if time.process_time() - began > 20:
            under.seen["slow"] = f"CRASH {name}: 20 s and more: {data[:300]!r}"
    shutil.rmtree(under.folder)
    return list(under.seen.values())


def led(name: str, runs: int, seed: int) -> None:
    """Never returns: atheris ends the process after the last run."""
    import atheris

    with atheris.instrument_imports(include=["vcwork"]):
        under = Under(name)
    from fuzz.changes import changed

    (under.folder / "seeds").mkdir()
    for number, data in enumerate(under.seeds):
        (under.folder / "seeds" / str(number)).write_bytes(data)

    def mutator(data: bytes, most: int, number: int) -> bytes:
        rng = random.Random(number)
        return atheris.Mutate(data, most) if rng.random() < 0.5 else changed(data, rng, most)

    asked = [name, f"-atheris_runs={runs}", *LIMITS, *([f"-seed={seed}"] if seed else []), str(under.folder / "seeds")]
    atheris.Setup(asked, under.once, custom_mutator=mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
