"""Credentials by reference: a profile says where a password is found, never what it is."""

from __future__ import annotations

import os
import re
import secrets
import sys
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from retailpulse_kernel.ground.errors import ProfileError
from retailpulse_kernel.ground.extras import require_extra

__all__ = ["Reference", "Secret", "described", "is_reference", "made_secret", "names_a_secret", "resolve_secret"]

_KINDS = ("env", "file", "keyring")
#: The words of a name, in any of the ways to write them: ``api_key``, ``apiKey``, ``API-KEY``, ``api.key``.
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
#: What names a secret, in words.
_SECRET_WORDS = re.compile(
    r"\b(pass ?(words?|wd|phrase|code)|pwd|secret(?! ?key)|token|credentials?|jaas config"
    r"|(access|account|api|encryption|key ?store|private|secret|shared|signing) ?keys?(?! ref))\b"
)
#: What tells something about a secret, as the last word of a name.
_ABOUT = re.compile(
    r"algorithm|class|count|enabled|expiry|file|hours|id|interval|length|lifetime|limit|location|mechanism|name|path"
    r"|policy|providers?|regex|required|seconds|size|ttl|type|ur[il]"
)


class Secret(str):
    """A password: text for the client that connects with it, and masked wherever it is shown.

    A traceback with the values of variables, a logged dictionary of settings, or a cell that ends with one show stars.

    >>> {"sasl.password": Secret("s3cret")}
    {'sasl.password': '**********'}
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "'**********'"


def is_reference(value: str) -> bool:
    """Whether a text says where a credential is found.

    Parameters
    ----------
    value : str
        Whatever a profile holds.
    """
    kind, colon, target = value.partition(":")
    return bool(colon and target) and kind in _KINDS


def _checked(value: str) -> str:
    if not is_reference(value):
        raise ValueError("a password must be a reference: env:NAME, file:PATH or keyring:SERVICE/USER")
    return value


#: A field of a profile that holds a reference.
Reference = Annotated[str, AfterValidator(_checked)]


def names_a_secret(name: str) -> bool:
    """Whether a setting, parameter or variable of this name holds something that nobody should read.

    >>> names_a_secret("spark.hadoop.fs.s3a.secret.key"), names_a_secret("spark.security.credentials.hive.enabled")
    (True, False)

    Parameters
    ----------
    name : str
        A setting's name in any system, with dots or underscores.
    """
    words = [word.lower() for word in _WORDS.findall(name)]
    return bool(_SECRET_WORDS.search(" ".join(words))) and not _ABOUT.fullmatch(words[-1])


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

    Parameters
    ----------
    reference : str
        As `resolve_secret` takes it.
    """
    missing = not reference.startswith("keyring:") and _looked_up(reference) is None
    return f"********** from {reference}{', which is not set' if missing else ''}"


def made_secret(path: Path) -> Path:
    """A file with a token that nobody has chosen, made when it is first asked for; only its owner reads it.

    Parameters
    ----------
    path : Path
        The file; its folder is made for its owner alone.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"{secrets.token_urlsafe(32)}\n")
    except FileExistsError:
        pass
    return path


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
    require_extra("keyring")

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
