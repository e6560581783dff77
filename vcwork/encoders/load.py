"""Which kind of encoder a folder or name holds, and that one opened: a checkpoint, a peer, an encoder from pixels."""

from pathlib import Path

from vcwork.base.errors import VcworkError
from vcwork.base.files import resolve
from vcwork.data.store import Contract
from vcwork.encoders.checkpoint import load_checkpoint
from vcwork.encoders.encoder import Encoder


def load_encoder(folder: str | Path, contract: Contract | None = None) -> Encoder:
    """Read a checkpoint, in evaluation mode; a Hugging Face folder or hub name (after `peer:` or not) becomes a
    peer (`vcwork.encoders.peers`), an encoder from pixels a `vcwork.encoders.frames.FrameEncoder`.

    VcworkError when it is absent, incomplete, damaged, put together from several, or trained on features of another
    contract than `contract`.
    """
    from vcwork.encoders.peers import is_peer, load_peer

    if is_peer(folder):
        return load_peer(folder, contract)
    if not (resolve(folder) / "frames.json").is_file():
        return load_checkpoint(folder, contract)
    from vcwork.encoders.frames import load_frames

    if contract is not None:
        raise VcworkError(f"{folder}: reads frames of video files, not features of {contract}")
    return load_frames(folder)
