"""Nothing that came as data is run or steers what shows it: terminals, readers of every kind, servers, pages."""

import json
import os
import pickle
import re
import socket
import subprocess
import sys
import types
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from nbformat.sign import NotebookNotary
from toys import toy_contract

from vcwork.__main__ import main
from vcwork.base.console import say, shown
from vcwork.base.errors import VcworkError
from vcwork.base.files import read_yaml, sha256_file, template
from vcwork.base.sealed import member
from vcwork.data.backbones.hugging_face import model_files
from vcwork.data.howto100m.packed import read_meta
from vcwork.data.store import load_npy, open_store, write_store
from vcwork.data.video import probe, write_mp4
from vcwork.encoders.peers import load_peer
from vcwork.encoders.released import read_released
from vcwork.panels.alignment import AlignmentExplorer, Row
from vcwork.panels.base import Narrated
from vcwork.panels.wall import Card, Said, VideoWall
from vcwork.review.scores import open_scores
from vcwork.training.recipe import read_recipe
from vcwork.workbench import servers
from vcwork.workbench.own_asking import _picture as _asked_picture
from vcwork.workbench.parameters import from_text, parse_parameters
from vcwork.workbench.servers import keep_own, own_notebooks, trust_own

ROOT = Path(__file__).resolve().parents[1]
STEERING = "\x1b]0;owned\x07\x1b[2J\r\u202egnp.\x9b31m"  # a window's title, a wiped screen, text that runs backwards

# ------------------------------------------------------------------------------------------------------- terminals


def test_what_is_printed_cannot_steer_a_terminal(capsys):
    say("films/", STEERING, "two\nlines\tof onion, ножом, 切る, שלום", sep="")
    told = capsys.readouterr().out
    assert not set("\x1b\x07\r\u202e\x9b") & set(told)
    assert (
        told == "films/" + r"\x1b]0;owned\x07\x1b[2J\r\u202egnp.\x9b31m" + "two\nlines\tof onion, ножом, 切る, שלום\n"
    )
    assert shown(STEERING.encode("unicode_escape").decode()) == STEERING.encode("unicode_escape").decode()


@pytest.mark.parametrize("command", [["check"], ["list"], ["papermill"], ["import"], ["explore"], ["table"]])
def test_a_name_in_a_message_cannot_steer_the_terminal(command, capsys, tmp_path):
    more = [str(tmp_path / "out")] if command == ["import"] else []
    assert main([*command, f"{STEERING}\nvcwork: done", *more]) == 2
    told = capsys.readouterr()
    assert "\nvcwork: done" not in told.out + told.err, "a line of its own is not the name's"
    assert "owned" in told.err and not set("\x1b\x07\r\u202e\x9b") & set(told.out + told.err)


# ------------------------------------------------------------------------------------------------------- notebooks


def test_the_projects_own_notebooks_are_those_that_lie_there(root):
    """`notebooks/own.sha256` is written by `./run notebooks`, which executes and stores them."""
    lying = {path.name: sha256_file(path) for path in (root / "notebooks").glob("*.ipynb")}
    assert own_notebooks(root) == lying, "execute and store them again: ./run notebooks NAME"


def test_the_lab_trusts_the_projects_own_notebooks_and_no_others(tmp_path, monkeypatch):
    """A stranger's beside them, one changed since, one of an own name that somebody replaced: none shows scripts."""
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for i, name in enumerate(("own", "changed", "stranger")):
        shown = nbformat.v4.new_output("display_data", {"text/html": f"<script>alert({i})</script>"})
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", outputs=[shown])])
        nbformat.write(notebook, folder / f"{name}.ipynb")
        if name != "stranger":
            keep_own(tmp_path, f"{name}.ipynb")
    (folder / "changed.ipynb").write_text((folder / "changed.ipynb").read_text("utf-8").replace("alert(1)", "steal()"))
    assert trust_own(tmp_path) == ["own.ipynb"]
    notary = NotebookNotary()
    trusted = [path.stem for path in folder.glob("*.ipynb") if notary.check_signature(nbformat.read(path, 4))]
    assert trusted == ["own"]


@pytest.mark.parametrize("command", [["lab", "--no-browser"], ["app", "40", "--port=1"]])
def test_servers_are_told_to_stay_at_home(command, root, monkeypatch):
    called = []
    monkeypatch.setattr(servers.os, "execve", lambda program, line, environment: called.append((line, environment)))
    monkeypatch.setattr(servers, "trust_own", lambda root: [])
    monkeypatch.chdir(root)
    main(command)
    [(line, environment)] = called
    assert line[-1] == command[-1] and str(servers.TEMPLATES) in environment["JUPYTER_PATH"]
    assert not any("0.0.0.0" in part or "allow_origin" in part or part.endswith("token=") for part in line)
    if command[0] == "lab":
        assert f"--ServerApp.root_dir={root}" in line and any("00_start" in part for part in line), (
            "results are in reach"
        )
    else:
        assert {"--token", "--Voila.ip=127.0.0.1", "--template=vcwork"} <= set(line)


def test_root_may_open_jupyterlab_and_is_told_why(root, monkeypatch, capsys):
    called = []
    monkeypatch.setattr(servers.os, "execve", lambda program, line, environment: called.append(line))
    monkeypatch.setattr(servers, "trust_own", lambda root: [])
    monkeypatch.chdir(root)
    for user in (0, 1000):
        monkeypatch.setattr(servers.os, "geteuid", lambda user=user: user)
        servers.lab(root, [])
    assert ["--allow-root" in line for line in called] == [True, False]
    assert capsys.readouterr().out.count("as root") == 1


def test_an_app_needs_a_notebook(capsys):
    assert main(["app"]) == 2 and main(["app", "--port=1"]) == 2 and main(["app", "77"]) == 2
    assert capsys.readouterr().err.count("\n") == 3


# ---------------------------------------------------------------------------------------------- readers of every kind


@pytest.fixture
def canary(tmp_path):
    """A file that no payload may make, and the ways in which payloads try; looked for when the test is over."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists(), "something of the data was run"


class Payload:
    """Pickles into a call that makes the file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def python(path: Path) -> str:
    return f"open({str(path)!r}, 'w').close()"


def test_the_trial_would_be_noticed(tmp_path):
    """The payloads do what they say where somebody does run them."""
    for i, run in enumerate((lambda p: pickle.loads(pickle.dumps(Payload(p))), lambda p: exec(python(p)))):
        run(tmp_path / f"ran{i}")
        assert (tmp_path / f"ran{i}").exists()


OBJECTS = {".npy": np.save, ".npz": lambda path, array: np.savez(path, array)}


def pickled_array(path, canary, suffix=".npy"):
    array = np.empty(2, object)
    array[:] = [Payload(canary), Payload(canary)]
    OBJECTS[suffix](path, array)


def _npy(folder, canary):
    pickled_array(folder / "v.npy", canary)
    load_npy(folder / "v.npy")


def _npz_named_npy(folder, canary):
    pickled_array(folder / "v.npz", canary, ".npz")
    (folder / "v.npz").rename(folder / "v.npy")
    load_npy(folder / "v.npy")


def _pickle_named_npy(folder, canary):
    (folder / "v.npy").write_bytes(pickle.dumps(Payload(canary)))
    load_npy(folder / "v.npy")


def _store(folder, canary):
    write_store(folder / "store", toy_contract(4), {"v": np.zeros((3, 4), np.float32)})
    pickled_array(folder / "store" / "shard-00000.npy", canary)
    open_store(folder / "store", verify=True)


def _scores(folder, canary):
    pickled_array(folder / "scores.npz", canary, ".npz")
    open_scores(folder / "scores.npz")


def _checkpoint(folder, canary):
    torch.save({"model": Payload(canary)}, folder / "best.pt")
    read_released(folder / "best.pt")


def _weights(folder, canary):
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(canary)))
    (folder / "config.json").write_text('{"model_type": "clip"}')
    load_peer(folder)


def _meta(folder, canary):
    (folder / "train_meta.pkl").write_bytes(pickle.dumps({0: Payload(canary)}))
    read_meta(folder / "train_meta.pkl")


def _yaml(folder, canary):
    (folder / "a.yaml").write_text(f"seed: !!python/object/apply:os.system ['touch {canary}']\n")
    read_yaml(folder / "a.yaml")


def _yaml_new(folder, canary):
    (folder / "a.yaml").write_text(f"!!python/object/new:type\nargs: ['x', !!python/tuple [], "
                                   f"{{'extend': !!python/name:exec }}]\nlistitems: {python(canary)!r}\n")  # fmt: skip
    read_yaml(folder / "a.yaml")


def _recipe(folder, canary):
    (folder / "a.yaml").write_text(f"model: !!python/object/apply:builtins.exec [{python(canary)!r}]\n")
    read_recipe(folder / "a.yaml")


def _setting(folder, canary):
    from_text(f"!!python/object/apply:os.system ['touch {canary}']", "int")


def _annotation(folder, canary):
    parse_parameters(f"a: [{python(canary)} for b in [1]][0] = 1", "a.ipynb")


def _default(folder, canary):
    parse_parameters(f"a: int = {python(canary)} or 1", "a.ipynb")


def _decorated(folder, canary):
    parse_parameters(f"@exec({python(canary)!r})\nclass a: pass", "a.ipynb")


def _text_formula(folder, canary):
    parse_parameters(f"a: str = f'{{{python(canary)}}}'", "a.ipynb")


def _picture(folder, canary):
    (folder / "a.png").write_text(f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n({canary}) (w) file closefile\n")
    _asked_picture(types.SimpleNamespace(eye=types.SimpleNamespace(size=8, fps=1)), folder / "a.png")


REFUSED = (_npy, _npz_named_npy, _pickle_named_npy, _store, _scores, _checkpoint, _weights, _meta, _yaml, _yaml_new,
           _recipe, _setting, _annotation, _default, _decorated, _text_formula, _picture)  # fmt: skip


@pytest.mark.parametrize("read", REFUSED, ids=lambda read: read.__name__.strip("_"))
def test_a_reader_refuses_what_would_run(read, tmp_path, canary):
    with pytest.raises(VcworkError) as told:
        read(tmp_path, canary)
    assert "\n" not in str(told.value) and len(str(told.value)) < 1000


TEMPLATE = "{{ cycler.__init__.__globals__.os.system('touch CANARY') }}{% for x in () %}${7*7}<%= 7*7 %>"


def test_a_template_in_a_text_stays_a_text(tmp_path, canary):
    """Labels, names and captions that are template code reach pages as they are."""
    text = TEMPLATE.replace("CANARY", str(canary))
    rows = [Row(text), Row("stir")]
    pages = [
        AlignmentExplorer(Narrated(text, 3), rows, np.arange(6.0).reshape(2, 3), title=text).page(above=text),
        VideoWall([Card(text, 3.0)], [Said(text, 0)], title=text).page(),
        template("vcwork.workbench", "own_ways.html.j2").render(near=[("a.html", text, 0.5)]),
    ]
    for page in pages:
        assert "cycler.__init__" in page and "${7*7}" in page


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{url}a.ts\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{url}a.mp4'\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{url}</BaseURL></MPD>',
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "outside": "ffconcat version 1.0\nfile '{outside}'\n",
    "outside hls": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{outside}\n#EXT-X-ENDLIST\n",
}


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
@pytest.mark.parametrize("kind", PLAYLISTS)
def test_a_film_that_is_a_playlist_reaches_nothing(kind, suffix, tmp_path):
    """Neither an address nor a film elsewhere on the disk, whatever FFmpeg would play."""
    write_mp4(tmp_path / "elsewhere" / "secret.mp4", [np.full((16, 16, 3), 99, np.uint8)] * 8, 4)
    with socket.create_server(("127.0.0.1", 0)) as listens:
        listens.settimeout(0.2)
        url, film = f"http://127.0.0.1:{listens.getsockname()[1]}/", tmp_path / "films" / f"a{suffix}"
        film.parent.mkdir()
        film.write_text(PLAYLISTS[kind].format(url=url, outside=tmp_path / "elsewhere" / "secret.mp4"))
        with pytest.raises(VcworkError):
            probe(film)
        with pytest.raises(TimeoutError):
            listens.accept()


def test_no_module_is_imported_from_among_the_data(tmp_path, canary, make_films):
    """The command is typed in a folder of films where somebody put files with the names of packages."""
    films = make_films(tmp_path / "films", 2)
    for name in (
        "argparse",
        "socket",
        "struct",
        "torch",
        "av",
        "numpy",
        "yaml",
        "tqdm",
        "sitecustomize",
        "json",
        "faiss",
    ):
        (films / f"{name}.py").write_text(python(canary))
    command = [sys.executable, "-m", "vcwork", "extract", str(films), "--out", str(tmp_path / "out"), "--workers", "2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=films, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "2 videos" in done.stdout, done.stderr


@pytest.mark.parametrize(
    "name", ["../out.npy", "/out.npy", "a/../../out.npy", "C:\\out.npy", "..\\out.npy", "a\0.npy", ""]
)
def test_a_manifest_cannot_name_a_path_outside(name, tmp_path):
    with pytest.raises(VcworkError, match="plain file name"):
        member(tmp_path, name)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": name}}))
    with pytest.raises(VcworkError, match="plain file name"):
        model_files(tmp_path)


def test_the_product_mocks_nothing(root):
    for path in (root / "vcwork").rglob("*.py"):
        assert not re.search(r"\bunittest\b|\bmock\b", path.read_text("utf-8")), path
