"""Nothing that came as data is run or steers what shows it: terminals, readers of every kind, servers, pages."""

import ast
from pathlib import Path

import pytest

from vcwork.__main__ import main
from vcwork.base.console import say, shown

ROOT = Path(__file__).resolve().parents[1]
STEERING = "\x1b]0;owned\x07\x1b[2J\r\u202egnp.\x9b31m"  # a window's title, a wiped screen, text that runs backwards

# ------------------------------------------------------------------------------------------------------- terminals


def test_what_is_printed_cannot_steer_a_terminal(capsys):
    say("films/", STEERING, "two\nlines\tof onion, ножом, 切る, שלום", sep="")
    told = capsys.readouterr().out
    assert not set("\x1b\x07\r\u202e\x9b") & set(told)
    assert (
        told == "films/" + r"\x1b]0;owned\x07\x1b[2J\r\u202egnp.\x9b31m" + "two\nlines\tof onion, ножом, 切る, שלום\n"
    )
    assert shown(STEERING.encode("unicode_escape").decode()) == STEERING.encode("unicode_escape").decode()


@pytest.mark.parametrize("command", [["check"], ["list"], ["papermill"], ["import"], ["explore"], ["table"]])
def test_a_name_in_a_message_cannot_steer_the_terminal(command, capsys, tmp_path):
    more = [str(tmp_path / "out")] if command == ["import"] else []
    assert main([*command, STEERING, *more]) == 2
    told = capsys.readouterr()
    assert "owned" in told.err and not set("\x1b\x07\r\u202e\x9b") & set(told.out + told.err)


def test_the_library_prints_by_that_function_alone():
    for path in (ROOT / "vcwork").rglob("*.py"):
        called = [
            n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Name) and n.id == "print"
        ]
        assert not called or path.name == "console.py", f"{path.relative_to(ROOT)}: use vcwork.base.console.say"
