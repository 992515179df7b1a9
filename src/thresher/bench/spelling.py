"""How a method is written on the command line: a name, and settings in parentheses."""

from __future__ import annotations

import ast
from typing import Any, NamedTuple

from thresher.errors import SettingError

_WORDS: dict[str, object] = {"true": True, "false": False, "none": None}


class Part(NamedTuple):
    """A setting that has settings itself: its name and they."""

    name: str
    settings: dict[str, Any]


PUBLISHED = "published"
"""How a paper's own step length is written."""


def step_exponent(text: str | float, name: str = "--step-exponent") -> float | None:
    """Return the exponent of a step length, None for the published one.

    Args:
        text: what came.
        name: of the setting, for the message.

    Raises:
        SettingError: it is neither `published` nor a number.

    Example:
        >>> step_exponent("published"), step_exponent("0.5")
        (None, 0.5)
    """
    if text == PUBLISHED:
        return None
    try:
        return float(text)
    except ValueError as error:
        raise SettingError(f"{name} {text}", f"`{PUBLISHED}` or a number") from error


def base_name(text: str) -> str:
    """Return the name without its settings.

    Example:
        >>> base_name("repb(window=8)")
        'repb'
    """
    return text.partition("(")[0].strip()


def settings_of(text: str) -> dict[str, Any]:
    """Return the settings that are written behind a method's name.

    Values are Python literals; a bare word is a string, and true, false and none are what they say.
    A value may be a name with settings itself, and is a `Part` then.

    Raises:
        SettingError: it is not `name` or `name(setting=value, ...)`.

    Example:
        >>> settings_of("omission(alpha=0.2, sampling=bernoulli)")
        {'alpha': 0.2, 'sampling': 'bernoulli'}
    """
    if "(" not in text:
        return {}
    # A name may have dashes, which Python would read as minus.
    name, _, inside = text.partition("(")
    try:
        call = ast.parse(f"f({inside}", mode="eval").body
        return _settings(call)
    except (SyntaxError, ValueError) as error:
        raise SettingError(
            f"method {text!r}",
            "a name, or a name with settings in parentheses",
            f"Write for example '{name.strip() or 'repb'}(setting=value)'",
        ) from error


def _settings(call: ast.expr) -> dict[str, Any]:
    if not isinstance(call, ast.Call) or call.args or any(not word.arg for word in call.keywords):
        raise ValueError
    return {str(word.arg): _value(word.value) for word in call.keywords}


def _value(node: ast.expr) -> object:
    if isinstance(node, ast.Name):
        return _WORDS.get(node.id.lower(), node.id)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return Part(node.func.id, _settings(node))
    return ast.literal_eval(node)
