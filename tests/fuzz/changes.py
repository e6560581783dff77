"""Good bytes made bad: values of JSON and YAML exchanged for odd ones, and bytes cut, doubled, turned and put in."""

import json
import random
from typing import Any

DEEP: Any = 0
for _ in range(70):
    DEEP = [DEEP]
ODD = [
    None, True, False, -1, 0, 1e308, 2**63, 10**39, 10**400, float("nan"), float("inf"), "", "x" * 300, "../x", "a/b",
    "/etc/passwd", "a\0b", "\ud800", "\x1b[2J", "1" * 30, "nan", [], {}, [[]], [1, [2]], {"a": {}}, [None], DEEP,
]  # fmt: skip
PIECES = [
    b"\0", b"\xff", b"\n", b"\n\n", b"{", b"}", b"[", b"]", b"<", b">", b"&#", b";", b"{\\", b"\\p1", b" --> ", b":",
    b"00:01.0", b"&x [*x]", b"*a", b"0x_", b"2024-13-45", b"? ", b"- ", b": ", b"!!set", b"!!int ", b"9" * 400, b"'",
    b"9" * 5000, b'sep="\n', "\u00b2".encode(), "\u0663".encode(), b"<a>" * 100, b"[" * 100, b"PK\x03\x04", b'"', b",",
    b"\x93NUMPY", b"\x80\x04", b"1e999", b"\t", b"\xef\xbb\xbf", b"\xff\xfe", b"<!DOCTYPE x>", b"xmlns='x'", b"1_0",
    b"NaN", b"r\xff\xff\xff\x7f", b" " * 50, b"\n" * 50,
]  # fmt: skip


def changed(data: bytes, rng: random.Random, most: int = 1 << 14) -> bytes:
    """Other bytes, one to four changes away; JSON stays JSON in half of them."""
    value = _json(data) if rng.random() < 0.5 else None
    for _ in range(rng.randint(1, 4)):
        if value is not None:
            value = _exchanged(value, rng)
        else:
            data = _bytes(data, rng)
    return (data if value is None else json.dumps(value).encode("utf-8", "surrogatepass"))[:most]


def _json(data: bytes) -> Any:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list) else None


def _exchanged(value: Any, rng: random.Random) -> Any:
    """The value with one part of it, at any depth, taken out, doubled or exchanged."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.15:
        return rng.choice(ODD)
    if isinstance(value, list):
        i = rng.randrange(len(value))
        return rng.choice([
            lambda: [*value[:i], *value[i + 1 :]], lambda: [*value, value[i]],
            *[lambda: [*value[:i], _exchanged(value[i], rng), *value[i + 1 :]]] * 6,
        ])()  # fmt: skip
    key = rng.choice(list(value))
    rest = {name: part for name, part in value.items() if name != key}
    return rng.choice([
        lambda: rest, lambda: rest | {str(rng.choice(ODD)): value[key]},
        *[lambda: value | {key: _exchanged(value[key], rng)}] * 6,
    ])()  # fmt: skip


def _bytes(data: bytes, rng: random.Random) -> bytes:
    a, b = sorted(rng.randint(0, len(data)) for _ in range(2))
    return rng.choice([
        lambda: data[:a], lambda: data[:a] + data[b:], lambda: data[:b] + data[a:],
        lambda: data[:a] + data[a:b] * 5 + data[b:],
        lambda: data[:a] + rng.choice(PIECES) + data[a:], lambda: data[:a] + rng.choice(PIECES) + data[b:],
        lambda: data[:a] + bytes([rng.randrange(256)]) + data[a + 1 :],
        lambda: data[:a] + rng.choice(PIECES) * rng.randint(2, 60) + data[a:],
    ])()  # fmt: skip
