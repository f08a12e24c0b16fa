"""A configuration that was saved with a run or a model, perhaps by another version or a stranger.

Keys that came later take their defaults, so that older models go on loading; keys that this version
does not know are named, for what they mean cannot be guessed.
"""

from typing import Any

from pydantic import ValidationError

from asl_exp.config.errors import UserError, nearest
from asl_exp.config.keys import model_at
from asl_exp.config.rules import network_faults
from asl_exp.config.schema import Config

_MOST_NAMED = 3


def read_saved(values: Any) -> Config:
    """Return the typed configuration.

    Raises:
        UserError: with the reason alone; the caller knows which file it is of.
    """
    if not isinstance(values, dict):
        raise UserError("its configuration is no table of keys")
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        raise UserError(_reason(error)) from None
    except RecursionError:
        raise UserError("its configuration is nested too deeply") from None
    if fault := next(network_faults(config.backbone), None):
        raise UserError(fault)
    return config


def _reason(error: ValidationError) -> str:
    details = error.errors(include_url=False)
    unknown = [_dotted(d["loc"]) for d in details if d["type"] == "extra_forbidden"]
    if unknown:
        more = f" and {len(unknown) - _MOST_NAMED} more" if len(unknown) > _MOST_NAMED else ""
        hint = _hint(details[0]["loc"])
        return (
            f"made by a newer version of asl_exp, or changed: unknown keys "
            f"{', '.join(unknown[:_MOST_NAMED])}{more}{hint}; update asl_exp to use it"
        )
    first = details[0]
    said = first["msg"].partition(" should ")[2] or first["msg"]
    return f"its configuration is damaged ({_dotted(first['loc'])}: must {said})"


def _dotted(location: tuple[str | int, ...]) -> str:
    return ".".join(map(str, location))[:100]


def _hint(location: tuple[str | int, ...]) -> str:
    model = model_at(location[:-1])
    return nearest(str(location[-1]), model.model_fields) if model else ""
