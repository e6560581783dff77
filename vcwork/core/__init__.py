"""The paper: what is drawn, encoded, contrasted and updated. To be read in one sitting, in this order:
sampling, batches (with text, clusters), model, loss, step, loop.
"""

from vcwork.base.doors import door

_WHERE = {
    "collate": "batches",
    "draw_pairs": "batches",
    "video_vectors": "batches",
    "cell_candidates": "clusters",
    "cluster_batches": "clusters",
    "nearest": "clusters",
    "random_batches": "clusters",
    "ClusterConfig": "config",
    "ModelConfig": "config",
    "OverlapConfig": "config",
    "TrainConfig": "config",
    "symmetric_nce": "loss",
    "Track": "sampling",
    "span_iou": "sampling",
    "Tokenizer": "text",
}
__all__, __getattr__, __dir__ = door(__name__, _WHERE)
