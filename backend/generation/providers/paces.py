"""How fast speech is wanted, in words or as a factor."""

_PACES = {"slow": 0.78, "normal": 1.0, "medium": 1.0, "fast": 1.28}


def factor_of(pace: str | None, notes: list[str]) -> float:
    """How much faster than usual; what is not known is noted and usual."""
    if not pace:
        return 1.0
    if pace.lower() in _PACES:
        return _PACES[pace.lower()]
    try:
        factor = float(pace.removesuffix("x"))
    except ValueError:
        factor = float("nan")
    if 0.25 <= factor <= 4.0:
        return factor
    notes.append(f"The pace “{pace}” is not known; slow, normal, fast and factors as 1.2 are.")
    return 1.0
