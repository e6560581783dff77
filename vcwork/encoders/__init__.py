"""A trained thing on disk; arrays in, vectors out."""

from vcwork.base.doors import door

_WHERE = {
    "encode_seconds": "encode",
    "encode_text": "encode",
    "encode_video": "encode",
    "score": "encode",
    "windows": "encoder",
    "load_encoder": "load",
}
__all__, __getattr__, __dir__ = door(__name__, _WHERE)
