"""The one error a person sees: a message that names what is wrong, what was expected, and what came.

`NoData` is the one that a caller may take for an answer, "there is none"; any other tells of a fault.
"""


class VcworkError(ValueError):
    """A mistake in the input, not in the program. Its text is shown without a stack trace."""


class NoData(VcworkError):
    """Nothing is broken, there is just none of it: no annotated clip, no video with captions and features."""
