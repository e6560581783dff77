"""A video for a notebook: small, self-contained, and playable again."""

import base64
import re

import numpy as np
import pytest

from vcwork.base.errors import VcworkError
from vcwork.data.video import iter_seconds, probe, write_mp4
from vcwork.panels.player import embed, small_mp4


@pytest.fixture
def film(tmp_path):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (60, 64, 64, 3), dtype=np.uint8)
    write_mp4(tmp_path / "a.mp4", noise, 10)
    return tmp_path / "a.mp4"


def test_seconds_asked_for_as_a_small_file(film, tmp_path):
    (tmp_path / "small.mp4").write_bytes(small_mp4(film, 2, 5, size=32))
    info = probe(tmp_path / "small.mp4")
    assert (info.duration_s, info.width) == (3, 32) and len(list(iter_seconds(tmp_path / "small.mp4", 2, 32))) == 3


def test_quality_gives_way_to_size_and_then_it_is_refused(film):
    whole = len(small_mp4(film, size=64))
    tight = small_mp4(film, size=64, max_kb=whole // 1000 - 20)
    assert len(tight) < whole
    with pytest.raises(VcworkError, match="does not fit into 1 kB"):
        small_mp4(film, max_kb=1)
    with pytest.raises(VcworkError, match="no frames"):
        small_mp4(film, 90)


def test_page_needs_nothing_else():
    page = embed(b"mp4", 200, "<pan & pot>").data
    assert base64.b64decode(re.search(r"base64,([^\"]+)", page)[1]) == b"mp4"
    assert "&lt;pan &amp; pot&gt;" in page and "controls" in page and "http" not in page
