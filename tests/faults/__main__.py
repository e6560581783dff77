"""`python -m tests.faults`: a few faults of every command; with `--long` many, their counts into counts.json.

`--only convert,index` tries these commands alone, `--flips N` bits of each stored file (the long list: 200),
`--kills N` moments of each command. The exit code is 1 where anything was not survived.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import damage, harness, world
from .harness import Command, Fault, Trial

COUNTS = Path(__file__).with_name("counts.json")
CUT = ("extract", "pretrain", "convert", "explore")  # what they leave half done is damaged, and then goes on
REMADE, OWNER = ("extract", "explore"), "explore.json"  # of these all is made again, but whose folder it is
SLOW_S = 4.0  # a command that takes longer is tried at a quarter of the moments
CHAIN = 20  # kills of one and the same folder, one after the other


def spread(many: int, of: int) -> list[int]:
    """So many of the numbers 1..of, evenly."""
    return sorted({1 + round(i * (of - 1) / max(1, many - 1)) for i in range(many)})


def faults(end: harness.Ended, many: int, rng: random.Random) -> list[Fault]:
    """Of a command that ends so: at its deeds, and at random moments."""
    deeds = spread(many, end.deeds)
    made = [Fault("kill -9", at) for at in deeds] + [Fault("full disk", at) for at in deeds]
    made += [Fault("Ctrl-C", at) for at in deeds[::2]] + [Fault("moved", at) for at in deeds[::4]]
    moments = [rng.uniform(0, end.seconds) for _ in range(many // 2)]
    return made + [Fault(what, after_s=moment) for what in harness.SIGNALS for moment in moments]


def trials(command: Command, work: Path, many: int) -> Iterator[Trial]:
    """Everything that is tried on one command."""
    rng = random.Random(f"{command.name} {many}")
    whole, end = harness.undisturbed(command, work / "whole")
    many = many if end.seconds < SLOW_S else max(3, many // 4)
    for fault in faults(end, many, rng):
        yield harness.tried(command, fault, whole, work / "tried")
    if command.again:
        chain = [Fault("kill -9", after_s=rng.uniform(0.3, 0.8) * end.seconds) for _ in range(CHAIN)]
        named = Fault(f"kill -9, {CHAIN} times in one folder", after_s=end.seconds / 2)
        trial = harness.tried(command, chain[0], whole, work / "tried", tuple(chain[1:]))
        yield Trial(command.name, named, trial.came, trial.why)
    yield from on_disks(command, whole, end, work, many)
    for _ in range(max(1, many // 4)):
        yield harness.together(command, whole, work / "tried")
    if command.function == Command.function:
        for _ in range(max(1, many // 4)):
            yield harness.while_loading(command, rng.uniform(0.2, 3), work / "tried")
    if command.name in CUT:
        yield from damaged(command, whole, end, work, many)


def on_disks(command: Command, whole: dict[str, str], end: harness.Ended, work: Path, many: int) -> Iterator[Trial]:
    """Small and read-only file systems, where this machine lets us have some."""
    with harness.small_disk(work / "asked", 1 << 16) as lets:
        if not lets:
            return
    out = work / "whole" / "out"
    total = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    for tenth in spread(max(2, many // 4), 9):
        size = max(1 << 14, total * tenth // 10 >> 12 << 12)
        yield harness.small_disk_tried(command, whole, size, work / "tried")
    yield harness.read_only_tried(command, whole, None, work / "tried")
    if command.again:
        yield harness.read_only_tried(command, whole, Fault("kill -9", end.deeds // 2), work / "tried")


def damaged(command: Command, whole: dict[str, str], end: harness.Ended, work: Path, many: int) -> Iterator[Trial]:
    """What a kill left at two thirds, and what a finished command keeps for the next one, damaged."""
    left = work / "left"
    shutil.rmtree(left, ignore_errors=True)
    harness.run(command, left, work / "told", Fault("kill -9", round(end.deeds * 2 / 3)))
    for folder in (left, work / "whole" / "out") if command.name == "explore" else (left,):
        for trial in damage.healed(command, whole, folder, work / "tried", max(2, many // 4)):
            refuses = trial.came == "refused" and command.name in REMADE and OWNER not in trial.fault.what
            yield replace(trial, came="broken", why=f"not made again: {trial.why}") if refuses else trial


def in_workers(commands: dict[str, Command], work: Path) -> Iterator[Trial]:
    """A worker that dies, and a parent that does."""
    for name in ("extract in two processes", "lab in two processes"):
        command = commands[name]
        whole, end = harness.undisturbed(command, work / "whole")
        yield harness.worker_dies(command, whole, work / "tried")
        for part in (0.3, 0.6, 0.9):
            fault = Fault("kill -9", after_s=part * end.seconds)
            yield harness.tried(command, fault, whole, work / "tried")


def stored(commands: dict[str, Command], names: list[str], work: Path, flips: int) -> dict[str, Any]:
    """Counts of flips and cuts of every stored file, by the command that wrote it."""
    record: dict[str, Any] = {}
    for name in names:
        harness.undisturbed(commands[name], work / "whole")
        for what, asked in zip(("flips", "cuts"), damage.noticed(name, work / "whole" / "out", flips), strict=True):
            record.setdefault(name, {})[what] = damage.summary(asked)
    return record


def keep(record: dict[str, Any]) -> None:
    """Put the counts of the commands that were tried in place of their older ones, and add all up."""
    counts = json.loads(COUNTS.read_text()) if COUNTS.exists() else {}
    for what, own in record.items():
        counts[what] = dict(sorted((counts.get(what, {}) | own).items()))
    trials = [fault for command in counts["faults"].values() for fault in command.values()]
    bits = [command["flips"] for command in counts["stored"].values()]
    counts["in all"] = {
        "faults injected": sum(fault["injected"] for fault in trials),
        "ended equal": sum(fault["equal"] for fault in trials),
        "refused in one sentence": sum(fault["refused"] for fault in trials),
        "bits flipped": sum(one["tried"] for one in bits),
        "unnoticed when verified": sum(sum(one["unnoticed"]["when verified"].values()) for one in bits),
        "unnoticed at a cheap open": sum(sum(one["unnoticed"]["at a cheap open"].values()) for one in bits),
    }
    COUNTS.write_text(json.dumps(counts, indent=1) + "\n")


def main(arguments: list[str] | None = None) -> int:
    """Try, tell, and keep the counts of the long list."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__.splitlines()[0])
    parser.add_argument("--long", action="store_true", help="everything; counts go into counts.json")
    parser.add_argument("--only", default="", help="these commands, as extract,pretrain")
    parser.add_argument("--kills", type=int, default=0, help="moments of a command (long: 20, else 3)")
    parser.add_argument("--flips", type=int, default=-1, help="bits of a stored file (long: 200, else 3)")
    parser.add_argument("--world", default="", help="where the tiny data lie, to keep them")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        return _tried(options, Path(folder))


def _tried(options: argparse.Namespace, work: Path) -> int:
    began, done = time.monotonic(), []
    commands = world.commands(world.make(Path(options.world or work / "world")))
    single = [name for name in commands if "processes" not in name]
    names = [name for name in options.only.split(",") if name] or single
    kills, flips = options.kills or (20 if options.long else 3), options.flips
    for name in names:
        for trial in trials(commands[name], work / "trials", kills):
            done.append(trial)
            if not trial.survived or trial.came == "refused":
                print(harness.told_of(trial), flush=True)
        own = [trial for trial in done if trial.command == name]
        print(f"{name}: {len(own)} faults, {sum(t.survived for t in own)} survived", flush=True)
    if options.long and (not options.only or "extract" in names):
        done += in_workers(commands, work / "trials")
    flips = flips if flips >= 0 else (200 if options.long else 3)
    bits = stored(commands, [name for name in names if name in damage.OPEN], work / "trials", flips)
    record = {"faults": harness.counted(done), "stored": bits}
    print(json.dumps(bits, indent=1))
    survived = sum(trial.survived for trial in done)
    print(f"{len(done)} faults, {survived} survived; {time.monotonic() - began:.0f} s")
    if options.long:
        keep(record)
    return 0 if survived == len(done) else 1


if __name__ == "__main__":
    sys.exit(main())
