"""What the API of a project's CMS takes and answers."""

import uuid
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from backend.core.paging import MAX_PAGE
from backend.core.web import Line, StrictModel
from backend.generation.delivery_models import CmsMode
from backend.generation.v1_schemas import CmsSyncOut

Slug = Annotated[Line, Field(max_length=100, pattern=r"^[A-Za-z0-9_-]+$")]
Key = Annotated[Line, Field(max_length=500, pattern=r"^[\x21-\x7e]+$")]


class CmsIn(StrictModel):
    """A collection of a PayloadCMS 3. In `link` mode its documents hold the address of a result, in `upload` mode the
    file itself, for which it has to be a collection for uploads. It needs a text field `task_id`."""

    url: Annotated[Line, Field(max_length=2000, examples=["https://cms.example.com"])]
    collection: Slug
    api_key: Key | None = Field(None, description="Shown to nobody again; not sent, the one that is known stays")
    key_collection: Slug = Field("users", description="The collection whose API key it is")
    mode: CmsMode = CmsMode.LINK


class CmsSettings(BaseModel):
    """Where a project's results go."""

    url: str
    collection: str
    key_collection: str
    mode: CmsMode
    created_at: datetime
    updated_at: datetime


class CmsOut(BaseModel):
    """The CMS of a project, if it has one, and how many results are on their way, there, or refused."""

    cms: CmsSettings | None
    waiting: int
    synced: int
    failed: int


class CmsTested(BaseModel):
    """What a try found: whether the key may look into the collection, and finds the field it needs there."""

    ok: bool
    message: str


class CmsSyncEntry(CmsSyncOut):
    """One result on its way into the CMS."""

    task_id: uuid.UUID
    created_at: datetime


class CmsSyncQuery(BaseModel):
    """Which to list, the latest first."""

    page: int = Field(default=1, ge=1, le=MAX_PAGE)
    limit: int = Field(default=20, ge=1, le=100)


class CmsSyncPage(BaseModel):
    """One page of them."""

    syncs: list[CmsSyncEntry]
    page: int
    limit: int
    total: int
    total_pages: int


class CmsRetried(BaseModel):
    """How many refused results are sent again."""

    retried: int
