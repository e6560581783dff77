"""What is watched and said: captions, videos, corpora, features, and the formats they are published in."""

from vcwork.base.doors import door

_WHERE = {
    "get_backbone": "backbones.image",
    "preprocessing_effects": "backbones.s3d",
    "plain": "benchmarks.common",
    "SOURCES": "benchmarks.sources",
    "benchmark_corpus": "benchmarks.corpora",
    "splits_table": "benchmarks.corpora",
    "gather": "corpus",
    "coverage_of": "coverage",
    "chunks_of": "extract",
    "contract_of": "extract",
    "keyframes_corpus": "keyframes",
    "frames_at": "video",
    "iter_seconds": "video",
}
__all__, __getattr__, __dir__ = door(__name__, _WHERE)
