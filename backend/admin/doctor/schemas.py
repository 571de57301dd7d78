"""What the doctor's API gives; `dailies doctor --json` prints the same."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from backend.admin.doctor.examination import Report
from backend.admin.doctor.findings import State


class FindingOut(BaseModel):
    """What one check found."""

    model_config = ConfigDict(from_attributes=True)

    name: str = Field(description="Stable, for programs")
    group: str
    title: str
    state: State
    words: str
    fix: str = Field(description="What exactly to do; empty when all is well")
    detail: str
    seconds: float


class ReportOut(BaseModel):
    """A run of the doctor. `state` is the worst of its findings; what was skipped does not count."""

    state: State
    at: datetime
    version: str
    findings: list[FindingOut]

    @classmethod
    def of(cls, report: Report) -> "ReportOut":
        findings = [FindingOut.model_validate(finding) for finding in report.findings]
        return cls(state=report.state, at=report.at, version=report.version, findings=findings)
