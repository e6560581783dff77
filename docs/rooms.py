"""Draw the rooms of `vcwork` from its imports: `python docs/rooms.py` writes docs/rooms.svg and prints a table of them.

A box a room, the highest on top, as high as it has lines; an arc for each room another one imports from, as wide as it
has imports. An arrow that climbed would be drawn red; `./run lint` refuses it.
"""

import ast
import re
import sys
from collections import Counter
from pathlib import Path

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot as plt
from matplotlib.patches import FancyArrowPatch, Rectangle

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ["base", "core", "measure", "data", "encoders", "tasks", "search", "training", "review", "panels", "workbench"]
WIDE = 7.6


def counted(root: Path) -> tuple[Counter, Counter, Counter]:
    """Python lines and files of each room, and imports {(from, of): how many names}."""
    lines, files, imports = Counter(), Counter(), Counter()
    for path in sorted((root / "vcwork").rglob("*.py")):
        room = path.relative_to(root / "vcwork").parts[0]
        if room not in ROOMS:
            continue
        text = path.read_text(encoding="utf-8")
        lines[room] += len(text.splitlines())
        files[room] += 1
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vcwork."):
                other = node.module.split(".")[1]
                if other != room:
                    imports[room, other] += len(node.names)
    return lines, files, imports


def job(root: Path, room: str) -> str:
    """What the room is for: the first clause of its door."""
    text = (root / "vcwork" / room / "__init__.py").read_text(encoding="utf-8")
    return re.split(r"[:.] |(?<=\?) |\.$", ast.get_docstring(ast.parse(text)).splitlines()[0])[0]


def draw(root: Path, target: Path) -> None:
    """Write the picture."""
    lines, files, imports = counted(root)
    plt.rcParams["svg.hashsalt"] = "rooms"  # the same bytes for the same house
    fig, ax = plt.subplots(figsize=(11, 7.2))
    heights = {room: 0.5 + lines[room] / 2500 for room in ROOMS}
    low, middle = 0.0, {}
    for room in ROOMS:
        height = heights[room]
        ax.add_patch(Rectangle((0, low), WIDE, height, facecolor="#dbe7f3", edgecolor="#30506f"))
        middle[room] = low + height / 2
        ax.text(0.12, middle[room], room, va="center", weight="bold", fontsize=11)
        what = f"{lines[room]:,} lines, {files[room]} files"
        ax.text(WIDE - 0.1, middle[room], what, va="center", ha="right", fontsize=8.5, color="#30506f")
        ax.text(1.5, middle[room], job(root, room), va="center", fontsize=8.5)
        low += height + 0.18
    for (room, other), n in sorted(imports.items()):
        falls = ROOMS.index(other) < ROOMS.index(room)
        ax.add_patch(FancyArrowPatch(
            (WIDE, middle[room]), (WIDE, middle[other]), arrowstyle="-|>", mutation_scale=7, lw=0.4 + n / 40,
            connectionstyle=f"arc3,rad={-0.55 if falls else 0.55}", color="#30506f" if falls else "red",
            alpha=min(0.9, 0.25 + n / 60),
        ))  # fmt: skip
    ax.set_xlim(-0.1, WIDE + 3.2)
    ax.set_ylim(-0.1, low)
    ax.axis("off")
    fig.savefig(target, bbox_inches="tight", metadata={"Date": None}, transparent=True)
    plt.close(fig)


def main() -> int:
    draw(ROOT, ROOT / "docs" / "rooms.svg")
    lines, files, imports = counted(ROOT)
    for room in reversed(ROOMS):
        below = ", ".join(f"{other} {imports[room, other]}" for other in ROOMS if imports[room, other])
        print(f"{room:10} {lines[room]:6} lines {files[room]:3} files   imports from: {below or '-'}")
    print(f"{'together':10} {sum(lines.values()):6} lines {sum(files.values()):3} files")
    return 0


if __name__ == "__main__":
    sys.exit(main())
