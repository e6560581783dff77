"""VideoCLIP Workbench: run, see, touch and check contrastive video-text pre-training.

Eleven rooms, each importing only from those before it: base, core (the paper), measure, data, encoders, tasks, search,
training, review, panels, workbench. Here are the plain functions, on arrays, files or stored features; each is imported
when first used, so that light modules stay light:

    encoder = vcwork.load_encoder(folder)
    vcwork.encode_video(encoder, clips), vcwork.encode_text(encoder, sentences), vcwork.score(text, video)
    vcwork.search(...), vcwork.segment(...), vcwork.localize(...), vcwork.classify(...)

and three modules under their short names: `metrics`, `evaluation` (what the tasks are evaluated on) and `plots`.
"""

from importlib import import_module

_WHERE = {
    "load_encoder": "vcwork.encoders.load",
    "save_encoder": "vcwork.encoders.checkpoint",
    "load_peer": "vcwork.encoders.peers",
    "encode_video": "vcwork.encoders.encoder",
    "encode_text": "vcwork.encoders.encoder",
    "encode_seconds": "vcwork.encoders.encoder",
    "score": "vcwork.encoders.encoder",
    "segment": "vcwork.search.verbs",
    "localize": "vcwork.search.verbs",
    "classify": "vcwork.search.verbs",
    "prepare": "vcwork.training.workspace",
    "open_corpus": "vcwork.data.corpus",
    "scan_folder": "vcwork.data.corpus",
    "open_store": "vcwork.data.store",
    "extract": "vcwork.data.extract",
    "make_corpus": "vcwork.data.lab.make",
    "LabConfig": "vcwork.data.lab.make",
    "VcworkError": "vcwork.base.errors",
}
_MODULES = {
    "metrics": "vcwork.measure.metrics",
    "evaluation": "vcwork.tasks.cases",
    "plots": "vcwork.panels.plots",
    "search": "vcwork.search",  # the room, which can be called: see there
}
__all__ = sorted([*_WHERE, "search"])
__version__ = "0.1.0"


def __getattr__(name: str):
    if name in _MODULES:
        return import_module(_MODULES[name])
    if name not in _WHERE:
        raise AttributeError(f"module 'vcwork' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *_WHERE, *_MODULES]
