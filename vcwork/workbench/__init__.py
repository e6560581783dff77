"""Runs, pages and own folders: what the commands do."""

from vcwork.base.doors import door

_WHERE = {
    "answers": "own_asking",
    "ask": "own_asking",
    "ask_like": "own_asking",
    "audit": "auditing",
    "opened": "own_videos",
    "record": "recording",
}
__all__, __getattr__, __dir__ = door(__name__, _WHERE)
