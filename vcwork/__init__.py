"""VideoCLIP Workbench: run, see, touch and check contrastive video-text pre-training.

The plain functions, on arrays, files or stored features; each is imported when first used, so that light modules
stay light:

    encoder = vcwork.load_encoder(folder)
    vcwork.encode_video(encoder, clips), vcwork.encode_text(encoder, sentences), vcwork.score(text, video)
    vcwork.search(...), vcwork.segment(...), vcwork.localize(...), vcwork.classify(...)
"""

from importlib import import_module

_WHERE = {
    "load_encoder": "vcwork.checkpoint",
    "save_encoder": "vcwork.checkpoint",
    "load_peer": "vcwork.peers",
    "encode_video": "vcwork.encode",
    "encode_text": "vcwork.encode",
    "encode_seconds": "vcwork.encode",
    "score": "vcwork.encode",
    "search": "vcwork.apply",
    "segment": "vcwork.apply",
    "localize": "vcwork.apply",
    "classify": "vcwork.apply",
    "prepare": "vcwork.workspace",
    "open_corpus": "vcwork.corpus",
    "scan_folder": "vcwork.corpus",
    "open_store": "vcwork.store",
    "extract": "vcwork.features",
    "make_corpus": "vcwork.lab",
    "LabConfig": "vcwork.lab",
    "VcworkError": "vcwork.errors",
}
__all__ = sorted(_WHERE)
__version__ = "0.1.0"


def __getattr__(name: str):
    if name not in _WHERE:
        raise AttributeError(f"module 'vcwork' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *_WHERE]
