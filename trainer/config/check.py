"""Checks of values, for all sections."""

from trainer import InputError, printable

LONGEST_NAME = 250
"""Characters of the name of a run, an experiment or a model that MLflow's databases take."""

NAME_RULE = f"in one line of at most {LONGEST_NAME} characters"


def require(holds: bool, key: str, value: object, wanted: str) -> None:
    """Raise InputError where a value is not possible; `wanted`: what to give instead."""
    if not holds:
        raise InputError(f"{key}: {value!r} is not possible; give {wanted}")


def is_name(name: str) -> bool:
    """Return whether MLflow takes the name, and a terminal can show it as it is."""
    return name.strip() != "" and printable(name) == name and "\n" not in name and len(name) <= LONGEST_NAME
