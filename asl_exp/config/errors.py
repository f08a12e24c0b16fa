"""The one family of errors that a user can cause and mend."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from importlib.util import find_spec


class UserError(Exception):
    """The configuration or the data is wrong: ends the command with status 2 and no traceback.

    The message says what was given, what is allowed and how to mend it, and names the
    configuration key or the file.
    """


class ConfigError(UserError):
    """Everything wrong with a configuration, one line a fault.

    Attributes:
        faults: one sentence each, beginning with the configuration key.
    """

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        super().__init__("\n".join([f"{count} in the configuration:", *(f"  {f}" for f in faults)]))

    def __reduce__(self) -> tuple[type, tuple[tuple[str, ...]]]:
        """Rebuild from the faults: errors travel between processes."""
        return type(self), (self.faults,)


class DataError(UserError):
    """The images, the manifest or the split cannot be used as they are."""


class NoRoomError(DataError):
    """The disk, or the limit of the cache, has no room for a file."""


class WeightsError(UserError):
    """Pretrained weights cannot be had, or do not fit the network."""


class RunError(Exception):
    """A run broke down for a reason that its message says whole: status 1, no traceback."""


class NonFiniteLossError(RunError):
    """The loss became NaN or infinite; training stopped where it was seen."""


class PrunedError(RunError):
    """A study ended the run early; what it had learned so far is kept."""


class OutOfMemoryError(RunError):
    """A phase needs more memory than there is; the message says which settings to change."""


class StorageError(RunError):
    """A disk is full; the message names the folder."""


class RanksDifferError(RunError):
    """The processes of one run disagree where they must be equal."""


class WorkerError(RunError):
    """A worker process failed; the message is its own error, with its rank."""


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM; not an Exception, so that nothing on the way takes it for a failure.

    Attributes:
        exit_status: 130 for Ctrl-C, 143 for SIGTERM.
    """

    def __init__(self, exit_status: int) -> None:
        self.exit_status = exit_status
        super().__init__("interrupted" if exit_status == 130 else "terminated")


class PastHydra(BaseException):
    """Carries an error out of Hydra, which would print any Exception in its own way."""

    def __init__(self, error: UserError | RunError) -> None:
        self.error = error
        super().__init__(error)


def rebuilt(kind: str, message: str) -> Exception | None:
    """Return an error of this family that another process told of; None for any other's name."""
    known = globals().get(kind)
    if not (isinstance(known, type) and issubclass(known, Exception)):
        return None
    return UserError(message) if issubclass(known, ConfigError) else known(message)


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, of several faults the first; else its kind."""
    said = error.faults[0] if isinstance(error, ConfigError) else str(error)
    return next(iter(said.strip().splitlines()), type(error).__name__).strip()


def nearest(given: str, known: Iterable[str]) -> str:
    """Return a hint such as ``; did you mean 'dropout'?``, or nothing where no name is near."""
    names = list(known)
    matches = [name for name in names if name.casefold() == given.casefold() != ""]
    matches = matches or get_close_matches(given, names, n=1, cutoff=0.6)
    if not matches and len(given) > 2:
        matches = [name for name in names if name.startswith(given)]
    return f"; did you mean '{matches[0]}'?" if matches else ""


def require_extra(extra: str, *modules: str) -> None:
    """Refuse what needs an extra that is not installed.

    Raises:
        UserError: with the command that installs it.
    """
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise UserError(
            f"this needs the extra '{extra}': pip install 'asl-exp[{extra}]' (not installed: "
            f"{', '.join(missing)})"
        )
