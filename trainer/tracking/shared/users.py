"""Users of a shared server, with one permission each on all experiments and registered models.

They are changed in the database itself, so that whoever may open it needs no password of MLflow for that.
"""

import getpass
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from trainer import InputError
from trainer.tracking.shared.database import for_mlflow

PERMISSIONS = {"read": None, "edit": "EDIT", "manage": "MANAGE", "admin": None}
"""What a user may have -> MLflow's permission on everything that others have made.

All may look at everything, and make and change their own. edit: also train into the experiments and register as the
models of others; manage: also delete those; admin: also change users.
"""

RESOURCES = ("experiment", "registered_model")
"""What MLflow gives permissions on, with everything in it."""

PASSWORD_VARIABLE = "SERVER_USER_PASSWORD"
"""Environment variable with the password of a new user, where no terminal is there to ask."""

PLAIN = "of A to Z, digits and signs of ASCII"

SHORTEST_PASSWORD = 12
"""Characters that MLflow wants a password to have."""


def read_password(name: str, file: str | None) -> str:
    """Password from a file (- is the standard input), the environment or a person. It is never an argument."""
    if file is not None:
        try:
            text = sys.stdin.readline() if file == "-" else Path(file).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise InputError(f"--password_file {file}: {error}") from error
        password, source = text.removesuffix("\n").removesuffix("\r"), f"--password_file {file}"
    elif PASSWORD_VARIABLE in os.environ:
        password, source = os.environ[PASSWORD_VARIABLE], PASSWORD_VARIABLE
    elif sys.stdin.isatty():
        password, source = getpass.getpass(f"password of {name}: "), "the password"
        if password != getpass.getpass("once more: "):
            raise InputError("the two passwords differ; nothing is changed")
    else:
        raise InputError(f"no terminal to ask for the password of {name}; give --password_file FILE, or - for a pipe")
    if len(password) < SHORTEST_PASSWORD or not _is_plain(password):
        raise InputError(f"{source}: a password is one line of {SHORTEST_PASSWORD} characters or more, {PLAIN}")
    return password


def _is_plain(text: str) -> bool:
    """Return whether a text is what MLflow's server understands: it reads logins for artifacts as ASCII alone."""
    return text.isascii() and text.isprintable()


class Users:
    """Users in the database of a shared server."""

    def __init__(self, url: str) -> None:
        """Open the tables of MLflow's users; they are made where there are none."""
        from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

        self.store = SqlAlchemyStore()
        self.store.init_db(for_mlflow(url))

    def has(self, name: str) -> bool:
        """Return whether there is a user of this name."""
        return bool(self.store.has_user(name))

    def admins(self) -> list[str]:
        """Names of the users who may change users."""
        return [user.username for user in self.store.list_users() if user.is_admin]

    def add(self, name: str, password: str, permission: str) -> None:
        """Make a user."""
        if not name.strip() or ":" in name or not _is_plain(name):
            raise InputError(f"user {name!r}: a name is one line without a colon, {PLAIN}")
        self.store.create_user(name, password)
        self.allow(name, permission)

    def allow(self, name: str, permission: str) -> None:
        """Give a user one of PERMISSIONS in place of the one before; their own runs and models stay theirs."""
        if permission != "admin" and self.admins() == [name]:
            raise InputError(f"user {name!r} is the only administrator; make another one first: user NAME admin")
        from mlflow.exceptions import MlflowException

        self.store.update_user(name, is_admin=permission == "admin")
        for resource in RESOURCES:
            if granted := PERMISSIONS[permission]:
                self.store.grant_user_permission(name, resource, "*", granted)
            else:
                with suppress(MlflowException):  # there was none
                    self.store.revoke_user_resource_permission(name, resource, "*")

    def change_password(self, name: str, password: str) -> None:
        """Give a user another password."""
        self.require(name)
        self.store.update_user(name, password=password)

    def remove(self, name: str) -> None:
        """Remove a user. What they have recorded stays."""
        self.require(name)
        if self.admins() == [name]:
            raise InputError(f"user {name!r} is the only administrator; make another one first: user NAME admin")
        self.store.delete_user(name)

    def rows(self) -> Iterator[tuple[str, str]]:
        """Yield names and permissions, by name."""
        for user, roles in sorted(self.store.list_users_with_roles(), key=lambda pair: pair[0].username):
            yield user.username, "admin" if user.is_admin else _permission(roles)

    def require(self, name: str) -> None:
        """Raise InputError where there is no user of this name."""
        if not self.has(name):
            raise InputError(f"user {name!r}: there is none of this name; `users` lists them")


def _permission(roles: list[Any]) -> str:
    """Key of PERMISSIONS that a user's roles amount to."""
    granted = {one.permission for role in roles for one in role.permissions or () if (one.resource_pattern == "*")}
    return next((key for key in ("manage", "edit") if PERMISSIONS[key] in granted), "read")
