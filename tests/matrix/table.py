"""What every route is for, said once: whom it is open to, and what one needs to be allowed there.

A line is a route; `{name}` after it is an id in its body or its query, which is a line of its own. A route without a
line fails the build. What is here is not read from the code that decides: it is what that code has to do.
"""

from collections.abc import Mapping

from tests.matrix.rules import Route, Rule

_LINES: Mapping[Rule, str] = {
    Rule("public"): """
        GET /openapi.json
        GET /health
        GET /api/v1/health
        GET /ready
        GET /docs
        GET /
        POST /login
        POST /register
        POST /logout
        POST /upload
        POST /api/auth/register
        POST /api/auth/login
        POST /api/auth/refresh
        GET /api/v1/media/{task_id}/{proof}/{file_name}
    """,
    Rule("guest"): """
        GET /login
        GET /register
    """,
    Rule("token"): """
        GET /metrics
        POST /api/storage/events
        GET /api/admin/doctor/settings
    """,
    Rule("anybody"): """
        GET /api/projects
        GET /api/jobs
        GET /api/videos
        GET /videos
        GET /api/uploads
        GET /api/uploads/duplicates
        GET /api/usage
        GET /videos/progress
        GET /api/v1/workers/status
        GET /api/generations
        GET /api/generations {project_id}
        GET /api/generations/limits
        GET /api/coaches/plus/sessions
        GET /api/coaches/plus/players
        POST /api/coaches/plus/videos/upload/initiate
        POST /api/coaches/plus/videos/upload/complete
        GET /api/coaches/plus/players/{player_id:path}/metrics
    """,
    Rule("person"): """
        GET /me
        GET /api/auth/me
        POST /api/auth/logout
        POST /api/projects
        GET /api/orgs
        POST /api/orgs
        GET /settings
        POST /settings/profile
        POST /settings/password
        POST /settings/sessions/revoke-others
        GET /dashboard
        GET /dashboard/now
        GET /dashboard/live
        GET /upload
        GET /generate
        GET /generate/quota
        POST /generate
        GET /gallery
        GET /gallery/live
        GET /projects
        POST /projects
        POST /orgs
        GET /sessions
        POST /sessions
        GET /players/{player_id:path}
    """,
    Rule("account"): "POST /settings/sessions/{session_id}/revoke",
    Rule("holder"): "GET /invitations/{token}",
    Rule("link"): """
        POST /invitations/{token}
        GET /api/invitations/{token}
        POST /api/invitations/{token}/accept
    """,
    Rule("anybody", "view"): """
        GET /api/projects/{project_id}
        GET /api/projects/{project_id}/members
        GET /api/jobs/{job_id}
        GET /api/videos/jobs/{job_id}
        GET /jobs/{job_id}
        GET /api/jobs/{job_id}/stream
        GET /api/videos/jobs/{job_id}/stream
        GET /jobs/{job_id}/stream
        GET /api/uploads/{upload_id}
        GET /api/videos/{video_id}
        GET /videos/{video_id}
        GET /api/videos/{video_id}/playback-url
        GET /api/videos/{video_id}/preview.vtt
        GET /api/videos/{video_id}/hls/master.m3u8
        GET /api/videos/{video_id}/hls/{rung}.m3u8
        GET /api/usage {organization_id}
        GET /api/generations/{generation_id}
        GET /api/generations/{generation_id}/file
        GET /api/generations/{generation_id}/preview
        GET /api/v1/tasks/{task_id}/status
        GET /api/v1/projects/{project_id}/tasks
        GET /api/coaches/plus/sessions/{session_id}
        GET /api/coaches/plus/sessions/{session_id}/analysis-jobs
        GET /api/coaches/plus/analysis-jobs/{job_id}
        GET /api/coaches/plus/analysis-jobs/{job_id}/files
    """,
    Rule("anybody", "tasks"): """
        POST /api/v1/tasks/submit
        POST /api/v1/tasks/submit {project_id}
        DELETE /api/v1/tasks/{task_id}/cancel
        POST /api/v1/tasks/{task_id}/retry
    """,
    Rule("anybody", "edit"): """
        POST /api/jobs/{job_id}/cancel
        POST /api/jobs/{job_id}/retry
        PATCH /api/videos/{video_id}
        DELETE /api/videos/{video_id}
        POST /api/videos/{video_id}/retry
        POST /api/videos/{video_id}/move
        POST /api/videos/{video_id}/move {project_id}
        PATCH /api/uploads/{upload_id}
        PATCH /api/uploads/{upload_id} {project_id}
        POST /api/uploads/{upload_id}/parts
        POST /api/uploads/{upload_id}/complete
        POST /api/uploads/{upload_id}/complete {project_id}
        DELETE /api/uploads/{upload_id}
        POST /api/upload/presigned-url
        POST /api/upload/presigned-url {project_id}
        POST /api/videos
        POST /api/videos {video_id}
        POST /api/videos {project_id}
        POST /videos
        POST /videos {video_id}
        POST /videos {project_id}
        POST /api/generations
        POST /api/generations {project_id}
        POST /api/generations/images
        POST /api/generations/images {project_id}
        DELETE /api/generations/{generation_id}
        POST /api/generations/{generation_id}/cancel
        POST /api/generations/{generation_id}/retry
        POST /api/generations/{generation_id}/resubmit
        POST /api/generations/{generation_id}/again
        POST /api/coaches/plus/sessions
        POST /api/coaches/plus/sessions {project_id}
        PATCH /api/coaches/plus/sessions/{session_id}
        DELETE /api/coaches/plus/sessions/{session_id}
        POST /api/coaches/plus/sessions/{session_id}/analysis-jobs
        POST /api/coaches/plus/videos/upload/initiate {session_id}
        POST /api/coaches/plus/videos/upload/complete {job_id}
        POST /api/coaches/plus/analysis-jobs/{job_id}/retry
        POST /api/coaches/plus/analysis-jobs/{job_id}/cancel
        PATCH /api/coaches/plus/analysis-jobs/{job_id}/phases
        DELETE /api/coaches/plus/analysis-jobs/{job_id}
    """,
    Rule("anybody", "manage"): """
        PATCH /api/projects/{project_id}
        GET /api/projects/{project_id}/invitations
        GET /api/projects/{project_id}/audit
        GET /api/projects/{project_id}/api-keys
        GET /api/projects/{project_id}/webhooks
        POST /api/projects/{project_id}/webhooks
        GET /api/projects/{project_id}/webhooks/{webhook_id}
        PATCH /api/projects/{project_id}/webhooks/{webhook_id}
        DELETE /api/projects/{project_id}/webhooks/{webhook_id}
        POST /api/projects/{project_id}/webhooks/{webhook_id}/secret
        POST /api/projects/{project_id}/webhooks/{webhook_id}/test
        GET /api/projects/{project_id}/webhooks/{webhook_id}/deliveries
        GET /api/projects/{project_id}/deliveries/{delivery_id}
        POST /api/projects/{project_id}/deliveries/{delivery_id}/redeliver
        GET /api/projects/{project_id}/cms
        PUT /api/projects/{project_id}/cms
        DELETE /api/projects/{project_id}/cms
        POST /api/projects/{project_id}/cms/test
        GET /api/projects/{project_id}/cms/syncs
        POST /api/projects/{project_id}/cms/syncs/retry
    """,
    Rule("person", "manage"): """
        PATCH /api/projects/{project_id}/members/{user_id}
        DELETE /api/projects/{project_id}/members/{user_id}
        POST /api/projects/{project_id}/invitations
        DELETE /api/projects/{project_id}/invitations/{invitation_id}
        POST /api/projects/{project_id}/api-keys
        POST /api/projects/{project_id}/api-keys/{key_id}/rotate
        DELETE /api/projects/{project_id}/api-keys/{key_id}
        POST /api/projects {organization_id}
        PATCH /api/orgs/{organization_id}
        PATCH /api/orgs/{organization_id}/members/{user_id}
        DELETE /api/orgs/{organization_id}/members/{user_id}
        GET /api/orgs/{organization_id}/invitations
        POST /api/orgs/{organization_id}/invitations
        DELETE /api/orgs/{organization_id}/invitations/{invitation_id}
        GET /api/orgs/{organization_id}/audit
        POST /projects {organization_id}
        GET /orgs/{organization_id}/activity
        GET /projects/{project_id}/activity
        POST /orgs/{organization_id}/settings
        POST /projects/{project_id}/settings
        POST /orgs/{organization_id}/members/{user_id}
        POST /projects/{project_id}/members/{user_id}
        POST /orgs/{organization_id}/members/{user_id}/remove
        POST /projects/{project_id}/members/{user_id}/remove
        POST /orgs/{organization_id}/invitations
        POST /projects/{project_id}/invitations
        POST /orgs/{organization_id}/invitations/{invitation_id}/revoke
        POST /projects/{project_id}/invitations/{invitation_id}/revoke
        GET /projects/{project_id}/keys
        POST /projects/{project_id}/keys
        POST /projects/{project_id}/keys/{key_id}/rotate
        POST /projects/{project_id}/keys/{key_id}/revoke
        GET /projects/{project_id}/webhooks
        POST /projects/{project_id}/webhooks
        GET /projects/{project_id}/webhooks/{webhook_id}
        POST /projects/{project_id}/webhooks/{webhook_id}
        POST /projects/{project_id}/webhooks/{webhook_id}/on
        POST /projects/{project_id}/webhooks/{webhook_id}/off
        POST /projects/{project_id}/webhooks/{webhook_id}/test
        POST /projects/{project_id}/webhooks/{webhook_id}/secret
        POST /projects/{project_id}/webhooks/{webhook_id}/delete
        GET /projects/{project_id}/deliveries/{delivery_id}
        GET /projects/{project_id}/deliveries/{delivery_id}/now
        POST /projects/{project_id}/deliveries/{delivery_id}/redeliver
        GET /projects/{project_id}/cms
        POST /projects/{project_id}/cms
        POST /projects/{project_id}/cms/test
        POST /projects/{project_id}/cms/retry
        POST /projects/{project_id}/cms/delete
    """,
    Rule("person", "own"): """
        DELETE /api/projects/{project_id}
        DELETE /api/orgs/{organization_id}
        POST /projects/{project_id}/delete
        POST /orgs/{organization_id}/delete
    """,
    Rule("person", "view"): """
        GET /api/orgs/{organization_id}
        GET /api/orgs/{organization_id}/members
        GET /projects/{project_id}
        GET /projects/{project_id}/members
        GET /projects/{project_id}/settings
        GET /orgs/{organization_id}
        GET /orgs/{organization_id}/projects
        GET /orgs/{organization_id}/members
        GET /orgs/{organization_id}/settings
        GET /videos/{video_id}/live
        GET /videos/{video_id}/history
        GET /videos/{video_id}/download
        GET /videos/{video_id}/row
        GET /videos/{video_id}/heading
        GET /gallery/{generation_id}
        GET /gallery/{generation_id}/tile
        GET /gallery/{generation_id}/making
        GET /gallery/{generation_id}/file
        GET /gallery/{generation_id}/preview
        GET /sessions/{session_id}
        GET /sessions/{session_id}/analyses
        GET /sessions/{session_id}/compare
        GET /sessions/{session_id}/report
    """,
    Rule("person", "edit"): """
        POST /generate {project_id}
        POST /gallery/{generation_id}/cancel
        POST /gallery/{generation_id}/retry
        POST /gallery/{generation_id}/resubmit
        POST /gallery/{generation_id}/delete
        POST /gallery/{generation_id}/restore
        POST /jobs/{job_id}/cancel
        POST /videos/{video_id}/retry
        GET /videos/{video_id}/edit
        POST /videos/{video_id}/edit
        POST /videos/{video_id}/delete
        POST /videos/{video_id}/restore
        POST /videos/{video_id}/move
        POST /videos/{video_id}/move {project_id}
        POST /sessions {project_id}
        POST /sessions/{session_id}
        POST /sessions/{session_id}/delete
        POST /sessions/{session_id}/analyses
        POST /sessions/{session_id}/analyses/{analysis_id}/{verb}
    """,
    Rule("auditor"): """
        GET /api/admin/queues
        GET /api/admin/jobs
        GET /api/admin/jobs/count
        GET /api/admin/jobs/{job_id}
        GET /api/admin/workers
        GET /api/admin/audit
        GET /api/admin/users
        GET /api/admin/doctor
        GET /api/admin/doctor/stream
        GET /api/admin/storage
        GET /admin
        GET /admin/queue
        GET /admin/queue/now
        GET /admin/queue/rows
        GET /admin/jobs/{job_id}
        GET /admin/jobs/{job_id}/now
        GET /admin/audit
        GET /admin/doctor
        GET /admin/doctor/findings
        GET /admin/storage
        GET /admin/storage/findings
    """,
    Rule("admin"): """
        POST /api/admin/queues/{name}/pause
        POST /api/admin/queues/{name}/resume
        POST /api/admin/jobs/bulk
        POST /api/admin/jobs/{job_id}/{action}
        PATCH /api/admin/users/{user_id}
        PATCH /api/admin/orgs/{organization_id}
        POST /api/admin/doctor
        POST /api/admin/doctor/browser
        POST /api/admin/storage/mend
        POST /admin/queues/{name}/pause
        POST /admin/queues/{name}/resume
        POST /admin/jobs/{job_id}/{action}
        POST /admin/doctor/findings
        POST /admin/doctor/browser
        POST /admin/storage/findings
    """,
}


def _route(line: str) -> Route:
    method, path, *inside = line.split()
    return Route(method, path, inside[0].strip("{}") if inside else "")


TABLE: Mapping[Route, Rule] = {
    _route(line): rule for rule, lines in _LINES.items() for line in lines.strip().splitlines()
}

#: Not said of any person's or key's own: they are names and choices.
CHOICES = {
    "name": "default",
    "action": "cancel",
    "rung": "360p",
    "proof": "0" * 40,
    "file_name": "output.mp4",
    "verb": "retry",
    "player_id": "ann",
}
PLACES = ("project_id", "organization_id")
