"""How every command ends: its exit status, and what is said where it goes wrong.

0 done; 2 the configuration or the data is wrong; 130 interrupted (Ctrl-C); 143 terminated; 1 a run
broke down, or a command's own answer is no. Doors raise the errors of config/errors.py and leave
the rest to this module, so that all of them say the same fault in the same way.

Nothing but the standard library is imported with it: Ctrl-C is answered in the first milliseconds,
and a missing package gets a sentence.
"""

import argparse
import errno
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

from asl_exp.config.conf_folder import home_expanded
from asl_exp.config.errors import Interrupted, PastHydra, RunError, StorageError, UserError
from asl_exp.config.process_setup import collector_paused, end_silently, raise_interrupts
from asl_exp.config.redact import printable, scrubbed

Door = Callable[[Sequence[str]], int | None]


def start(door: Door) -> None:
    """Run a door on ``sys.argv`` as a whole process: answer signals, then exit with its status."""
    sys.excepthook = _uncaught
    raise_interrupts(signal.SIGINT, signal.SIGTERM)
    _settle_environment()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # names that the terminal cannot show
    status = door(sys.argv[1:]) or 0
    end_silently(signal.SIGINT, signal.SIGTERM)
    sys.exit(status)


def _settle_environment() -> None:
    """Leave out what ends other packages' imports, here and in further processes."""
    os.environ["MPLBACKEND"] = "Agg"  # figures are files, whatever shows them elsewhere
    if home_expanded("~") == Path("~"):  # of a user who is not known, as in containers
        os.environ["HOME"] = "/nonexistent"
    if any(option.startswith("error") for option in sys.warnoptions):
        os.environ["PYTHONWARNINGS"] = "default"
        sys.warnoptions[:] = ["default"]
        warnings.simplefilter("default")


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Say an interrupt that came where no door answers it: before its work, or while it ends."""
    if not isinstance(error, Interrupted | KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    end_silently(signal.SIGINT, signal.SIGTERM)
    status = told("asl_exp", error if isinstance(error, Interrupted) else Interrupted(130))
    sys.stdout.flush()
    os._exit(status)


def parser(program: str, described: str | None) -> argparse.ArgumentParser:
    """Return what reads a command's options; its help begins with the module's description."""
    as_written = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(
        prog=f"python -m {program}", description=described, formatter_class=as_written
    )


def answered(program: str, command: Callable[[], int | None], *, interrupted: str = "") -> int:
    """Return the exit status of a command; what went wrong is said on standard error.

    Args:
        program: whose message it is, such as ``asl_exp.predict``.
        command: does the work; returns a status, None for 0.
        interrupted: what is said beside "interrupted" or "terminated".

    Raises:
        whatever is neither the user's fault nor a run's: a bug keeps its traceback.
    """
    try:
        status = command() or 0
        sys.stdout.flush()
    except PastHydra as carrier:
        return told(program, carrier.error)
    except (UserError, RunError) as error:
        return told(program, error)
    except KeyboardInterrupt:
        return told(program, Interrupted(130), interrupted)
    except Interrupted as interruption:
        return told(program, interruption, interrupted)
    except BrokenPipeError:
        return _nobody_reads()
    except ModuleNotFoundError as error:
        if _is_ours(error):
            raise
        return told(program, UserError(_missing(error)))
    except Exception as error:
        if (fault := path_fault(error)) is None:
            raise
        return told(program, fault)
    return status


def told(program: str, error: BaseException, more: str = "") -> int:
    """Say an error on standard error, secrets and control characters out; return the status."""
    text = f"{program}: {error}" + (f"; {more}" if more else "")
    print(printable(scrubbed(text), lines=True), file=sys.stderr)
    if isinstance(error, Interrupted):
        return error.exit_status
    return 2 if isinstance(error, UserError) else 1


_OF_PATHS: Final = (
    errno.EACCES, errno.EEXIST, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR,
    errno.EPERM, errno.EROFS,
)  # fmt: skip
"""Reasons that lie in the path or in its rights, never in the program."""


def path_fault(error: Exception) -> UserError | RunError | None:
    """Return what is wrong with a path or a disk that the system does not take; None otherwise."""
    from asl_exp.runs.writing import full_disk, way_on

    path, full = _path_of(error), full_disk(error)
    shown = path if len(path) <= _LONGEST else f"{path[:_LONGEST]}..."
    if full is not None:
        there = next((one for one in Path(path).absolute().parents if one.is_dir()), Path())
        where = f"cannot write to '{shown}'" if path else "a file could not be written"
        mend = way_on(error, there)
        return StorageError(f"{where} ({full}); {mend}, then the same command again")
    if not isinstance(error, OSError) or error.errno is None or not path:
        return None
    nowhere = error.errno == errno.ENOENT and path.startswith(("/proc/", "/sys/", "/dev/"))
    if error.errno not in _OF_PATHS and not nowhere:  # what is missing elsewhere is a bug's
        return None
    reason = os.strerror(error.errno).lower()
    return UserError(f"'{shown}': {reason}; give another path, or yourself the right to it")


def _path_of(error: Exception) -> str:
    """Return the file that an error is about; pyarrow's have it in their text alone."""
    if isinstance(error, OSError) and error.filename is not None:
        return os.fsdecode(error.filename)
    quoted = re.search(r"file '([^']+)'", str(error))
    return quoted[1] if quoted else ""


_LONGEST: Final = 160  # characters of a path that are shown


def load_packages(*packages: str) -> None:
    """Import a command's large packages, quickly; say so at a terminal."""
    say_loading()
    from asl_exp.compat.quick_start import load_quickly

    with collector_paused():
        load_quickly(*packages)


def say_loading() -> None:
    """Say at a terminal what the first seconds of a process are spent on, which is silent."""
    if "torch" not in sys.modules and sys.stderr.isatty():
        print("loading PyTorch and MLflow ...", file=sys.stderr, flush=True)


def _nobody_reads() -> int:
    """End quietly where the output's reader has left, as in ``| head``."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    return 1


def _is_ours(error: ModuleNotFoundError) -> bool:
    return (error.name or "asl_exp").split(".")[0] in ("asl_exp", *sys.stdlib_module_names)


def _missing(error: ModuleNotFoundError) -> str:
    return (
        f"the package '{error.name}' is not installed for {Path(sys.executable)}; in a clone "
        "`make demo` makes the environment .venv and `source .venv/bin/activate` chooses it, "
        "elsewhere `pip install -e .` installs what is needed"
    )
