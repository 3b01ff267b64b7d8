"""Credentials by reference: a profile says where a password is found, never what it is."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from retailpulse_kernel.errors import ProfileError

__all__ = ["Reference", "Secret", "described", "is_reference", "names_a_secret", "resolve_secret"]

_KINDS = ("env", "file", "keyring")
_SECRET_NAMES = re.compile(
    r"(password|passwd|secret|token|(access|account|private|secret)\.?key(\..*)?)$", re.IGNORECASE
)


class Secret(str):
    """A password: text for whoever connects with it, and masked wherever it is shown.

    A traceback with the values of variables, a logged dictionary of settings, or a cell that ends with one show stars.

    >>> {"sasl.password": Secret("s3cret")}
    {'sasl.password': '**********'}
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "'**********'"


def is_reference(value: str) -> bool:
    """Whether a text says where a credential is found."""
    kind, colon, target = value.partition(":")
    return bool(colon and target) and kind in _KINDS


def _checked(value: str) -> str:
    if not is_reference(value):
        raise ValueError("a password must be a reference: env:NAME, file:PATH or keyring:SERVICE/USER")
    return value


#: A field of a profile that holds a reference.
Reference = Annotated[str, AfterValidator(_checked)]


def names_a_secret(name: str) -> bool:
    """Whether a setting of this name holds something that nobody should read.

    >>> names_a_secret("spark.hadoop.fs.s3a.secret.key"), names_a_secret("spark.security.credentials.hive.enabled")
    (True, False)
    """
    return bool(_SECRET_NAMES.search(name))


def resolve_secret(reference: str) -> Secret:
    """The value behind a credential's reference.

    Parameters
    ----------
    reference : str
        ``env:NAME``, ``file:PATH`` or ``keyring:SERVICE/USER``.

    Raises
    ------
    ProfileError
        The reference has another form, or nothing stands behind it.
    """
    if not is_reference(reference):
        # What was written there may be the password itself: it is not repeated.
        raise ProfileError(
            "A credential in a profile is a value, not a reference.",
            remedy="Write env:NAME, file:PATH or keyring:SERVICE/USER instead.",
        )
    value = _looked_up(reference)
    if value is None:
        raise ProfileError(
            f"The credential reference {reference} leads to nothing.",
            remedy="Set the variable, write the file, or store the password in the keyring.",
        )
    return Secret(value)


def described(reference: str) -> str:
    """A reference as it is shown, with whether something stands behind it where asking costs nothing.

    >>> described("env:NO_SUCH_VARIABLE")
    '********** from env:NO_SUCH_VARIABLE, which is not set'
    """
    missing = not reference.startswith("keyring:") and _looked_up(reference) is None
    return f"********** from {reference}{', which is not set' if missing else ''}"


def _looked_up(reference: str) -> str | None:
    kind, _, target = reference.partition(":")
    if kind == "env":
        return os.environ.get(target)
    if kind == "file":
        path = Path(target).expanduser()
        try:
            return path.read_text().strip() if path.is_file() else None
        except OSError as error:
            raise ProfileError(
                f"The credential reference {reference} can't be read: {error.strerror}.",
                remedy="Make the file readable for you alone: chmod 600.",
            ) from None
    import keyring

    service, _, user = target.partition("/")
    try:
        return keyring.get_password(service, user)
    except keyring.errors.KeyringError as error:
        raise ProfileError(
            f"The credential reference {reference} can't be looked up: {error}.",
            remedy="Unlock the keyring, or refer to env:NAME or file:PATH.",
        ) from None


if __name__ == "__main__":
    # For a program that gets a secret by a command, such as Airflow.
    print(*(str(resolve_secret(reference)) for reference in sys.argv[1:]), end="")
