"""The admins' page and API of the storage."""

import secrets
from datetime import timedelta
from pathlib import Path

import pytest

from backend.core.storage import storage
from backend.videos import reconcile
from tests.admin.conftest import People


async def stored(key: str, tmp_path: Path) -> str:
    (tmp_path / "object").write_bytes(b"bytes")
    await storage.put_file(key, tmp_path / "object", content_type="video/mp4")
    return key


@pytest.fixture(autouse=True)
def nothing_is_young(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "safe_age", lambda key: timedelta(hours=-1))


async def test_admins_see_and_mend_and_it_is_written_down(people: People, tmp_path: Path) -> None:
    for each in await storage.list_multiparts():  # of other tests
        await storage.abort_multipart(each.key, each.upload_id)
    await storage.delete(await storage.list_keys(""))
    key = await stored(f"videos/{secrets.token_hex(8)}/<stray>.mp4", tmp_path)
    body = (await people.admin.client.get("/api/admin/storage")).json()
    assert (body["objects"], body["records"], body["next_after"]) == (1, 0, None)
    assert [(each["trouble"], each["key"], each["mended"]) for each in body["findings"]] == [("stray", key, None)]
    page = await people.admin.browser.get("/admin/storage")
    assert page.status_code == 200
    assert "Mend" in page.text
    part = (await people.admin.browser.get("/admin/storage/findings")).text
    assert "Unknown object" in part
    assert "&lt;stray&gt;" in part
    mended = (await people.admin.client.post("/api/admin/storage/mend")).json()
    assert [each["mended"] for each in mended["findings"]] == ["removed"]
    assert "All of it is as it should be" in (await people.admin.browser.get("/admin/storage/findings")).text
    entries = (await people.admin.client.get("/api/admin/audit")).json()["entries"]
    assert entries[0]["action"] == "storage.mend"
    assert entries[0]["detail"] == {"mended": [{"key": key, "how": "removed"}]}


async def test_auditors_look_and_mend_nothing_and_others_do_neither(people: People) -> None:
    assert (await people.auditor.client.get("/api/admin/storage")).status_code == 200
    assert (await people.auditor.client.post("/api/admin/storage/mend")).status_code == 403
    assert (await people.user.client.get("/api/admin/storage")).status_code in (403, 404)
