"""The one error a person sees: a message that names what is wrong, what was expected, and what came."""


class VcworkError(ValueError):
    """A mistake in the input, not in the program. Its text is shown without a stack trace."""
