"""The one error a user sees: a sentence that names the field and the fix."""


class UserError(Exception):
    """Bad input. `field` is the config field or argument at fault, `message` says what to do about it."""

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        self.message = message
        super().__init__(f"{field}: {message}")
