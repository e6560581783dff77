"""Which kind of encoder a folder or name holds, and that one opened: a checkpoint, a peer, an encoder from pixels."""

from pathlib import Path

from vcwork.base.errors import VcworkError
from vcwork.base.files import resolve, sha256_json
from vcwork.core.text import Tokenizer
from vcwork.data.store import Contract
from vcwork.encoders.checkpoint import load_card, load_model
from vcwork.encoders.encoder import Encoder


def load_encoder(folder: str | Path, contract: Contract | None = None) -> Encoder:
    """Read a checkpoint, in evaluation mode; a Hugging Face folder or `peer:<hub name>` becomes a
    `vcwork.encoders.peers.Peer`, an encoder from pixels a `vcwork.encoders.frames.FrameEncoder`.

    VcworkError when it is absent, incomplete, damaged, put together from several, or trained on features of another
    contract than `contract`.
    """
    from vcwork.encoders.peers import is_peer, load_peer

    if is_peer(folder):
        return load_peer(folder, contract)
    folder = resolve(folder)
    if (folder / "frames.json").is_file():
        from vcwork.encoders.frames import load_frames

        if contract is not None:
            raise VcworkError(f"{folder}: reads frames of video files, not features of {contract}")
        return load_frames(folder)
    card = load_card(folder)
    trained_on = Contract(**card["contract"])
    if contract is not None and contract != trained_on:
        raise VcworkError(f"{folder}: trained on features of {trained_on}, asked to read features of {contract}")
    model, tokenizer = load_model(folder), Tokenizer.load(folder)
    vocabulary = sha256_json(tokenizer.vocabulary)
    size = model.config.vocab_size
    if len(tokenizer) != size or vocabulary != (card.get("vocabulary") or vocabulary):
        expected = f"the {size} pieces it was trained with"
        raise VcworkError(f"{folder / 'vocab.txt'}: expected {expected}, got {len(tokenizer)} that differ")
    return Encoder(model, tokenizer, trained_on, card["digest"], card.get("card", {}))
