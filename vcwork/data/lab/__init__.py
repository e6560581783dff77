"""The lab corpus: a generated world of narrated how-to videos whose truth is known.

`make_corpus(folder, LabConfig())` writes H.264 videos, WebVTT captions and the truth beside them, all from one seed.
Numbers measured on it never share a column with the paper's.
"""

from vcwork.data.lab.make import LabConfig, make_corpus

__all__ = ["LabConfig", "make_corpus"]
