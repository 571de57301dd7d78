"""What the project routes give."""

import uuid
from datetime import datetime

from pydantic import BaseModel, ConfigDict


class ProjectOut(BaseModel):
    """A project its reader is a member of. Each account has one personal project."""

    model_config = ConfigDict(from_attributes=True)

    id: uuid.UUID
    name: str
    personal: bool
    created_at: datetime


class ProjectsOut(BaseModel):
    """All projects one may reach, the personal one first."""

    projects: list[ProjectOut]
