"""A trained thing on disk; arrays in, vectors out."""

from vcwork.base.doors import door

_WHERE = {
    "AnyEncoder": "encoder",
    "encode_all_seconds": "encoder",
    "encode_seconds": "encoder",
    "encode_text": "encoder",
    "encode_video": "encoder",
    "score": "encoder",
    "windows": "encoder",
    "load_encoder": "load",
}
__all__, __getattr__, __dir__ = door(__name__, _WHERE)
