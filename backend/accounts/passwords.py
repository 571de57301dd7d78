"""Which passwords are accepted: long enough, not a common one, and not the person's own name or address."""

import string
from functools import cache
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from itertools import pairwise

from backend.config import settings

_ADDED_AT_MOST = 4  # characters around a common word that do not make it a rare one: Password2024, !dragon1
_LOOK_ALIKE = str.maketrans("@4301$5!7", "aaeolssit")
_OUR_OWN = ("dailies",)


def problem(password: str, *, email: str, name: str = "") -> str | None:
    """What is wrong with a new password, in words for the person; None when it is good."""
    if len(password) < settings.password_min_length:
        return f"Use at least {settings.password_min_length} characters."
    if _is_common(password):
        return "This password is too easy to guess. Try a few unrelated words."
    folded = password.casefold()
    if folded in {email.casefold(), email.casefold().partition("@")[0], name.casefold()}:
        return "Use something other than your name or your email."
    return None


def _is_common(password: str) -> bool:
    folded = password.casefold()
    if len(set(folded)) < 3 or _is_run(folded):
        return True
    core = folded.strip(string.digits + string.punctuation + string.whitespace)
    if folded in _common() or folded.translate(_LOOK_ALIKE) in _common():
        return True
    added = len(folded) - len(core)
    return bool(core) and added <= _ADDED_AT_MOST and not _common().isdisjoint({core, core.translate(_LOOK_ALIKE)})


def _is_run(text: str) -> bool:
    """Whether the characters follow one another upwards or downwards, like 23456789."""
    return {ord(after) - ord(before) for before, after in pairwise(text)} in ({1}, {-1})


@cache
def _common() -> frozenset[str]:
    """Thirty thousand passwords from public leaks, as zxcvbn collected them.

    Its list alone is read, once it is asked for: the whole package would hold 9 MB in each process for ever.
    """
    package = find_spec("zxcvbn")
    found = PathFinder.find_spec("frequency_lists", package.submodule_search_locations if package else [])
    if found is None or found.loader is None:
        raise ImportError("zxcvbn.frequency_lists")
    module = module_from_spec(found)
    found.loader.exec_module(module)
    return frozenset([*module.FREQUENCY_LISTS["passwords"], *_OUR_OWN])
