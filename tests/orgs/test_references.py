"""What refers to a project's row is of the same project: the database sees to it, whatever the code says."""

import uuid

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from backend.core.db import Base, transaction
from tests.conftest import Person
from tests.orgs.acting import key, personal, project
from tests.videos.sending import add_row


async def refused(statement: str, **values: object) -> str:
    with pytest.raises(IntegrityError) as refusal:
        async with transaction() as session:
            await session.execute(text(statement), values)
    return str(refusal.value)


JOB = "INSERT INTO jobs (id, kind, project_id, video_id, parent_id) VALUES (:id, 'k', :project, :video, :parent)"


async def test_a_job_works_on_a_video_of_its_own_project(user: Person) -> None:
    video, elsewhere = await add_row(user), await project(user)
    said = await refused(JOB, id=uuid.uuid4(), project=elsewhere, video=video, parent=None)
    assert "fk_jobs_project_id_video_id_videos" in said


async def test_a_family_of_jobs_is_of_one_project(user: Person) -> None:
    here, elsewhere, parent = await personal(user), await project(user), uuid.uuid4()
    async with transaction() as session:
        await session.execute(text(JOB), {"id": parent, "project": here, "video": None, "parent": None})
    said = await refused(JOB, id=uuid.uuid4(), project=elsewhere, video=None, parent=parent)
    assert "fk_jobs_project_id_parent_id_jobs" in said
    said = await refused("UPDATE jobs SET project_id = :p, parent_id = :parent", p=elsewhere, parent=uuid.uuid4())
    assert "fk_jobs_project_id_parent_id_jobs" in said


async def test_a_key_replaces_one_of_its_own_project(user: Person) -> None:
    old, elsewhere = await key(user, await personal(user)), await project(user)
    new = await key(user, elsewhere)
    said = await refused("UPDATE api_keys SET replaces_id = :old WHERE id = :new", old=old["id"], new=new["id"])
    assert "fk_api_keys_project_id_replaces_id_api_keys" in said


async def test_a_project_is_a_persons_or_an_organizations_and_never_both(user: Person) -> None:
    assert "one_owner" in await refused("UPDATE projects SET owner_id = NULL WHERE NOT personal OR personal")
    assert "one_owner" in await refused("INSERT INTO projects (id, name) VALUES (:id, 'p')", id=uuid.uuid4())


def test_every_reference_from_one_projects_row_to_another_holds_the_project() -> None:
    loose = [
        f"{table.name}.{'+'.join(column.name for column in key.columns)}"
        for table in Base.metadata.sorted_tables
        if "project_id" in table.columns
        for key in table.foreign_key_constraints
        if "project_id" in key.referred_table.columns and "project_id" not in {column.name for column in key.columns}
    ]
    assert loose == []
