"""What stands between a trained model and a task: model, tokenizer, the contract of its features, and who it is."""

from dataclasses import dataclass, field

from vcwork.core.model import VideoCLIP
from vcwork.core.text import Tokenizer
from vcwork.data.store import Contract


@dataclass
class Encoder:
    """What `encode_video` and `encode_text` need: model, tokenizer, the contract of its features, and who it is."""

    model: VideoCLIP
    tokenizer: Tokenizer | None  # None: a checkpoint imported without its vocabulary, not loadable as an encoder
    contract: Contract
    digest: str = "unsaved"  # sha256 of the weights
    card: dict = field(default_factory=dict)  # how it was trained

    @property
    def window(self) -> int:
        """Seconds the video tower takes at once."""
        return self.model.config.max_video_tokens
