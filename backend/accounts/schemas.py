"""What the account routes take and give."""

import uuid
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from backend.accounts import emails
from backend.core.security import MAX_PASSWORD_LENGTH
from backend.core.web import Line, StrictModel, printable

#: Anything that can be typed; whether a new one is good enough is for `accounts.passwords` to say.
Password = Annotated[str, Field(min_length=1, max_length=MAX_PASSWORD_LENGTH), AfterValidator(printable)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200), AfterValidator(printable)]
Address = Annotated[Line, Field(max_length=320)]
Secret = Annotated[str, Field(min_length=1, max_length=200)]


class RegisterIn(StrictModel):
    """A new account. `name` is what the pages call the person; it may be left out."""

    email: Annotated[Address, AfterValidator(emails.normalized)]
    password: Password
    name: Name = ""


class LoginIn(StrictModel):
    """A sign-in."""

    email: Address
    password: Password


class RefreshIn(StrictModel):
    """The newest refresh token of a session."""

    refresh_token: Secret


class ProfileIn(StrictModel):
    """What a person may change about the account without a password."""

    name: Name = ""


class PasswordIn(StrictModel):
    """A change of password."""

    current_password: Password
    new_password: Password


class UserOut(BaseModel):
    """An account as its owner sees it."""

    model_config = ConfigDict(from_attributes=True)

    id: uuid.UUID
    email: str
    name: str
    roles: list[str]
    features: list[str]
    created_at: datetime


class SignedInOut(BaseModel):
    """The tokens of a session. `expires_in` is the life of `token` in seconds; `refresh_token` works once."""

    user: UserOut
    token: str
    refresh_token: str
    expires_in: int
    token_type: Literal["bearer"] = "bearer"  # noqa: S105  (the name of a scheme)
