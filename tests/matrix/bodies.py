"""What is sent where something has to be, and the queries that are needed."""

from collections.abc import Mapping

#: The id of nothing.
NOTHING = "00000000-0000-4000-8000-000000000000"
#: What is sent where something has to be; HOME is the project that things go to when none is named.
BODIES: Mapping[str, dict[str, dict[str, object]]] = {
    "POST /api/auth/register": {"json": {}},
    "POST /api/auth/login": {"json": {}},
    "POST /api/auth/refresh": {"json": {}},
    "POST /login": {"json": {}},
    "POST /register": {"json": {}},
    "POST /upload": {"json": {"filename": "a.mp4"}},
    "POST /api/storage/events": {"json": {}},
    "POST /api/projects": {"json": {"name": "Another"}},
    "POST /api/orgs": {"json": {"name": "Another"}},
    "PATCH /api/projects/{project_id}": {"json": {"name": "Renamed"}},
    "PATCH /api/orgs/{organization_id}": {"json": {"name": "Renamed"}},
    "PATCH /api/projects/{project_id}/members/{user_id}": {"json": {"role": "viewer"}},
    "PATCH /api/orgs/{organization_id}/members/{user_id}": {"json": {"role": "viewer"}},
    "POST /api/projects/{project_id}/invitations": {"json": {}},
    "POST /api/orgs/{organization_id}/invitations": {"json": {}},
    "POST /api/projects/{project_id}/api-keys": {"json": {"name": "A key", "scopes": ["read"]}},
    "POST /api/projects/{project_id}/webhooks": {"json": {"url": "http://93.184.216.34/", "events": ["job.*"]}},
    "PATCH /api/projects/{project_id}/webhooks/{webhook_id}": {"json": {"description": "Changed"}},
    "PUT /api/projects/{project_id}/cms": {
        "json": {"url": "http://93.184.216.34/", "collection": "results", "api_key": "a-key"}
    },
    "POST /api/v1/tasks/submit": {
        "json": {"project_id": "HOME", "task_type": "test_prompt", "task_data": {"prompt": "A boat"}}
    },
    "PATCH /api/videos/{video_id}": {"json": {"title": "Changed"}},
    "POST /api/videos/{video_id}/move": {"json": {"project_id": "HOME"}},
    "PATCH /api/uploads/{upload_id}": {"json": {"title": "Changed"}},
    "POST /api/uploads/{upload_id}/parts": {"json": {"part_numbers": [1]}},
    "POST /api/upload/presigned-url": {"json": {"filename": "a.mp4", "size": 9, "content_type": "video/mp4"}},
    "POST /api/videos": {"json": {"s3_key": "upload/none.mp4", "claim": "none"}},
    "POST /videos": {"json": {"s3_key": "upload/none.mp4", "claim": "none"}},
    "POST /api/videos {video_id}": {"json": {}},
    "POST /videos {video_id}": {"json": {}},
    "POST /api/videos {project_id}": {"json": {"prompt": "A boat"}},
    "POST /videos {project_id}": {"json": {"prompt": "A boat"}},
    "POST /api/generations": {"json": {"prompt": "A boat", "kind": "image"}},
    "POST /api/generations/images": {"json": {"content_type": "image/png", "size": 9}},
    "POST /api/generations/{generation_id}/again": {"json": {}},
    "POST /generate": {"form": {"prompt": "A boat", "kind": "image"}},
    "POST /projects/{project_id}/cms": {
        "form": {"url": "http://93.184.216.34/", "collection": "results", "api_key": "a-key"}
    },
    "POST /videos/{video_id}/edit": {"form": {"title": "Changed"}},
    "POST /videos/{video_id}/move": {"form": {"project_id": "HOME"}},
    "POST /projects": {"form": {"name": "Another"}},
    "POST /orgs": {"form": {"name": "Another"}},
    "POST /projects/{project_id}/settings": {"form": {"name": "Renamed"}},
    "POST /orgs/{organization_id}/settings": {"form": {"name": "Renamed"}},
    "POST /projects/{project_id}/members/{user_id}": {"form": {"role": "viewer"}},
    "POST /orgs/{organization_id}/members/{user_id}": {"form": {"role": "viewer"}},
    "POST /projects/{project_id}/invitations": {"form": {"role": "viewer"}},
    "POST /orgs/{organization_id}/invitations": {"form": {"role": "viewer"}},
    "POST /projects/{project_id}/keys": {"form": {"name": "A key", "scopes": "read"}},
    "POST /projects/{project_id}/keys/{key_id}/rotate": {"form": {"overlap_seconds": "60"}},
    "POST /projects/{project_id}/webhooks": {"form": {"url": "http://93.184.216.34/", "events": "job.*"}},
    "POST /projects/{project_id}/webhooks/{webhook_id}": {"form": {"url": "http://93.184.216.34/", "events": "job.*"}},
    "POST /projects/{project_id}/webhooks/{webhook_id}/secret": {"form": {"overlap_seconds": "60"}},
    "POST /sessions": {"form": {"title": "Nets"}},
    "POST /sessions/{session_id}": {"form": {"title": "Nets 2"}},
    "POST /sessions/{session_id}/analyses": {"form": {"video_id": NOTHING}},
    "POST /api/coaches/plus/sessions": {"json": {"title": "Nets"}},
    "PATCH /api/coaches/plus/sessions/{session_id}": {"json": {"title": "Nets 2"}},
    "POST /api/coaches/plus/sessions/{session_id}/analysis-jobs": {"json": {"video_id": NOTHING}},
    "POST /api/coaches/plus/videos/upload/initiate": {"json": {"session_id": NOTHING}},
    "POST /api/coaches/plus/videos/upload/complete": {"json": {"job_id": NOTHING}},
    "POST /api/coaches/plus/videos/upload/initiate {session_id}": {"json": {}},
    "POST /api/coaches/plus/videos/upload/complete {job_id}": {"json": {}},
    "PATCH /api/coaches/plus/analysis-jobs/{job_id}/phases": {"json": {"strike": 1}},
    "POST /settings/profile": {"form": {"name": "Somebody"}},
    "POST /settings/password": {"form": {}},
    "POST /api/admin/jobs/bulk": {"json": {"action": "cancel", "ids": []}},
    "PATCH /api/admin/users/{user_id}": {"json": {"features": []}},
    "PATCH /api/admin/orgs/{organization_id}": {"json": {"features": []}},
    "POST /admin/doctor/browser": {"json": {}},
}
#: Where a query is needed.
QUERIES = {
    "GET /api/admin/users": "email=nobody@example.org",
    "GET /api/uploads/duplicates": "fingerprint=" + "0" * 64,
    "GET /videos/progress": "id=00000000-0000-0000-0000-000000000000",
    "GET /sessions/{session_id}/compare": f"left={NOTHING}&right={NOTHING}",
    "GET /sessions/{session_id}/report": f"analysis={NOTHING}",
}
