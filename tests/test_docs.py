"""Documents: links lead somewhere, and the table of the source documents is complete and says what the claims say."""

import re
from pathlib import Path

import pytest

from vcwork.review import claims

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md"), *ROOT.glob("params/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    dead = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not dead


def test_every_item_of_the_source_documents_has_its_row():
    rows = re.findall(
        r"^\| (\d\.\d+) \| (.*?) \| (.*?) \| (.*?) \|$", (ROOT / "docs/source_documents.md").read_text(), re.M
    )
    assert [number for number, *_ in rows] == [
        f"{d}.{i}" for d, n in ((1, 32), (2, 6), (3, 20)) for i in range(1, n + 1)
    ]
    told = {c.id: c for c in claims.CLAIMS if c.source.startswith("document")}
    for number, text, truth, where in rows:
        assert "](../" in where, f"{number}: where?"
        if number in told:  # the others are several claims each
            assert text == told[number].text
            assert truth.startswith({True: "agrees", False: "differs", None: "asked for"}[told[number].agrees]), number
        else:
            assert any(id.startswith(number) for id in told), number


def test_walks_of_the_architecture_name_what_is_there():
    """Each hop: the functions it names stand in the files it links."""
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    hops = re.findall(r"^\| \d+ \| (.*?) \|", text, re.M)
    assert len(hops) == 19
    for hop in hops:
        sources = "".join(
            (ROOT / "docs" / link).read_text(encoding="utf-8") for link in re.findall(r"\]\(([^)]+)\)", hop)
        )
        for name in re.findall(r"`(?:\w+\.)?(\w+)`", hop):
            assert re.search(rf"(?:def|class) {name}\b", sources), f"{name} of: {hop}"
