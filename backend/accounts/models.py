"""Users, their sessions, and the refresh tokens of a session."""

import uuid
from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, func
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from backend.core.db import Base, Identified, Timestamped

ADMIN = "admin"  #: runs the installation
AUDITOR = "auditor"  #: sees what admins see, and changes nothing
COACH = "coach_pro_plus"  #: has practice sessions of one's own
ORG_PRO = "org_pro"  #: sees the practice sessions of one's organizations
ROLES = (ADMIN, AUDITOR, COACH, ORG_PRO)


class User(Identified, Timestamped, Base):
    """A person. `email_key` is the folded address: it alone decides who is who."""

    __tablename__ = "users"

    email: Mapped[str] = mapped_column(String(320))
    email_key: Mapped[str] = mapped_column(String(320), unique=True)
    name: Mapped[str] = mapped_column(String(200), server_default="")
    password_hash: Mapped[str]
    roles: Mapped[list[str]] = mapped_column(ARRAY(String), server_default="{}")
    features: Mapped[list[str]] = mapped_column(ARRAY(String), server_default="{}")

    @property
    def is_admin(self) -> bool:
        return ADMIN in self.roles

    @property
    def may_audit(self) -> bool:
        """Whether the pages of admins are open to this person, at least to look at."""
        return ADMIN in self.roles or AUDITOR in self.roles


class LoginSession(Identified, Base):
    """One sign-in on one device; revoking it ends its cookie, its access tokens and its refresh tokens at once.

    A browser holds the cookie whose SHA-256 is `cookie_hash`; an API client holds tokens instead and has none.
    """

    __tablename__ = "login_sessions"
    __table_args__ = (Index(None, "user_id", "created_at"),)

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    cookie_hash: Mapped[bytes | None] = mapped_column(unique=True)
    user_agent: Mapped[str] = mapped_column(String(400), server_default="")
    ip: Mapped[str] = mapped_column(String(64), server_default="")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class RefreshToken(Identified, Base):
    """One link of a session's chain. A link that is shown a second time revokes the whole session."""

    __tablename__ = "refresh_tokens"

    session_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("login_sessions.id", ondelete="CASCADE"), index=True)
    token_hash: Mapped[bytes] = mapped_column(unique=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
