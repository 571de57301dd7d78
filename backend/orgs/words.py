"""What members read of roles, keys, and what was done."""

from datetime import UTC, datetime

from backend.core import web, words
from backend.orgs.access import Actor
from backend.orgs.models import AuditEntry
from backend.orgs.roles import Role, Scope

ROLES = {
    Role.VIEWER: ("Viewer", "sees everything and changes nothing"),
    Role.EDITOR: ("Editor", "also uploads, changes and deletes videos"),
    Role.ADMIN: ("Admin", "also looks after members, keys and webhooks"),
    Role.OWNER: ("Owner", "may do everything, and make others owners"),
}
SCOPES = {
    Scope.READ: ("Read", "see videos, uploads and jobs"),
    Scope.WRITE: ("Write", "upload, change, move and delete videos"),
    Scope.TASKS: ("Tasks", "ask the task service to do work"),
    Scope.ADMIN: ("Manage", "change videos, rename the project, look after webhooks"),
}
_DEEDS = {
    "project.create": "Made the project “{name}”",
    "project.rename": "Renamed the project from “{before}” to “{after}”",
    "project.delete": "Deleted the project “{name}”",
    "organization.create": "Made the organization “{name}”",
    "organization.rename": "Renamed the organization from “{before}” to “{after}”",
    "organization.features": "Changed the organization’s features",
    "member.role": "Changed {email} from {before} to {after}",
    "member.remove": "Removed {email}, who was {before}",
    "member.leave": "Left, having been {before}",
    "invitation.create": "Invited {whom} as {role}",
    "invitation.revoke": "Took back the invitation for {whom} as {role}",
    "invitation.accept": "Joined as {role}",
    "key.create": "Made the key “{name}”",
    "key.rotate": "Replaced the key “{name}”",
    "key.revoke": "Revoked the key “{name}”",
    "webhook.created": "Added the webhook {url}",
    "webhook.changed": "Changed the webhook {url}",
    "webhook.deleted": "Removed the webhook {url}",
    "webhook.disabled": "The webhook {url} was switched off",
    "webhook.secret_rotated": "Replaced the secret of the webhook {url}",
    "webhook.redelivered": "Sent {type} again",
    "cms.changed": "Connected the CMS {url}",
    "cms.removed": "Disconnected the CMS {url}",
    "cms.sent_again": "Sent {results} refused results to the CMS again",
    "video.move": "Moved the video “{title}”",
    "job.cancel": "Cancelled a job",
    "job.retry": "Retried a job",
    "job.restart": "Started a cancelled job again",
    "jobs.cancel": "Cancelled several jobs",
    "jobs.retry": "Retried several jobs",
    "jobs.restart": "Started several jobs again",
}


class _Known(dict[str, object]):
    def __missing__(self, name: str) -> str:
        return "–"


def place_deed(entry: AuditEntry) -> str:
    """What somebody did, as a short sentence without its subject."""
    words = _DEEDS.get(entry.action)
    if entry.action == "webhook.changed" and not set(entry.detail) - {"url", "enabled", "key_id"}:
        words = f"Switched {'on' if entry.detail.get('enabled') else 'off'} the webhook {{url}}"
    if words is None:
        return entry.action.replace(".", " ").replace("_", " ").capitalize()
    whom = entry.detail.get("email") or "somebody"
    return words.format_map(_Known({"whom": whom} | entry.detail)) + _ended_with(entry)


def _ended_with(entry: AuditEntry) -> str:
    """What a member lost with a role: `; 2 keys and 1 invitation ended with it`."""
    numbers = (("key", entry.detail.get("keys_revoked")), ("invitation", entry.detail.get("invitations_revoked")))
    lost = [counted(number, noun) for noun, number in numbers if number]
    return f"; {listed(lost)} ended with it" if lost else ""


def move_of(entry: AuditEntry, actor: Actor) -> str:
    """From where to where a video was moved, as far as the reader sees these projects."""
    if entry.action != "video.move":
        return ""
    names = {str(project_id): named.name for project_id, named in actor.names.items()}
    places = (names.get(str(entry.detail.get(side)), "another project") for side in ("from", "to"))
    return "from {} to {}".format(*places)


def ahead(moment: datetime) -> str:
    """How far ahead a moment is: `in 12 s`, `in 3 hours`, `in 8 days`; `now` when it is past."""
    seconds = (moment - datetime.now(UTC)).total_seconds()
    if seconds <= 0:
        return "now"
    if seconds < 60:
        return f"in {max(1, round(seconds))} s"
    for size, below, name in ((60, 3600, "minute"), (3600, 2 * 86_400, "hour")):
        if (count := max(1, round(seconds / size))) * size < below:
            return f"in {counted(count, name)}"
    return f"in {counted(round(seconds / 86_400), 'day')}"


def role_word(role: str) -> str:
    return ROLES[Role(role)][0]


def scope_words(scopes: list[str]) -> str:
    return ", ".join(SCOPES[Scope(scope)][0] for scope in scopes)


def counted(number: int, noun: str) -> str:
    """`1 video`, `1,204 videos`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(parts: list[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


web.templates().filters.update(
    place_deed=place_deed, ahead=ahead, role_word=role_word, scope_words=scope_words, counted=counted, listed=listed
)
web.templates().globals.update(role_words=ROLES, key_scopes=SCOPES, move_of=move_of, exact_time=words.timestamp)
