"""pyarrow without pandas, for a program that has no use for it.

pyarrow looks for pandas whenever it makes an array, and where that is installed imports it: one to three
seconds, before the first row of the smallest file.
"""

from __future__ import annotations

import sys


def leave_pandas_out() -> None:
    """Nobody finds pandas in this process any more, unless it is here by now: for one of our own only."""
    if "pandas" not in sys.modules and _NoPandas not in sys.meta_path:
        sys.meta_path.insert(0, _NoPandas)


class _NoPandas:
    """A finder for which there is no pandas."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        """None leaves it to the next finder. Raises ModuleNotFoundError for pandas."""
        if name == "pandas":
            raise ModuleNotFoundError("this program does without pandas", name=name)
