"""What the tests of all panels ask of a page: one script, no network, text that stays text, a module that is valid.

No test itself. The fixture `browser` is in conftest.py; what drives whole pages and servers is in browser/browsing.py.
"""

import contextlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from vcwork.panels.base import Panel, as_script, script

NASTY = "</script><img src=x onerror=alert(1)> \"double\" 'single' & \\ \u2028 <!--"
NETWORK = r"https?:|//cdn|url\((?!.\$)|\bimport\s"  # thumbnails are url("${...}") of what the page holds
MARKUP = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\("  # would make code of a text
INSIDE = re.compile(r'<script type="module">(.*)</script>', re.DOTALL)


def check_page(panel: Panel, tmp_path: Path) -> None:
    """The page of a panel is whole and needs nobody; call it last: without node the test ends here as skipped."""
    html, page, module = panel.html(), panel.page(), script(panel.module)
    assert html in page, "the same panel, the same text"
    check_one_script(html)
    assert not re.search(NETWORK, page)
    assert page.count("data:image/png;base64,") == 1, "a picture for where no script runs"
    assert "</script" not in module and "export default { render }" in module and not re.search(MARKUP, module)
    for source in (module, INSIDE.search(html)[1]):
        node(source, tmp_path, "--check")


def check_text_stays_text(panel: Panel) -> None:
    """A panel that was given NASTY as title and wherever it takes a text makes neither elements nor code of it."""
    html = panel.html()
    assert as_script(NASTY)[1:-1] in html, "the text is there"
    check_one_script(html)
    assert "<img src=x" not in html and "onerror=alert(1)>" not in html and "<!--" not in html
    assert NASTY.split()[0] not in panel.page().split("<body>")[0]
    assert not re.search(MARKUP, script(panel.module))


def check_one_script(html: str) -> None:
    assert html.count("</script>") == 1 and html.count("<script") == 1 and html.rstrip().endswith("</script>")


def node(source: str, tmp_path: Path, *options: str) -> str:
    """What node prints when it runs a module; the test is skipped where there is no node."""
    if not shutil.which("node"):
        pytest.skip("node is not installed")
    file = tmp_path / "module.mjs"
    file.write_text(source, encoding="utf-8")
    done = subprocess.run(["node", *options, str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextlib.contextmanager
def opened(browser, panel: Panel, tmp_path: Path) -> Iterator:
    """playwright's page of a panel, from disk and offline; at the end nothing may have been said on its console."""
    file, faults = tmp_path / "page.html", []
    file.write_text(panel.page(), encoding="utf-8")
    with contextlib.closing(browser.new_page(viewport={"width": 900, "height": 1000}, offline=True)) as page:
        page.on("console", lambda told: faults.append(told.text) if told.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(file.as_uri())
        page.wait_for_selector(".vcwork")  # drawn whole in the task that puts it there
        yield page
        assert faults == []


def seen(page) -> dict:
    """What the page shows, as the panel's `update` would say it."""
    return page.evaluate("document.querySelector('.vcwork').shown")
