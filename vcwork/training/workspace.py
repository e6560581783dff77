"""What a notebook stands on: a corpus, its features, a trained encoder, each opened from an explicit path.

An empty path means the tiny lab corpus, built once under `outputs/tiny-seed<seed>` and reused when it is whole; its
model for seed 0 comes with the project. A path that is given is opened, never built: a run must not quietly measure
something else.
"""

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

from vcwork.base.console import say
from vcwork.base.errors import VcworkError
from vcwork.base.files import alone, project_root, resolve
from vcwork.data.backbones.image import get_backbone
from vcwork.data.corpus import Corpus, open_corpus
from vcwork.data.extract import extract
from vcwork.data.lab.make import LabConfig, make_corpus
from vcwork.data.store import FeatureStore, open_store
from vcwork.encoders.encoder import Encoder
from vcwork.encoders.load import load_encoder
from vcwork.training.ingredients import configure
from vcwork.training.recipe import Recipe
from vcwork.training.run import run_of, train

SHIPPED = Path(__file__).with_name("tiny")  # the tiny world's model of seed 0, as training gives it


@dataclass(frozen=True)
class Workspace:
    """`corpus`, `store`, `encoder`: opened, or for the tiny default built, when first asked for."""

    corpus_path: str = ""
    features_path: str = ""
    checkpoint_path: str = ""
    seed: int = 0
    progress: bool = True
    any_contract: bool = False
    hashes: dict[str, str] = field(default_factory=dict)

    @property
    def tiny(self) -> Path:
        return project_root() / "outputs" / f"tiny-seed{self.seed}"

    @contextlib.contextmanager
    def _made(self) -> Iterator[None]:
        """The tiny world is made or opened inside; where it is not whole, nothing of anybody's is lost with it."""
        try:
            yield
        except VcworkError as error:
            raise VcworkError(f"{error}; delete {self.tiny} to have all of it made again") from error

    @cached_property
    def corpus(self) -> Corpus:
        if self.corpus_path:
            return open_corpus(resolve(self.corpus_path))
        with self._made():
            return make_corpus(self.tiny / "corpus", LabConfig.named("tiny", self.seed), progress=self.progress)

    @cached_property
    def store(self) -> FeatureStore:
        if self.features_path:
            store = open_store(resolve(self.features_path))
        elif self.corpus_path:
            raise VcworkError("features: a corpus was given without its features; give both, or neither")
        else:
            corpus = self.corpus
            with self._made():
                store = extract(corpus, get_backbone("motion"), self.tiny / "features", progress=self.progress)
        self.hashes["features"] = store.digest()
        return store

    @cached_property
    def encoder(self) -> Encoder:
        if self.checkpoint_path:
            encoder = load_encoder(self.checkpoint_path, None if self.any_contract else self.store.contract)
        elif self.corpus_path:
            raise VcworkError("checkpoint: a corpus was given without a checkpoint; train one with notebook 20")
        else:
            corpus, store = self.corpus, self.store
            with self._made():
                self._take_shipped()
                encoder = train(corpus, store, self.tiny / "checkpoint", tiny_recipe(self.seed), self.progress)
        self.hashes["checkpoint"] = encoder.digest
        return encoder

    def _take_shipped(self) -> None:
        """Copy the trained model that comes with the project to where it would be trained, if it is that very one.

        It is of one seed, and of the features that all processors tried so far give; for others it is trained here.
        """
        folder = self.tiny / "checkpoint"
        with alone(folder), contextlib.suppress(VcworkError):  # another training, or damaged
            if folder.exists():
                return
            run = run_of(self.corpus, self.store, SHIPPED, tiny_recipe(self.seed))
            if run.finished and run.load(SHIPPED):
                with tempfile.TemporaryDirectory(dir=self.tiny) as copy:
                    os.rename(shutil.copytree(SHIPPED, Path(copy) / "checkpoint"), folder)

    @property
    def encoder_if_any(self) -> Encoder | None:
        """The encoder; None where a corpus was given without one."""
        return None if self.corpus_path and not self.checkpoint_path else self.encoder

    def contract_note(self) -> str:
        """Whether the encoder was trained on features such as these, and else what differs."""
        if self.encoder_if_any is None:
            return "no checkpoint: a clip is the mean of its features, scaled to length 1"
        ours, here = self.encoder.contract, self.store.contract
        if ours == here:
            return "the model was trained on features of this very contract"
        differing = [
            f"  {name}: trained on {str(value)[:40]!r}, here {str(getattr(here, name))[:40]!r}"
            for name, value in asdict(ours).items() if value != getattr(here, name)
        ]  # fmt: skip
        return "\n".join(["trained on features of another contract, and used on these knowingly:", *differing])


def prepare(
    corpus: str = "", features: str = "", checkpoint: str = "", seed: int = 0, progress: bool = True,
    contract: str = "strict",
) -> Workspace:  # fmt: skip
    """Workspace for these paths; nothing is opened or built before it is used.

    contract: "accept" uses an encoder that was trained on features of another contract; "strict" refuses it.
    """
    if contract not in ("strict", "accept"):
        raise VcworkError(f"checkpoint_contract: expected strict or accept, got {contract!r}")
    return Workspace(corpus, features, checkpoint, seed, progress, contract == "accept")


def tiny_recipe(seed: int = 0) -> Recipe:
    """A few seconds of training: the switchboard's smaller baseline."""
    return configure({}, seed, "tiny")


if __name__ == "__main__":  # makes SHIPPED again, into the folder given; with OMP_NUM_THREADS=1
    one = prepare()
    say(train(one.corpus, one.store, sys.argv[1], tiny_recipe()).digest)
