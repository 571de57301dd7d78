"""Projects, their keys, their webhooks and what was delivered."""

from collections.abc import Sequence
from datetime import datetime
from typing import TypeVar

from dailies_client._api import segment
from dailies_client._flows import Flow, Group, Values, listing, operation
from dailies_client.models import (
    Delivery,
    DeliveryDetail,
    DeliveryState,
    Key,
    NewKey,
    NewSecret,
    NewWebhook,
    Project,
    Scope,
    Webhook,
)

D = TypeVar("D")
_DAY_SECONDS = 86_400


class Projects(Group[D]):
    """Projects one may reach. People make and delete them; a key sees its own."""

    @operation
    def list(self) -> Flow[list[Project]]:
        """All of them, the personal one first."""
        return self._api.many(Project, "/api/projects", "projects")

    @operation
    def get(self, project_id: str) -> Flow[Project]:
        """One project."""
        return self._api.one(Project, "GET", f"/api/projects/{segment(project_id)}")

    @operation
    def create(self, name: str, *, organization_id: str | None = None) -> Flow[Project]:
        """One's own, or an organization's where one manages it."""
        body = {"name": name, "organization_id": organization_id}
        return self._api.one(Project, "POST", "/api/projects", json=body)

    @operation
    def rename(self, project_id: str, name: str) -> Flow[Project]:
        """For those who manage it."""
        return self._api.one(Project, "PATCH", f"/api/projects/{segment(project_id)}", json={"name": name})

    @operation
    def delete(self, project_id: str) -> Flow[None]:
        """For owners: with all that is in it."""
        return self._api.json("DELETE", f"/api/projects/{segment(project_id)}")


class Keys(Group[D]):
    """API keys. People make, replace and revoke them."""

    @operation
    def list(self, project_id: str) -> Flow[list[Key]]:
        """Newest first, also those that have ended."""
        return self._api.many(Key, _keys(project_id), "keys")

    @operation
    def create(
        self, project_id: str, name: str, scopes: Sequence[Scope], *, expires_at: datetime | None = None
    ) -> Flow[NewKey]:
        """A new one; its `key` is shown this once. `expires_at` must be aware of its time zone."""
        ends = expires_at.isoformat() if expires_at else None
        body = {"name": name, "scopes": [*scopes], "expires_at": ends}
        return self._api.one(NewKey, "POST", _keys(project_id), json=body)

    @operation
    def rotate(self, project_id: str, key_id: str, *, overlap_seconds: int = _DAY_SECONDS) -> Flow[NewKey]:
        """Its successor; for so long both work."""
        path = f"{_keys(project_id)}/{segment(key_id)}/rotate"
        return self._api.one(NewKey, "POST", path, json={"overlap_seconds": overlap_seconds})

    @operation
    def revoke(self, project_id: str, key_id: str) -> Flow[None]:
        """End one at once."""
        return self._api.json("DELETE", f"{_keys(project_id)}/{segment(key_id)}")


class Webhooks(Group[D]):
    """Webhooks of a project, and their deliveries, for those who manage it."""

    @operation
    def list(self, project_id: str) -> Flow[list[Webhook]]:
        """Oldest first."""
        return self._api.many(Webhook, _hooks(project_id), "webhooks")

    @operation
    def get(self, project_id: str, webhook_id: str) -> Flow[Webhook]:
        """One webhook."""
        return self._api.one(Webhook, "GET", f"{_hooks(project_id)}/{segment(webhook_id)}")

    @operation
    def create(self, project_id: str, url: str, events: Sequence[str], *, description: str = "") -> Flow[NewWebhook]:
        """A new one; its `secret` is shown this once. `events` are names or families such as `video.*`.

        Raises UrlNotAllowed: for an address the platform sends nothing to.
        """
        body = {"url": url, "events": [*events], "description": description}
        return self._api.one(NewWebhook, "POST", _hooks(project_id), json=body)

    @operation
    def update(
        self,
        project_id: str,
        webhook_id: str,
        *,
        url: str | None = None,
        events: Sequence[str] | None = None,
        description: str | None = None,
        enabled: bool | None = None,
    ) -> Flow[Webhook]:
        """Change it; what is None stays. `enabled=True` also after it was switched off by itself."""
        wanted = {
            "url": url,
            "events": None if events is None else [*events],
            "description": description,
            "enabled": enabled,
        }
        body = {name: value for name, value in wanted.items() if value is not None}
        return self._api.one(Webhook, "PATCH", f"{_hooks(project_id)}/{segment(webhook_id)}", json=body)

    @operation
    def delete(self, project_id: str, webhook_id: str) -> Flow[None]:
        """With its deliveries."""
        return self._api.json("DELETE", f"{_hooks(project_id)}/{segment(webhook_id)}")

    @operation
    def rotate_secret(
        self, project_id: str, webhook_id: str, *, overlap_seconds: int = _DAY_SECONDS
    ) -> Flow[NewSecret]:
        """A new secret; for so long each delivery is signed with both."""
        path = f"{_hooks(project_id)}/{segment(webhook_id)}/secret"
        return self._api.one(NewSecret, "POST", path, json={"overlap_seconds": overlap_seconds})

    @operation
    def test(self, project_id: str, webhook_id: str) -> Flow[Delivery]:
        """Send a `webhook.test`, whatever the webhook asks for."""
        return self._api.one(Delivery, "POST", f"{_hooks(project_id)}/{segment(webhook_id)}/test")

    @listing
    def deliveries(
        self, project_id: str, webhook_id: str, *, state: DeliveryState | None = None, type: str | None = None
    ) -> Values[Delivery]:
        """All that match, newest first, for as long as they are kept."""
        path = f"{_hooks(project_id)}/{segment(webhook_id)}/deliveries"
        return self._api.pages(Delivery, path, "deliveries", {"state": state, "type": type})

    @operation
    def delivery(self, project_id: str, delivery_id: str) -> Flow[DeliveryDetail]:
        """One delivery with what is sent and every try."""
        return self._api.one(
            DeliveryDetail, "GET", f"/api/projects/{segment(project_id)}/deliveries/{segment(delivery_id)}"
        )

    @operation
    def redeliver(self, project_id: str, delivery_id: str) -> Flow[Delivery]:
        """Send it again now, under the same `webhook-id`. Raises InvalidState while it is being sent."""
        return self._api.one(
            Delivery, "POST", f"/api/projects/{segment(project_id)}/deliveries/{segment(delivery_id)}/redeliver"
        )


def _keys(project_id: str) -> str:
    return f"/api/projects/{segment(project_id)}/api-keys"


def _hooks(project_id: str) -> str:
    return f"/api/projects/{segment(project_id)}/webhooks"
