"""JupyterLab on files that nobody should change: the records of runs."""

from __future__ import annotations

from typing import Any, NoReturn

from jupyter_server.services.contents import largefilemanager

__all__ = ["ReadOnlyContents"]


class ReadOnlyContents(largefilemanager.AsyncLargeFileManager):
    """Files that can be opened; JupyterLab says of each that it is read-only."""

    def _base_model(self, path: str) -> dict[str, Any]:
        return {**super()._base_model(path), "writable": False}

    async def save(self, model: dict[str, Any], path: str = "") -> NoReturn:
        """Refuse to.

        Parameters
        ----------
        model : dict
            What JupyterLab sends.
        path : str
            Below the server's root.
        """
        self._refuse(path)

    async def delete_file(self, path: str) -> NoReturn:
        """Refuse to.

        Parameters
        ----------
        path : str
            Below the server's root.
        """
        self._refuse(path)

    async def rename_file(self, old_path: str, new_path: str) -> NoReturn:
        """Refuse to.

        Parameters
        ----------
        old_path, new_path : str
            Below the server's root.
        """
        self._refuse(old_path)

    def _refuse(self, path: str) -> NoReturn:
        said = f"{path} is the record of a run: it is read-only. Copy it elsewhere to work with it."
        raise largefilemanager.web.HTTPError(403, said)
