"""Figures and things to touch: small classes with tested state, one plain JavaScript module each."""

from vcwork.base.doors import door

_WHERE = {
    "explore_query": "make_alignment",
    "explore": "make_alignment",
    "epoch_vectors": "make_clusters",
    "inspect_clusters": "make_clusters",
    "map_clips": "embedding",
    "show_hits": "clips",
    "browse_moments": "make_failures",
    "browse_retrieval": "make_failures",
    "pair_explorer": "make_pairs",
    "segmentation_studio": "make_segmentation",
    "draw_curves": "plots",
    "TrainingPanel": "training",
}
__all__, __getattr__, __dir__ = door(__name__, _WHERE)
