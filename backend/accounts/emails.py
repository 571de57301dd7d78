"""Email addresses: which are accepted, and which of them are the same person's."""

import unicodedata

import email_validator
from email_validator import EmailNotValidError, validate_email

MAX_KEY_LENGTH = 320

# Installations live on private networks too: ada@nas.local is a fine address there. Nothing is ever looked up in DNS.
email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()


def normalized(address: str) -> str:
    """The address as it is stored and shown. Raises ValueError: with words for the person, when it is not one."""
    try:
        checked = validate_email(address, check_deliverability=False, globally_deliverable=False, strict=True)
    except EmailNotValidError as error:
        raise ValueError(str(error)) from None
    if "." not in checked.domain and checked.domain != "localhost":
        raise ValueError("The part after the @-sign is not valid. It should have a period.")
    if len(_folded(checked.normalized)) > MAX_KEY_LENGTH:
        raise ValueError("The email address is too long.")
    return checked.normalized


def key(address: str) -> str:
    """What decides who is who: the address without the differences people do not mean. Never fails."""
    try:
        return _folded(normalized(address))
    except ValueError:
        return _folded(address)


def _folded(address: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", address.strip()).casefold())
