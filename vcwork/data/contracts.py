"""Contracts of features that are published: what a file of them was made with, where the file cannot say it."""

from vcwork.data.store import Contract

# what the release was trained on; whose S3D weights, is known once somebody has the file (`--s3d`)
_S3D_HOW = (
    "30 fps, short side 224 (long side rounded down, bicubic), centre crop 224, RGB / 255, "
    "30 frames a feature (the last padded with black), video_embedding 512, unit length, float16"
)


S3D_FEATURES = Contract("s3d", "unknown", 30.0, 224, _S3D_HOW, 512)
