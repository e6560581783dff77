"""Folders of Hugging Face models: given or fetched from the hub, weights from safetensors alone, errors in a sentence.

No code and no pickle of a folder is ever run; one that asks for its own code is refused. torch loads when a model does:
workers of light backbones import this.
"""

import contextlib
import ctypes
import functools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vcwork.base.errors import VcworkError
from vcwork.base.files import read_json, resolve, sha256_file, sha256_json
from vcwork.base.sealed import member, well_formed

_TRIM_AND_MMAP_THRESHOLD, _ALL_OF_IT = (-1, -3), 1 << 30  # glibc's malloc.h: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD; bytes

# models whose main revision has pickled weights alone: the one at which the hub's own converter put safetensors beside
SAFE = {"openai/clip-vit-base-patch32": "d15b5f29721ca72dac15f8526b284be910de18be"}


def is_hub_name(source: str | Path) -> bool:
    """Whether this is a model of the hub by its name, `owner/model` or `owner/model@revision`, and not a path.

    A path: something of that name lies here, or a folder in which it could.
    """
    text = str(source)
    here = resolve(text).exists() or resolve(text.partition("/")[0]).exists()
    return bool(re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*(@[\w./-]+)?", text)) and not here


def hub_folder(what: str, name: str, patterns: Sequence[str], expected: str) -> Path:
    """`name` where it is a folder, else where the hub's model of that name was stored; VcworkError says what that is
    for (`what`) and what was `expected`."""
    if resolve(name).is_dir():
        return without_code(resolve(name))
    from huggingface_hub import snapshot_download

    model, _, revision = name.partition("@")
    try:
        found = snapshot_download(model, revision=revision or SAFE.get(model), allow_patterns=list(patterns))
    except Exception as error:  # no network, no such model, not a legal name: all mean the same to the caller
        failed = f"could not fetch it ({type(error).__name__}); without a network, copy its folder here and give that"
        raise VcworkError(f"{what} {name!r}: {expected}; {failed}") from error
    return without_code(Path(found))


def without_code(folder: Path) -> Path:
    """The folder; VcworkError where its settings want Python of its own to be run (`auto_map`)."""
    for path in sorted(folder.glob("*config.json")):
        if _asks_for_code(read_json(path)):
            out = "take a model whose class is one of transformers' own, or save it as such"
            raise VcworkError(f"{path}: refused, it asks for code of its own to be run ('auto_map'); {out}")
    return folder


def _asks_for_code(settings: Any) -> bool:
    inside = settings.values() if isinstance(settings, dict) else settings if isinstance(settings, list) else ()
    return (isinstance(settings, dict) and "auto_map" in settings) or any(map(_asks_for_code, inside))


def weights_digest(folder: Path, files: Sequence[Path] | None = None) -> str:
    """sha256 of the weights' file, or of its shards' digests; by default all safetensors of the folder."""
    files = sorted(folder.glob("*.safetensors")) if files is None else files
    missing = [path.name for path in files if not path.is_file()]
    if missing or not files:
        pickled = "; pickled weights (.bin) are not read, save them as safetensors" if [*folder.glob("*.bin")] else ""
        raise VcworkError(f"{folder}: expected weights in {', '.join(missing) or '.safetensors'}, found none{pickled}")
    digests = [sha256_file(path) for path in files]
    return digests[0] if len(digests) == 1 else sha256_json(digests)


def model_files(folder: Path) -> list[Path]:
    """model.safetensors, or the shards that its index names; other files of weights in the folder do not count."""
    index = folder / "model.safetensors.index.json"
    with well_formed(index):
        names = set(read_json(index)["weight_map"].values()) if index.is_file() else {"model.safetensors"}
        return [member(folder, name) for name in sorted(names)]


def folder_digest(folder: Path) -> str:
    """Who a model is that something begins with: sha256 over its weights, configurations and vocabularies."""
    kinds = (".json", ".txt", ".safetensors", ".model")
    return sha256_json({path.name: sha256_file(path) for path in sorted(folder.iterdir()) if path.suffix in kinds})


def read_model(reader: type, folder: Path, **options: Any) -> Any:
    """A transformers model in evaluation mode, float32; weights that it would draw at random are an error."""
    if not any(path.is_file() for path in model_files(folder)):
        weights_digest(folder, model_files(folder))  # says which
    model, absent = load_model(reader, folder, f"a {reader.__name__}", **options)
    if absent:
        raise VcworkError(f"{folder}: {len(absent)} weights of {reader.__name__} are absent, among them {absent[0]}")
    return model


def load_model(reader: type, folder: Path, what: str, **options: Any) -> tuple[Any, list[str]]:
    """A transformers model in evaluation mode, float32, and the names of weights that it had to draw at random."""
    import torch

    model_files(without_code(folder))  # none of which lies elsewhere
    options |= {"dtype": torch.float32, "use_safetensors": True, "local_files_only": True}
    options |= {
        "output_loading_info": True,
        "ignore_mismatched_sizes": True,
    }  # told below: its own report goes to a log
    with quiet(), as_error(f"{folder}: not usable as {what}"):
        model, found = reader.from_pretrained(folder, **options)
    wrong = [f"{key} expected {tuple(want)}, got {tuple(got)}" for key, got, want in sorted(found["mismatched_keys"])]
    if wrong:
        raise VcworkError(f"{folder}: {len(wrong)} weights are not of the shape that config.json tells, {wrong[0]}")
    absent, surplus = sorted(found["missing_keys"]), sorted(found["unexpected_keys"])
    if absent and surplus:
        absent[0] += f" (the file has {len(surplus)} other names, such as {surplus[0]})"
    return model.eval(), absent


@contextlib.contextmanager
def as_error(what: str) -> Iterator[None]:
    """Whatever a reader of files raises becomes a VcworkError that begins with `what`."""
    try:
        yield
    except VcworkError:
        raise
    except Exception as error:  # every kind of broken file has its own exception
        raise VcworkError(f"{what} ({type(error).__name__}: {(str(error).splitlines() or [''])[0]})") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """transformers without its bars and reports, which are noise in a notebook."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """No gradients, and one thread: workers are processes, and features must not depend on their number."""
    import torch

    keep_freed_memory()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(threads)


@functools.cache
def keep_freed_memory() -> bool:
    """Have the C library keep what is freed rather than give it back; False where it is another one than glibc.

    A backbone takes and frees the same hundreds of megabytes every second of film. New pages for them were a quarter of
    S3D's time on one core, and two processes had to wait for each other to get them.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return all(mallopt(option, _ALL_OF_IT) for option in _TRIM_AND_MMAP_THRESHOLD)


def give_freed_memory_back() -> None:
    """What `keep_freed_memory` has kept, where no backbone computes any more: a fifth of a gigabyte after S3D."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
