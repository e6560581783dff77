"""The paper: what is drawn, encoded, contrasted and updated. To be read in one sitting, in this order:
sampling, batches (with text), model (with bert), loss, step, loop."""

from vcwork.base.doors import door

_WHERE = {
    "collate": "batches",
    "draw_pairs": "batches",
    "pad_clips": "batches",
    "video_vectors": "batches",
    "cluster_batches": "batches",
    "nearest": "batches",
    "random_batches": "batches",
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
