"""The released checkpoint's layout, read into ours and written back: key by key, nothing silently skipped.

A checkpoint is a pickle; it is read with `weights_only=True`. What trainers leave beside the weights (NumPy's numbers,
settings of OmegaConf, fairseq or Lightning) is named and replaced by empty stand-ins: no class or function of another
package is called, or even imported. Wrappers' prefixes (module., _orig_mod., model.) are found and taken off. Import
maps every name, tells what it mapped, kept, missed or could not fit, and refuses what it does not expect. What our
model does not carry (the video tower's word table, poolers, a task head, the stored precision) is kept beside it in
`released.safetensors`, so that export gives back the same tensors; COIN's head is used from there, by
`vcwork.training.segmentation_head.load_classifier`.
Gap: the release itself could not be fetched here; names and shapes are those of a file made in its layout.
"""

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor

from vcwork.base.errors import VcworkError
from vcwork.base.files import resolve
from vcwork.base.sealed import begin, read_tensors, refuse_packed, write_tensors
from vcwork.core.config import ModelConfig
from vcwork.core.model import VideoCLIP
from vcwork.core.text import Tokenizer
from vcwork.data.backbones.image import get_backbone
from vcwork.data.extract import contract_of
from vcwork.data.store import S3D_FEATURES
from vcwork.encoders.checkpoint import CHECKPOINT, load_card, load_model, refuse_taken, save_encoder, write_torch
from vcwork.encoders.encoder import Encoder

PREFIX = "mmmodel."
CLS, SEP = 101, 102  # rows of the video tower's word table that are ever read
KEPT = "released.safetensors"
HEAD_OF = "video_encoder.classifier."  # of a file that was fine-tuned on COIN
VIDEO_WORDS = "video_encoder.bert.embeddings.word_embeddings.weight"

_RENAMED = (  # theirs, ours; the first that fits, whichever way one reads
    ("video_encoder.videomlp.LayerNorm.", "video_mlp.norm."),
    ("video_encoder.videomlp.", "video_mlp."),
    ("video_encoder.bert.", "video_bert."),
    ("text_encoder.", "text_bert."),
)
_NOT_USED = re.compile(
    r"(^video_encoder\.bert\.|^text_encoder\.)(pooler\.dense\.(weight|bias)|embeddings\.position_ids)$"
    r"|^video_encoder\.classifier\.(weight|bias)$"
)


@dataclass
class ImportReport:
    """What became of each entry of a released file; names are the release's, without prefix."""

    mapped: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)  # known, not used by our model, stored for export
    unexpected: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # on the file: what was left unread, which prefix was taken off
    mismatched: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)  # expected, got
    broken: list[str] = field(default_factory=list)  # hold NaN or infinity, or no floating-point numbers

    @property
    def clean(self) -> bool:
        """Every entry known, every weight of ours filled, with finite numbers."""
        return not (self.unexpected or self.missing or self.mismatched or self.broken)

    def text(self) -> str:
        """One line a kind, and every name that is wrong."""
        shapes = [f"{name} expected {want}, got {got}" for name, (want, got) in self.mismatched.items()]
        wrong = {"unexpected": self.unexpected, "missing": self.missing, "of another shape": shapes,
                 "not in floating point, or with NaN or infinity": self.broken}  # fmt: skip
        lines = [*self.notes, f"mapped {len(self.mapped)}", f"kept, not used {len(self.kept)}: {_names(self.kept)}"]
        return "\n".join([*lines, *(f"{what} {len(names)}: {_names(names, 20)}" for what, names in wrong.items())])


class _Nothing:
    """Stands for an object of another package: takes what it is given and keeps none of it."""

    def __new__(cls, *_: object) -> "_Nothing":
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        """No state."""


class _Settings:
    """Stands for a class of settings: a plain dict of what is put into it."""

    def __new__(cls, *_: object) -> OrderedDict:  # type: ignore[misc]
        return OrderedDict()


_NUMBERS = re.compile(r"(numpy|enum|datetime|decimal|fractions|pathlib|typing|builtins)\.")
_PLAIN = re.compile(
    r"(argparse\.Namespace$|omegaconf|fairseq|hydra|lightning|lightning_fabric|pytorch_lightning|easydict)"
)
_RUNS = re.compile(
    r"builtins\.(?!(complex|slice|range|frozenset|bytearray|dict|list|tuple|object|int|float|str|bool)$)"
)
_WEIGHTS = ("state_dict", "model", "model_state_dict")  # what trainers call the weights themselves, beside an average
_CONSOLIDATE = "save the whole weights where they were trained (DeepSpeed: zero_to_fp32.py, FSDP: a full state dict)"
_ANCHOR = "video_encoder.videomlp.linear1.weight"  # where it stands, the names of the release begin
_WRAPPERS = re.compile(r"(?:(?<=\.)|^)(module|_orig_mod|_fsdp_wrapped_module)\.")


def read_released(path: str | Path, notes: list[str] | None = None) -> dict[str, Tensor]:
    """Tensors of a released checkpoint by name, prefixes taken off; a plain state dict or a safetensors file will do.

    notes: gets what was left unread, and the prefix where it is not the release's own. VcworkError: no such file, not
    a checkpoint, or a file that wants more than weights, numbers and settings.
    """
    path, notes = resolve(path), [] if notes is None else notes
    if not path.is_file():
        raise VcworkError(f"{path}: no such checkpoint")
    refuse_packed(path)
    try:
        with open(path, "rb") as file:
            is_plain = path.suffix == ".safetensors" or file.read(9)[8:] == b"{"  # behind its length, its header
        found = read_tensors(path) if is_plain else _unpickled(path, notes)
    except VcworkError:
        raise
    except UnpicklingError as error:
        if wanted := re.search(r"GLOBAL (\S+)", str(error)):
            more = f"it holds more than weights and plain settings ({wanted[1]})"
            out = "where it was made, save the weights alone: torch.save(model.state_dict(), FILE)"
            raise VcworkError(f"{path}: refused, nothing of it was run: {more}; {out}") from error
        raise VcworkError(f"{path}: not readable as a checkpoint") from error
    except Exception as error:  # torch and safetensors raise many kinds for a file that is no checkpoint
        raise VcworkError(f"{path}: not readable as a checkpoint ({type(error).__name__})") from error
    sets = _sets_of_tensors(found)
    if not sets:
        names = ", ".join(map(str, found)) if isinstance(found, dict) else type(found).__name__
        raise VcworkError(
            f"{path}: expected a dict of tensors, or one inside, under 'model' or 'state_dict'; got {names}"
        )
    ours = [name for name, some in sets.items() if _prefix_of(some) is not None] or [*sets]
    state, beside = sets[ours[0]], ", ".join(ours[1:])
    if beside and ours[0].split(".")[0] not in ("", *_WEIGHTS):
        raise VcworkError(f"{path}: expected one set of weights, got {ours[0]}, {beside}; save the one that you mean")
    if beside:
        notes.append(f"weights taken: {ours[0] or 'the outermost'}, not {beside}")
    others = [f"{name} ({type(value).__name__})" for name, value in state.items() if not isinstance(value, Tensor)]
    if others:
        notes.append(f"no tensors, left out: {_names(others)}")
        state = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    prefix = _prefix_of(state) or ""
    if prefix not in ("", PREFIX):
        notes.append(f"prefix taken off: {prefix}")
    plain: dict[str, str] = {}
    for name, tensor in state.items():
        if why := _not_whole(tensor):
            raise VcworkError(f"{path}: {name}: expected a dense tensor, got {why}; {_CONSOLIDATE}")
        short = _WRAPPERS.sub("", name).removeprefix(_WRAPPERS.sub("", prefix))
        if (other := plain.setdefault(short, name)) != name:
            raise VcworkError(f"{path}: expected one tensor for {short}, got {other} and {name}; keep one of the two")
    return {short: state[name] for short, name in plain.items()}


def _unpickled(path: Path, notes: list[str]) -> object:
    """What a checkpoint holds; UnpicklingError where that is more than weights, numbers and settings."""
    try:
        names = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except ValueError:  # not in torch's present form: an older one has no such list
        names = ["argparse.Namespace"]
    known = [name for name in names if (_NUMBERS.match(name) and not _RUNS.match(name)) or _PLAIN.match(name)]
    stand_ins = [(_Nothing if _NUMBERS.match(name) else _Settings, name) for name in known]
    with torch.serialization.safe_globals(stand_ins):
        found = torch.load(path, map_location="cpu", weights_only=True)
    left = [name for name in known if name != "argparse.Namespace"]
    if left:
        notes.append(f"left unread beside the weights: {', '.join(left)}")
    return found


def _sets_of_tensors(found: object, depth: int = 3, at: str = "") -> dict[str, dict[str, Tensor]]:
    """Dicts that hold tensors by name, and where they stand; the outermost and those named so first before others."""
    if not isinstance(found, dict) or not depth:
        return {}
    named = {str(key): value for key, value in found.items()}  # a number among the names is told as one unexpected
    sets = {at: named} if any(isinstance(k, str) and isinstance(v, Tensor) for k, v in found.items()) else {}
    for key, value in sorted(found.items(), key=lambda item: item[0] not in _WEIGHTS):
        sets |= _sets_of_tensors(value, depth - 1, f"{at}.{key}".lstrip("."))
    return sets


def _not_whole(tensor: Tensor) -> str:
    """Why a tensor is not all of its numbers one behind the other, as where a model was kept in parts; "" if it is."""
    kinds = {"sparse": tensor.layout != torch.strided, "quantized": tensor.is_quantized, "meta": tensor.is_meta}
    kinds["empty"] = 0 in tensor.shape
    return next((f"shape {tuple(tensor.shape)} ({kind})" for kind, is_so in kinds.items() if is_so), "")


def _prefix_of(state: Mapping[str, Tensor]) -> str | None:
    """What stands before the release's names, "" or PREFIX with or without wrappers'; None where there are none."""
    whole = (name for name in state if _WRAPPERS.sub("", name).endswith(_ANCHOR))
    name = min(whole, key=len, default=None)
    if name is None:
        return next((PREFIX for name in state if name.startswith(PREFIX)), None)
    plain = _WRAPPERS.sub("", name).removesuffix(_ANCHOR)
    return name.removesuffix(_ANCHOR) if name.endswith(_ANCHOR) else plain


def config_of(state: Mapping[str, Tensor], heads: int | None = None, path: object = "") -> ModelConfig:
    """Sizes as the tensors' shapes tell them. The number of heads is in no shape: 12 at width 768, else to be said.

    VcworkError, which names `path`: tensors that are no released VideoCLIP's.
    """
    sized = ("text_encoder.embeddings.word_embeddings.weight", "text_encoder.encoder.layer.0.intermediate.dense.weight")
    where = f"{path}: " if path else ""
    for name in (_ANCHOR, *sized):
        if name not in state:
            raise VcworkError(f"{where}expected a released VideoCLIP, which has {name}; got {_names(list(state))}")
        if state[name].ndim != 2:
            came = tuple(state[name].shape)
            raise VcworkError(f"{where}{name}: expected a matrix, got shape {came}; {_CONSOLIDATE}")
    hidden, feature_dim = state[_ANCHOR].shape
    vocab_size, ffn = (len(state[name]) for name in sized)
    if heads is None and hidden != 768:
        raise VcworkError(f"heads: cannot be told from the weights at width {hidden}; give --heads")
    layers = {"video_layers": _layers(state, "video_encoder.bert"), "text_layers": _layers(state, "text_encoder")}
    sizes = {"feature_dim": feature_dim, "hidden": hidden, "ffn": ffn, "vocab_size": vocab_size, "heads": heads or 12}
    try:
        return ModelConfig.checked(**sizes, **layers)
    except VcworkError as error:
        raise VcworkError(f"{where}no VideoCLIP has tensors of these shapes ({error})") from None


def map_released(
    state: Mapping[str, Tensor], config: ModelConfig
) -> tuple[dict[str, Tensor], dict[str, Tensor], ImportReport]:
    """Our float32 weights, what we keep for export (as stored), and the report, from released names."""
    ours, kept, report = {}, {}, ImportReport()
    expected = {name: tuple(tensor.shape) for name, tensor in VideoCLIP(config).state_dict().items()}
    for name, tensor in state.items():
        if _NOT_USED.search(name):
            kept[name] = tensor
            report.kept.append(name)
            continue
        target = our_name(name)
        if name == VIDEO_WORDS and tensor.ndim == 2 and len(tensor) > SEP:
            kept[name] = tensor
            tensor = tensor[[CLS, SEP]]  # (2, D)
        if target not in expected:
            report.unexpected.append(name)
        elif tuple(tensor.shape) != expected[target]:
            report.mismatched[name] = (expected[target], tuple(tensor.shape))
        elif not (tensor.is_floating_point() and tensor.float().isfinite().all()):
            report.broken.append(name)
        else:
            ours[target] = tensor.float()
            report.mapped.append(name)
    wrong = {our_name(name) for name in (*report.mismatched, *report.broken)}
    report.missing = [released_name(name) for name in expected if name not in ours and name not in wrong]
    return ours, kept, report


def import_released(
    path: str | Path, folder: str | Path, vocabulary: str | Path = "", heads: int | None = None, strict: bool = True,
    s3d: str | Path = "",
) -> ImportReport:  # fmt: skip
    """Write a released checkpoint into `folder` as one of ours; returns what became of its entries.

    `vocabulary`: folder or file of bert-base-uncased's vocab.txt; without it sentences cannot be encoded, ids can.
    `s3d`: the weights its features come from, to bind the checkpoint to features of just those; without them it opens
    no store. VcworkError, with the report as text, on anything unexpected, missing, of another shape or not
    finite; with `strict=False` what fits is taken, and the rest keeps its random start.
    """
    folder = resolve(folder)
    refuse_taken(folder)
    notes: list[str] = []
    state = read_released(path, notes)
    config = config_of(state, heads, path)
    ours, kept, report = map_released(state, config)
    report.notes = notes
    if strict and not report.clean:
        raise VcworkError(
            f"{path}: not what a released VideoCLIP holds; nothing was written", *report.text().split("\n")
        )
    torch.manual_seed(0)
    model = VideoCLIP(config)
    model.load_state_dict(ours, strict=False)
    contract = contract_of(get_backbone("s3d", weights=s3d)) if str(s3d) else S3D_FEATURES
    tokenizer = Tokenizer.load(resolve(vocabulary)) if str(vocabulary) else None
    if tokenizer and len(tokenizer) != config.vocab_size:
        raise VcworkError(f"{vocabulary}: expected {config.vocab_size} pieces as in {path}, got {len(tokenizer)}")
    dtype = str(next(iter(state.values())).dtype if not report.mapped else state[report.mapped[0]].dtype)
    card = {"imported": resolve(path).name, "dtype": dtype.removeprefix("torch."), "order": list(state)}
    begin(folder, CHECKPOINT)
    write_tensors(folder / KEPT, kept)
    save_encoder(folder, Encoder(model.eval(), tokenizer, contract, card=card))
    return report


def export_released(folder: str | Path, path: str | Path) -> list[str]:
    """Write our checkpoint in the released layout; returns the names that had to be made up.

    An imported checkpoint comes back tensor by tensor, in its stored precision. One trained here gets a video word
    table of zeros around its CLS and SEP rows, and poolers of zeros: the reference code never uses either.
    VcworkError for a model the layout cannot hold (shared towers, input transform, a learned temperature).
    """
    folder, path = resolve(folder), resolve(path)
    if path.exists():
        raise VcworkError(f"{path}: exists already")
    model, card = load_model(folder), load_card(folder)["card"]
    config = model.config
    if config.shared or config.input_transform != "none" or config.learn_temperature or config.learn_bias:
        told = "shared, input_transform, learn_temperature, learn_bias"
        raise VcworkError(f"{folder}: the released layout has no place for {told}")
    kept = read_tensors(folder / KEPT) if (folder / KEPT).is_file() else {}
    state = {released_name(name): tensor for name, tensor in model.state_dict().items()}
    made_up = [name for name in unused_entries(config) if name not in kept]
    table = kept.get(VIDEO_WORDS, torch.zeros(max(config.vocab_size, SEP + 1), config.hidden)).float()
    table[[CLS, SEP]] = state[VIDEO_WORDS]
    state = unused_entries(config) | kept | state | {VIDEO_WORDS: table}
    dtype = getattr(torch, card.get("dtype", "float32"))
    state = {name: t.to(dtype) if t.is_floating_point() else t for name, t in state.items()}
    order = [name for name in card.get("order", []) if name in state]
    model_state = OrderedDict((PREFIX + name, state[name]) for name in [*order, *(n for n in state if n not in order)])
    whole = {"args": None, "cfg": {}, "model": model_state, "criterion": None, "optimizer_history": [],
             "task_state": {}, "extra_state": {}, "last_optimizer_state": {}}  # fmt: skip
    write_torch(path, whole)
    return [*made_up, *([] if VIDEO_WORDS in kept else [VIDEO_WORDS])]


def our_name(name: str) -> str:
    """A released name as `VideoCLIP.state_dict` has it."""
    return _renamed(name, _RENAMED)


def released_name(name: str) -> str:
    return _renamed(name, [(ours, theirs) for theirs, ours in _RENAMED])


def _renamed(name: str, table: Sequence[tuple[str, str]]) -> str:
    return next((new + name.removeprefix(old) for old, new in table if name.startswith(old)), name)


def unused_entries(config: ModelConfig) -> dict[str, Tensor]:
    """What the release carries and our model does not."""
    blank = {}
    for tower in ("video_encoder.bert", "text_encoder"):
        blank[f"{tower}.embeddings.position_ids"] = torch.arange(512).view(1, -1)
        blank[f"{tower}.pooler.dense.weight"] = torch.zeros(config.hidden, config.hidden)
        blank[f"{tower}.pooler.dense.bias"] = torch.zeros(config.hidden)
    return blank


def _layers(state: Mapping[str, Tensor], tower: str) -> int:
    found = re.compile(rf"^{re.escape(tower)}\.encoder\.layer\.(\d+)\.")
    return 1 + max((int(m[1]) for m in map(found.match, state) if m), default=-1)


def _names(names: list[str], most: int = 4) -> str:
    shown = ", ".join(names[:most]) or "none"
    return shown + (f", and {len(names) - most} more" if len(names) > most else "")
