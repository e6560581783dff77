"""An audit as files: a page for people, JSON for programs, a LaTeX table for papers, and the one line of it all.

The folder is sealed like any other of ours; a reviewer's bundle is the same in one zip, with what was asked, so that
`check_bundle` can give the same verdicts on another machine or name the first difference.
"""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.base.files import alone, atomic_write, parse_json, sha256_json, template
from vcwork.base.sealed import SEALED, Kind, begin, differs, member, seal, well_formed, with_seal, write_manifest
from vcwork.measure.result import points, row, show
from vcwork.review.audit import Audit, Doubts, as_dict, small
from vcwork.review.scores import BROKEN
from vcwork.workbench.page import SIGNS, lines_of, used_columns

AUDIT = Kind("audit", "vcwork-audit-1", "audit.json", owns=("index.html", "table.tex"))
SRC = "data:image/png;base64,"
BUNDLE, WITHIN = "vcwork-audit-bundle-1", 1 << 28  # bytes of an input that travels inside
TEX = str.maketrans(
    {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {c: f"\\{c}" for c in "&%$#_{}"}
)


def write_audit(made: Audit, out: Path, asked: dict[str, Any]) -> str:
    """Write page, JSON and table into `out`, new or of an earlier audit; the line that says it all.

    Of two at once one waits. VcworkError: a folder that holds other things, a disk that is full.
    """
    texts = {"index.html": page_html(made), "table.tex": tex_table(made)}
    with alone(out):
        begin(out, AUDIT)
        for name, text in texts.items():
            with atomic_write(out / name) as file:
                file.write(text)
        files = {name: seal(out / name) for name in texts}
        write_manifest(out, AUDIT, as_dict(made) | {"asked": asked, "files": files})
    return line(made)


def line(made: Audit) -> str:
    """`t2v_R@1 22.4 % (20.9 % to 23.9 %) on 3,350 texts …, above chance (0.03 %), ceiling 97.7 %, ties 0`."""
    best = made.headline
    (name, score), ceiling = best.best_trivial, made.doubts.ceiling if made.doubts else {}
    parts = [
        f"{best.name} {best.show()} ({best.show('low')} to {best.show('high')}) on {made.sizes}",
        f"{best.verdict} {name} ({show(score, best.unit)})",
        f"ceiling {show(ceiling[min(ceiling)])}" if ceiling else "",
        f"ties {best.protocol.tied}" if best.protocol.tied is not None else "",
        *(
            f"{metric}: {points(found.difference)} over {made.other}, p {small(p)}"
            for metric, _, found, p in made.against[:1]
        ),
    ]
    return ", ".join(part for part in parts if part)


def tex_table(made: Audit) -> str:
    """A booktabs table of the results: value, interval, chance, strongest trivial opponent, n."""
    head = ("metric", "value", "95 % interval", "chance", "best trivial", "n")
    rows = [row(result) for result in made.results]
    lines = [" & ".join(cells[name].translate(TEX) for name in head) + r" \\" for cells in rows]
    caption = f"{made.path.name} on {made.split}. {made.verdicts[0]}".translate(TEX)
    titles = " & ".join(name.translate(TEX) for name in head)
    return "\n".join([
        r"\begin{table}", r"\centering", r"\begin{tabular}{lrrrlr}", r"\toprule", titles + r" \\", r"\midrule",
        *lines, r"\bottomrule", r"\end{tabular}", rf"\caption{{{caption}}}", r"\end{table}", "",
    ])  # fmt: skip


def page_html(made: Audit) -> str:
    """The whole page: verdicts, results with all that stands beside them, smaller galleries, hubs."""
    lines, doubts = lines_of({"results": made.results}), made.doubts
    return template(__package__, "audit.html.j2").render(
        made=made, signs=SIGNS, lines=lines, columns=used_columns(lines), show=show, doubts=doubts,
        pools=doubts and doubts.pools and _pool_figure(doubts), hubs=doubts and _hub_figure(doubts),
    )  # fmt: skip


def _pool_figure(made: Doubts) -> dict[str, str]:
    from vcwork.panels import plots

    sizes, values, lows, highs = map(np.array, zip(*made.pools, strict=True))
    fig, ax = plots.figure(5.2, 2.4)
    ax.semilogx(sizes, 100 * values, "o-", color=plots.colour(0), label="own pair's R@1")
    ax.fill_between(sizes, 100 * lows, 100 * highs, color=plots.colour(0), alpha=0.2, lw=0, label="95 % interval")
    ax.semilogx(sizes, 100 / sizes, ":", color=plots.GREY, label="chance")
    ticks = [
        n for n in sizes if n in (10, 100, 1000, 10_000, sizes[-1])
    ]  # a dollar sign is one, so labels are no formulas
    ax.set_xticks(ticks, [f"{n:,}" for n in ticks])
    ax.minorticks_off()
    plots.finish(ax, "", "items in the gallery", "R@1 (percent)")
    told = f"R@1 of the own pair falls from {show(values[0])} among {sizes[0]:,} items to {show(values[-1])}"
    return _png(fig) | {"alt": f"{told} among {sizes[-1]:,}."}


def _hub_figure(made: Doubts) -> dict[str, str]:
    from vcwork.panels import plots

    fig, ax = plots.figure(5.2, 2.4)
    bins, alike = min(40, int(made.found.max()) + 1), {"if all were found alike": float(made.found.mean())}
    plots.histogram(ax, {"items": made.found}, bins, alike, f"texts that have an item among their first {made.k}")
    told = f"{show(float((made.found == 0).mean()))} of the items are never found, one is found {made.found.max():.0f}"
    return _png(fig) | {"alt": f"{told} times; {made.found.mean():.1f} if all were found alike."}


def _png(fig: Any) -> dict[str, str]:
    """The figure as the addresses of a picture, for light and for dark."""
    from vcwork.panels import plots
    from vcwork.panels.dark import darkened_base64

    light = plots.png(fig, 110)
    return {"src": SRC + light, "dark": SRC + darkened_base64(light)}


# -------------------------------------------------------------------------------------------------- bundles


def write_bundle(made: Audit, out: Path, asked: dict[str, Any], inputs: dict[str, Path]) -> None:
    """One zip for a reviewer: the audit, what was asked, and the inputs {option: file}, each up to `WITHIN` bytes.

    Of larger ones the digests travel alone. VcworkError: a disk that is full.
    """
    digests = {option: seal(path) | {"file": path.name} for option, path in inputs.items() if path.is_file()}
    texts = {"index.html": page_html(made), "table.tex": tex_table(made)}
    pages = {name: sha256_json(text) for name, text in texts.items()}
    more = {"format": BUNDLE, "asked": asked, "inputs": digests, "pages": pages, "versions": _versions()}
    texts[AUDIT.manifest] = json.dumps(with_seal(as_dict(made) | more), indent=1)
    held = {_place(option, about): inputs[option] for option, about in digests.items() if about["bytes"] <= WITHIN}
    with atomic_write(out, "wb") as file, zipfile.ZipFile(file, "w") as archive:
        for name in [*texts, *held]:  # with no time of day: the same audit is the same bytes
            data = texts[name] if name in texts else held[name].read_bytes()
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)


def _place(option: str, about: dict[str, Any]) -> str:
    """Where an input lies in the zip; its suffix tells its format."""
    return f"inputs/{option}{Path(about['file']).suffix}"


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("vcwork", "numpy", "scipy")}


def read_bundle(path: Path, into: Path) -> tuple[dict[str, Any], dict[str, Path]]:
    """What a bundle tells, and its inputs {option: file}, unpacked into the folder `into`; larger ones are not there.

    VcworkError: not a bundle, one that was changed, a member that is not the one told, one too few or too many.
    """
    try:
        with well_formed(path), zipfile.ZipFile(path) as archive:
            told = parse_json(_read(path, archive, AUDIT.manifest, WITHIN).decode())
            _check_told(path, told)
            held = {option: about for option, about in told["inputs"].items() if about["bytes"] <= WITHIN}
            _check_members(path, archive, [AUDIT.manifest, *AUDIT.owns, *(_place(*each) for each in held.items())])
            for name in AUDIT.owns:
                text = _read(path, archive, name, WITHIN).decode()
                if "pages" in told and told["pages"][name] != sha256_json(text):  # bundles of before tell no digests
                    raise VcworkError(f"{path}: {name} was changed: not the one of {AUDIT.manifest}")
            inputs = {option: _unpacked(path, archive, into, option, about) for option, about in held.items()}
    except BROKEN as error:
        raise VcworkError(f"{path}: not readable as a bundle of an audit ({error})") from error
    return told, inputs


def _check_members(path: Path, archive: zipfile.ZipFile, expected: list[str]) -> None:
    there = archive.namelist()
    for name in [*expected, *there]:
        if (came := there.count(name)) != (wanted := expected.count(name)):
            raise VcworkError(f"{path}: was changed: {name} is {'missing' if came < wanted else 'surplus'}")


def _unpacked(path: Path, archive: zipfile.ZipFile, into: Path, option: str, about: dict[str, Any]) -> Path:
    """An input in a folder of its own, named as it was, so that what is told of it stays the same."""
    name, file = _place(option, about), about["file"]
    if Path(file).name != file or file == "..":
        raise VcworkError(f"{path}: expected the name of a file for {name}, got {file!r}")
    folder = member(into, option)
    folder.mkdir()
    (folder / file).write_bytes(_read(path, archive, name, about["bytes"]))
    if why := differs(folder / file, about):
        raise VcworkError(f"{path}: {name} was changed: not the one of {AUDIT.manifest} ({why})")
    return folder / file


def _read(path: Path, archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """A member of at most so many bytes, whatever the archive tells of its size."""
    with archive.open(name) as file:
        data = file.read(max(0, min(most, WITHIN)) + 1)
    if len(data) > min(most, WITHIN):
        raise VcworkError(f"{path}: {name} is larger than {most:,} bytes")
    return data


def _check_told(path: Path, told: Any) -> None:
    if not isinstance(told, dict) or told.get("format") != BUNDLE:
        raise VcworkError(f"{path}: expected a bundle of the format {BUNDLE}")
    if told.pop(SEALED, None) != sha256_json(told):
        raise VcworkError(f"{path}: {AUDIT.manifest} was changed: its own digest differs")


def first_difference(there: Any, here: Any, at: str = "") -> str:
    """Where two JSON values first differ by more than 1e-6, and in what; "" where they do not."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in [*there, *(key for key in here if key not in there)]:
            if key not in there or key not in here:
                return f"{at}{key}: only {'here' if key in here else 'in the bundle'}"
            if found := first_difference(there[key], here[key], f"{at}{key}, "):
                return found
        return ""
    if isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        pairs = enumerate(zip(there, here, strict=True))
        return next((found for i, (a, b) in pairs if (found := first_difference(a, b, f"{at}{i}, "))), "")
    numbers = all(isinstance(each, int | float) and not isinstance(each, bool) for each in (there, here))
    if there == here or (numbers and abs(there - here) <= 1e-6 * max(1.0, abs(there))):
        return ""
    return f"{at.removesuffix(', ')}: the bundle says {there!r}, here it is {here!r}"
