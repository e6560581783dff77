"""Runs of one profile with several seeds: mean, t interval and range; older records open; two splits are refused."""

from pathlib import Path

import pytest
from checks import edited, refused

from vcwork.base.sealed import seal, write_manifest, write_sealed
from vcwork.measure.result import METRICS
from vcwork.workbench import page, seeds
from vcwork.workbench.records import RUN

OLD = {"name": "t2v_R@1", "value": 0.5, "low": 0.4, "high": 0.6, "chance": 0.1, "protocol": "27 clips", "n": 27,
       "trivial": {"constant score": 0.1}, "paper": None, "extra": {}, "unit": "share"}  # fmt: skip
CARD = {"task": "retrieval", "split": "lab test", "pool": 27, "captions": 1, "ties": "expected"}


def _run(folder: Path, seed: int, value: float, **changes) -> Path:
    rows = [{"notebook": "30_retrieval", **OLD, "value": value, **changes}] * 2
    (folder / str(seed)).mkdir()
    write_manifest(folder / str(seed), RUN, {"status": "done", "seed": seed, "profile": "lab", "notebooks": []})
    write_sealed(folder / str(seed) / METRICS, {"format": "vcwork-metrics-2", "results": rows})
    return folder / str(seed)


def test_mean_t_interval_and_range_over_seeds(tmp_path):
    folders = [_run(tmp_path, seed, value, card=CARD) for seed, value in enumerate((0.2, 0.3, 0.4))]
    lines = seeds.summarise(folders).splitlines()
    assert lines[0].split("  ")[0] == "metric" and "95 % t interval" in lines[0]
    assert lines[2].startswith("30 t2v_R@1") and lines[3].startswith("30 t2v_R@1 (2)")
    for text in ("30.0 %", "5.2 % .. 54.8 %", "20.0 % .. 40.0 %", "20.0 %, 30.0 %, 40.0 %"):
        assert text in lines[2]


def test_runs_older_than_cards_open_in_table_and_page(tmp_path):
    folders = [_run(tmp_path, seed, 0.3) for seed in (0, 1)]
    assert "30.0 % .. 30.0 %" in seeds.summarise(folders)
    text = page.metrics_text([{"name": "30_retrieval", "results": [OLD, OLD | {"card": CARD, "name": "new"}]}])
    assert "t2v_R@1" in text and "10.0 % chance" in text and "new" in text


def test_runs_on_two_splits_and_unfinished_ones_are_refused(tmp_path):
    one, other = _run(tmp_path, 0, 0.3, card=CARD), _run(tmp_path, 1, 0.3, card=CARD | {"split": "lab val"})
    refused(r"30 t2v_R@1 over seeds: numbers of two splits.*'lab test' and 'lab val'", seeds.summarise, [one, other])
    edited(other, RUN, {"status": "failed"})
    refused("expected a finished run, this one is 'failed'", seeds.summarise, [one, other])
    refused("one profile and different seeds", seeds.summarise, [one, one])


@pytest.mark.parametrize(("told", "ran", "message"), [
    ((None, 0), [{"seed": 0}], r"different seeds, got \['lab'\] with seeds \[0, 0\]"),  # without --seed: the default
    ((None, None), [{"seed": 1}], None),  # by --set 30.seed=1
    ((0, 1), [{"seed": 1, "draws": 50}], "expected runs that differ in their seed alone, 30 has draws 50 here and 9"),
    ((0, None), [{"seed": 1}, {"seed": 2}], "1: expected one seed of all its notebooks .--seed., got 30 1, 31 2"),
])  # fmt: skip
def test_a_runs_seed_is_what_its_notebooks_ran_with_and_nothing_else_differs(told, ran, message, tmp_path):
    folders = [_run(tmp_path, n, 0.3, card=CARD) for n in (0, 1)]
    for folder, seed, notebooks in zip(folders, told, ([{"seed": 0}], ran), strict=True):
        held = [{"name": str(30 + n), "given": {}, "hashes": {}, "parameters": {"draws": 9} | each}
                for n, each in enumerate(notebooks)]  # fmt: skip
        edited(folder, RUN, {"seed": seed, "notebooks": held})
    if message:
        refused(message, seeds.summarise, folders)
    else:
        assert [seed for _, seed, _ in seeds.read_runs(folders)] == [0, 1]


def test_numbers_that_were_changed_are_refused(tmp_path):
    one, other = _run(tmp_path, 0, 0.3, card=CARD), _run(tmp_path, 1, 0.3, card=CARD)
    edited(other, RUN, {"seed": 2}, seal=False)
    refused("run.json: its own digest.*verify --seal", seeds.summarise, [one, other])
    edited(other, RUN, {"files": {METRICS: seal(other / METRICS)}})
    text = (other / METRICS).read_text()
    (other / METRICS).write_text((one / METRICS).read_text().replace("0.3,", "0.3, ", 1))
    refused("metrics.json: missing, or not the file of run.json", seeds.summarise, [one, other])
    (other / METRICS).write_text(text)
    assert seeds.summarise([one, other])
    (one / METRICS).write_text(text.replace("0.3", "0.4", 1))
    refused("metrics.json: its own digest", seeds.summarise, [one, other])
    for row in ({"notebook": "30"}, "no row", {}):
        write_sealed(one / METRICS, {"format": "vcwork-metrics-2", "results": [row]})
        refused("metrics.json: expected another structure|result None: no name", seeds.summarise, [one, other])


def test_a_documents_table_is_what_three_runs_say(tmp_path, monkeypatch):
    monkeypatch.setattr(seeds, "project_root", lambda: tmp_path)
    over = {"opponent": "bag of words", "difference": 0.2, "low": 0.1, "high": 0.3, "p": 0.01}
    more = {"trivial": {"constant score": 0.1, "bag of words": 0.15, "one second": 0.9}, "extra": {"over": over}}
    folders = [_run(tmp_path, seed, value, card=CARD, **more) for seed, value in enumerate((0.2, 0.3, 0.4))]
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- table: lab: 30 -->\nold\n<!-- end -->\nafter\n")
    refused("expected the numbers of at least 2 runs of lab, got 0", seeds.fill, [page])
    seeds.keep(folders)
    seeds.fill([page])
    text = page.read_text()
    assert "old" not in text and text.startswith("before") and text.endswith("after\n")
    assert "| retrieval, 27 clips, any clip of the step counts | text→video R@1 | 30.0 % (20.0 – 40.0) | 10.0 |" in text
    assert "| 10.0 % | 15.0 % bag of words | +20.0 points (+10.0 .. +30.0) |" in text
    assert seeds.filled(text) == text
    number = tmp_path / seeds.NUMBERS / "lab-seed0.json"
    number.write_text(number.read_text().replace("0.2", "0.9", 1))
    refused("lab-seed0.json: its own digest", seeds.filled, text)
    refused("found none", seeds.filled, "no table")


@pytest.mark.parametrize("page", ["README.md", "docs/reproduction.md"])
def test_tables_of_the_documents_are_what_is_kept(page):
    path = Path(__file__).parents[1] / page
    text = path.read_text(encoding="utf-8")
    if not list((path.parents[len(Path(page).parts) - 1] / seeds.NUMBERS).glob("lab-seed*.json")):
        pytest.skip("no numbers are kept yet")
    assert seeds.filled(text) == text, f"python -m vcwork table --into {page}"
