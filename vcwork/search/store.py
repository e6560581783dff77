"""Where an index lies: a SQLite database, and beside it one file that faiss wrote.

The database (Python's own sqlite3) holds ids, metadata, captions (FTS5), deletions, vectors too new for faiss's file,
and which file that is. Changes go into one transaction, which `save` commits: a process that dies at any moment leaves
what was saved last. A new file of faiss's has a new name; the older one goes once nothing speaks of it. One process at
a time changes an index, others are told so; one at a time saves into a folder, others wait; who only reads follows what
is saved. Compared with SHA-256 when opened: faiss's file, and every row of every table, of which SQLite itself checks
the structure alone.
A flipped bit where nothing is stored changes no answer; `check_bytes` finds it, too: the file's own digest stands in
the two numbers of its header that SQLite leaves to others.
Known gaps: SQLite's file does not shrink, what is deleted in it is overwritten; to save reads every row once (about a
second for a million).
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import sqlite3
import struct
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from vcwork.base.errors import VcworkError
from vcwork.base.files import alone, atomic_write, sha256_file
from vcwork.base.sealed import MARK, check, flush

NAME, FORMAT = "index.sqlite", "vcwork-index-3"
OURS = re.compile(r"vectors-[0-9a-f]{12}\.faiss")  # what a save may remove when nothing speaks of it
BUSY = "another process is changing it, try again when that one has saved"
SCHEMA = """
CREATE TABLE about (what TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE item (place INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, metadata TEXT NOT NULL);
CREATE TABLE fresh (place INTEGER PRIMARY KEY, vector BLOB NOT NULL);
CREATE TABLE gone (place INTEGER PRIMARY KEY);
CREATE VIRTUAL TABLE said USING fts5 (text, tokenize = "unicode61 remove_diacritics 2");
"""
TABLES = (
    "sqlite_master",
    "item",
    "fresh",
    "gone",
    "said_config",
    "said_content",
    "said_data",
    "said_docsize",
    "said_idx",
)


class Store:
    """The database `db`, and `about`: what is said of the whole index. A new one lies in no folder until it is saved.

    `load` is called when there is another state to read: after opening, and when another process has saved.
    """

    db: sqlite3.Connection
    about: dict[str, Any]

    def __init__(self, folder: Path | None, about: dict[str, Any], load: Callable[["Store"], None]) -> None:
        """VcworkError where a folder holds no index, an unfinished or foreign one, or one altered where it counts."""
        self.folder, self.about, self.load, self._digest = folder, about | {"format": FORMAT}, load, ""
        self._lock = threading.RLock()
        if folder is None:
            self._connect("")  # SQLite's own temporary file, on disk where it is large
            with self.changing() as db:
                for statement in SCHEMA.strip().splitlines():
                    db.execute(statement)
            return
        if not (folder / NAME).is_file():
            older = (folder / "manifest.json").is_file()
            found = "one of an older version: build it again" if older else "none: build it, or save it again"
            raise VcworkError(f"{folder}: expected a finished index ({NAME}), found {found}")
        found = os.stat(folder / NAME)
        try:
            self._read(folder)
        except VcworkError:
            if os.path.samestat(found, os.stat(folder / NAME)):
                raise
            self.__init__(folder, about, load)  # another process has put its index there meanwhile

    def _read(self, folder: Path) -> None:
        try:
            self._connect(_uri(folder))
            self.db.execute("BEGIN")
            if (found := self.db.execute("PRAGMA integrity_check(1)").fetchone()[0]) != "ok":
                raise sqlite3.DatabaseError(found)
            self._follow()
            self.db.rollback()
        except VcworkError:
            raise
        except (sqlite3.Error, ValueError) as error:
            if "locked" in str(error):
                raise VcworkError(f"{folder}: the index could not be read ({error}); {BUSY}") from error
            raise VcworkError(f"{folder / NAME}: damaged, or not a finished index ({error})") from error

    @property
    def file(self) -> Path | None:
        """faiss's file, None while there is none."""
        return self.folder / self.about["file"] if self.folder and self.about.get("file") else None

    def _connect(self, uri: str) -> None:
        self.db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        self._inode = os.stat(self.folder / NAME) if uri.endswith("=rw") else None
        if uri.endswith("=ro"):
            self.detach()
        self._set_up()

    def detach(self) -> None:
        """Go on with a copy in memory, whose changes stay there unless they are saved into another folder."""
        whole, self._inode = self.db.serialize(), None
        self.db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self.db.deserialize(whole)
        self._set_up()

    def _set_up(self) -> None:
        self.db.text_factory = lambda raw: raw.decode("utf-8", "surrogatepass")
        self.db.execute("PRAGMA cache_size = -65536")  # KiB: changes wait in memory, and readers do not, until `save`
        self.db.execute("PRAGMA secure_delete = ON")

    # ----------------------------------------------------------------------------------------------- transactions

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """What is read inside is of one state: ours with all changes, or the last one that anybody has saved."""
        with self._lock, self._named("read"):
            if self.db.in_transaction:
                yield self.db
                return
            self.db.execute("BEGIN")
            try:
                self._follow()
                yield self.db
            finally:
                self.db.rollback()

    @contextlib.contextmanager
    def changing(self) -> Iterator[sqlite3.Connection]:
        """What is done inside is done whole or not at all, and counts on disk once it is saved."""
        with self._lock, self._named("changed"):
            if not self.db.in_transaction:
                self.db.execute("BEGIN IMMEDIATE")
                self._follow()
            self.db.execute("SAVEPOINT change")
            try:
                yield self.db
            except BaseException:
                self.db.execute("ROLLBACK TO change")
                raise
            finally:
                self.db.execute("RELEASE change")

    @contextlib.contextmanager
    def _named(self, what: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, RuntimeError) as error:  # RuntimeError: faiss, of a disk that is full
            why = getattr(error, "strerror", None) or str(error)
            busy = f"; {BUSY}" * ("locked" in why)
            raise VcworkError(f"{self.folder or 'a new index'}: the index could not be {what} ({why}){busy}") from error

    def _follow(self) -> None:
        """Read the state that the database holds, unless we know it, comparing digests."""
        if self.folder is None or self._digest == (digest := self._stored("digest")):
            return
        text = self._stored("index")
        if digest != self._total(text):
            raise VcworkError(f"{self.folder / NAME}: its digest does not fit its content; altered, or damaged")
        self.about = json.loads(text)
        if self.about["format"] != FORMAT:
            raise VcworkError(f"{self.folder / NAME}: expected format {FORMAT!r}, got {self.about['format']!r}")
        if self.file:
            check(self.file, {"sha256": self.about["sha256"]}, NAME)
        self._digest = digest
        self.load(self)

    def _stored(self, what: str) -> str:
        found = self.db.execute("SELECT value FROM about WHERE what = ?", (what,)).fetchone()
        if found is None:
            raise sqlite3.DatabaseError(f"no {what}")
        return found[0]

    def _total(self, about: str) -> str:
        """SHA-256 of every row of every table."""
        total = hashlib.sha256(about.encode())
        for table in TABLES:
            found = self.db.execute(f"SELECT * FROM {table}")
            while rows := found.fetchmany(1 << 14):
                total.update(repr(rows).encode())
        return total.hexdigest()

    # ----------------------------------------------------------------------------------------------------- saving

    def save(self, folder: Path, write: Callable[[Path], None] | None) -> None:
        """Commit; or write everything into another folder, ours from then on. `write`: makes faiss's file anew.

        VcworkError on a folder that holds other things and no index; nothing of anybody else's is removed.
        """
        with self._lock, self._named("written"), alone(folder):
            home = self._home(folder)
            if not home:
                self._make_room(folder)
            if write or (self.file and not home):
                name = f"vectors-{uuid.uuid4().hex[:12]}.faiss"
                write(folder / name) if write else shutil.copyfile(self.file, folder / name)
                with open(folder / name, "rb") as file:
                    os.fsync(file.fileno())
                flush(folder)
                self.about |= {"file": name, "sha256": sha256_file(folder / name)}
            with self.changing() as db:
                text = json.dumps(self.about)
                digest = self._total(text)
                db.execute("PRAGMA application_id = 0")  # until the file is sealed anew
                db.execute("PRAGMA user_version = 0")
                db.execute("DELETE FROM about")
                db.executemany("INSERT INTO about VALUES (?, ?)", [("index", text), ("digest", digest)])
            if home:
                self.db.commit()
            else:
                if self._inode is None:
                    self.db.commit()  # nobody's but ours; and of a database in memory only this is copied
                whole = self.db.serialize()
                with atomic_write(folder / NAME, "wb") as file:
                    file.write(whole)
                self.db.rollback()
                self.folder = folder
                self._connect(_uri(folder))
            self._seal()
            self._digest = digest
            (folder / MARK).unlink(missing_ok=True)
            for path in folder.iterdir():  # what an older state named, or a process that died
                if OURS.fullmatch(path.name) and path != self.file:
                    path.unlink(missing_ok=True)

    def _seal(self) -> None:
        with contextlib.suppress(sqlite3.Error):  # somebody reads: a file without a seal is whole, too
            self.db.execute("PRAGMA user_version = 0")  # of a new file, the first change touches more of its header
            numbers = struct.unpack(">ii", _bytes_of(self.folder / NAME)[1])
            self.db.execute("BEGIN IMMEDIATE")
            for field, number in zip(("application_id", "user_version"), numbers, strict=True):
                self.db.execute(f"PRAGMA {field} = {number}")
            self.db.commit()

    def check_bytes(self) -> None:
        """VcworkError where any byte of the database is another than `save` left there."""
        with self.reading():
            said, digest = _bytes_of(self.folder / NAME)
            if said not in (bytes(8), digest):
                raise VcworkError(f"{self.folder / NAME}: damaged where nothing is stored; save the index again")

    def holds(self, folder: Path) -> bool:
        """Does that folder hold all that we know?"""
        return self._home(folder) and not self.db.in_transaction

    def _home(self, folder: Path) -> bool:
        """Is that folder's database the one we are connected with?"""
        with contextlib.suppress(FileNotFoundError):
            return self._inode is not None and os.path.samestat(self._inode, os.stat(folder / NAME))
        return False

    def _make_room(self, folder: Path) -> None:
        if (folder / NAME).exists():
            Store(folder, {}, lambda store: None)  # an index; what a process that died left undone of it is undone
            return
        ours = OURS if (folder / MARK).exists() else re.compile("")  # without the mark a file of that name is another's
        if folder.is_dir() and not all(ours.fullmatch(p.name) or p.name[0] == "." for p in folder.iterdir()):
            raise VcworkError(f"{folder}: holds other files and no index; choose an empty or a new folder")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MARK).touch()


def _bytes_of(file: Path) -> tuple[bytes, bytes]:
    """8 bytes in a database's header, and those of the SHA-256 of all the rest, but for its count of changes."""
    with open(file, "rb") as opened:
        head = bytearray(opened.read(100))
        said, twice = (
            bytes(head[68:72] + head[60:64]),
            head[24:28] == head[92:96],
        )  # it stands there twice
        for at in (24, 60, 68, 92):
            head[at : at + 4] = bytes(4)
        digest = hashlib.sha256(head)
        while block := opened.read(1 << 20):
            digest.update(block)
    return said if twice else b"damaged", digest.digest()[:8]


def _uri(folder: Path) -> str:
    return f"{(folder / NAME).absolute().as_uri()}?mode={'rw' if os.access(folder, os.W_OK) else 'ro'}"
