"""Optional packages: what is missing is said in one sentence, with the extra that brings it."""

from importlib.util import find_spec

from asl_exp.config.errors import UserError


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
