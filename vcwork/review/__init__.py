"""Does a claim hold? Claims, published numbers, what annotations alone tell, audits of a number."""

from vcwork.base.doors import door

_WHERE = {
    "ABLATIONS": "claims",
    "aligned": "gallery",
    "read_gallery": "gallery",
    "open_scores": "scores",
    "with_paper": "published",
    "ClipRidge": "rivals",
    "beside_ridge": "rivals",
    "gains_table": "rivals",
    "whole_video_results": "rivals",
}
__all__, __getattr__, __dir__ = door(__name__, _WHERE)
