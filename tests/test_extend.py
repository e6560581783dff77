"""`docs/extend.md`: every block of it runs as it stands, and gives what the page says."""

import json
import re
import shlex

import numpy as np
import pytest
from checks import refused

from vcwork import __main__ as cli
from vcwork.data.backbones.image import get_backbone, given_backbone
from vcwork.data.store import open_store
from vcwork.data.video import write_mp4

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"^`([\w/]+\.\w+)`[^\n]*:\n\n\Z", re.MULTILINE)  # the line before a block that is a file


@pytest.fixture(scope="module")
def page(root, tmp_path_factory, ws):
    """The page's blocks, done in order: files are written, Python and commands run; (folder, names, what was said)."""
    assert ws.encoder.digest  # the world that `prepare()` opens
    home, names, said = tmp_path_factory.mktemp("extend"), {}, []
    text = (root / "docs" / "extend.md").read_text(encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(home)
        for found in BLOCK.finditer(text):
            kind, block = found.groups()
            if named := FILE.search(text[: found.start()]):
                _write(home, named[1], block)
            else:
                _do(kind, block.replace('"mine', f'"{home}/mine').replace(" mine", f" {home}/mine"), names, said)
        yield home, names, said


def _write(home, name: str, block: str) -> None:
    path = home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(block, encoding="utf-8")
    if path.name == "corpus.json":  # its films
        (path.parent / "videos").mkdir()
        for number, video in enumerate(json.loads(block)["videos"]):
            frames = (np.full((64, 64, 3), 20 * second + 9 * number, np.uint8)
                      for second in range(int(video["duration_s"])) for _ in range(4))  # fmt: skip
            write_mp4(path.parent / video["video"], frames, 4)
    if path.name == "contract.json":  # its features
        for video, seconds in (("a", 9), ("b", 4)):
            np.save(path.parent / f"{video}.npy", np.ones((seconds, 8), np.float32))


def _do(kind: str, block: str, names: dict, said: list) -> None:
    if kind == "python":
        names["print"] = said.append
        exec(compile(block, "docs/extend.md", "exec"), names)
    else:
        assert kind == "sh" and block.startswith("./run ")
        assert cli.main([*shlex.split(block)[1:], "--workers", "1"]) == 0


def test_a_task_in_twenty_lines_is_the_template(page, root) -> None:
    block = BLOCK.search((root / "docs" / "extend.md").read_text(encoding="utf-8"))[2]
    task = block.split("\nws = ", 1)[1]
    assert len(task.splitlines()) <= 20
    stored = json.loads((root / "notebooks" / "template.ipynb").read_text(encoding="utf-8"))
    tables = [output["data"]["text/plain"] for cell in stored["cells"] if "results" in cell["metadata"].get("tags", [])
              for output in cell["outputs"] if "data" in output]  # fmt: skip
    value = re.search(r"same_step +[\d.]+ %  [\d.]+ % \.\. [\d.]+ %  [\d.]+ %", "".join(tables[0]))[0]
    assert value in page[2][0]


def test_a_corpus_with_truth_is_scored(page) -> None:
    _, names, said = page
    first = names["ws"]  # the world before it
    assert len(names["clips"]) == 3 and first.corpus.name == "lab"
    assert re.search(r"t2v_R@1 .* two salads test", said[1].replace("\n", " ")), said[1]


def test_a_backbone_named_on_the_command_line(page) -> None:
    home = page[0]
    store = open_store(home / "mine" / "colours")
    assert store.contract.backbone == "colours-1" and store.lengths == {"first": 6, "second": 5}
    brightness = np.arange(6) * 20 / 255
    assert np.allclose(store["first"], brightness[:, None], atol=0.02)


def test_what_a_command_line_cannot_name(page, monkeypatch) -> None:
    home = page[0]
    monkeypatch.syspath_prepend(home)
    (home / "poor_eye.py").write_text("class Eye:\n    name = 'x'\n\nclass Needs:\n    def __init__(self, x): ...\n")
    for text in ("motion", "s3d:file.pt", "peer:clip", "owner/model", "a/b:c", "C:\\models", ""):
        assert given_backbone(text) == text
    for text, why in (("no_such:Eye", "No module"), ("poor_eye:Ear", "no attribute"), ("poor_eye:Needs", "argument")):
        refused(rf"{text}: expected package.module:Class .*{why}", given_backbone, text)
    refused("poor_eye:Eye: expected a backbone with name, .*; no weights", given_backbone, "poor_eye:Eye")


def test_no_data_names_code(page, monkeypatch) -> None:
    """The same text out of a notebook's parameter, a contract or a record is a model's name, and imports nothing."""
    home = page[0]
    monkeypatch.syspath_prepend(home)
    (home / "would_run.py").write_text(f"open({str(home / 'it_ran')!r}, 'w')\n")
    refused("would_run:Eye", get_backbone, "would_run:Eye")
    assert not (home / "it_ran").exists()
    refused("would_run:Eye: expected package.module:Class", given_backbone, "would_run:Eye")
    assert (home / "it_ran").exists(), "the test would see it"


def test_a_benchmark_of_ones_own_keeps_its_name(page) -> None:
    _, names, said = page
    assert said[2] == "test: Kitchen test 3"
    assert names["corpus"].meta["benchmark"]["name"] == "Kitchen" and names["store"].lengths == {"a": 9, "b": 4}
