"""What the API says of the storage."""

from datetime import datetime

from pydantic import BaseModel, Field

from backend.admin.storage.look import Look
from backend.videos.reconcile import Trouble


class FindingOut(BaseModel):
    """One thing that is wrong."""

    trouble: Trouble
    key: str
    kind: str | None = Field(description="What it is for, where that is known")
    size_bytes: int | None
    since: datetime = Field(description="What its age counts from")
    mended: str | None = Field(description="What was done about it")


class StorageOut(BaseModel):
    """What was looked at; ask on with `after`=`next_after` until that is null."""

    findings: list[FindingOut]
    objects: int
    size_bytes: int
    records: int
    young: int = Field(description="Findings too young to tell: they may be on their way, and are not listed")
    uploads_by_key: bool = Field(
        description="The storage lists no open uploads: those of keys that were never written down cannot be seen"
    )
    next_after: str | None

    @classmethod
    def of(cls, look: Look) -> "StorageOut":
        """The same for programs."""
        return cls(
            findings=[FindingOut.model_validate(each, from_attributes=True) for each in look.findings],
            objects=look.totals.objects,
            size_bytes=look.totals.size_bytes,
            records=look.totals.rows,
            young=look.totals.young,
            uploads_by_key=look.totals.uploads_by_key,
            next_after=look.totals.next_after,
        )
