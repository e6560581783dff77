"""Files and errors: what every other room stands on."""

from vcwork.base.doors import door

_WHERE = {
    "NoData": "errors",
    "VcworkError": "errors",
    "resolve": "files",
    "sha256_file": "files",
}
__all__, __getattr__, __dir__ = door(__name__, _WHERE)
