"""Sealed JSON: one changed bit is refused, a cache that is damaged is made again and said, one of another key too."""

import json

import pytest
from checks import refused

from vcwork.base.sealed import SEALED, kept, read_sealed, write_sealed

VALUE = {"numbers": [1, 2.5, 1e-7], "words": "käse", "none": None}


def test_what_is_sealed_is_read_again_and_not_one_digit_may_change(tmp_path):
    path = tmp_path / "a.json"
    write_sealed(path, VALUE)
    assert read_sealed(path) == VALUE
    for old, new in (("2.5", "2.7"), ("words", "wordt"), (SEALED, "sealer"), ("null", "true")):
        text = path.read_text()
        path.write_text(text.replace(old, new))
        refused(r"a.json: its own digest .*delete it to have it made again", read_sealed, path)
        path.write_text(text)
    path.write_text("[1, 2]")
    refused("expected a dict, got a list", read_sealed, path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_sealed(path, {"loss": float("nan")})
    assert path.read_text() == "[1, 2]", "what was there stays"


def test_a_cache_is_made_once_and_again_when_it_is_damaged_or_of_another_key(tmp_path, capsys):
    path, made = tmp_path / "cache" / "a.json", []

    def make():
        made.append(1)
        return {"rows": (1, 2)}

    for _ in range(2):
        assert kept(path, ("key", 1), make) == {"rows": [1, 2]} and len(made) == 1
    assert kept(path, ("key", 2), make) and len(made) == 2 and capsys.readouterr().err == ""
    whole = path.read_text()
    for broken in (whole.replace("1", "7"), "{", "", "[]", json.dumps({"key": ["key", 2], "value": {"rows": []}})):
        path.write_text(broken)
        assert kept(path, ("key", 2), make) == {"rows": [1, 2]}
        assert f"{path}: " in (told := capsys.readouterr().err) and told.count("\n") == 1
    assert len(made) == 7 and path.read_text() == whole
