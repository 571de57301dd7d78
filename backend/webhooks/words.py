"""What people read of webhooks and their deliveries."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from backend.orgs.words import ahead
from backend.webhooks.models import DeliveryState, EventType, WebhookDelivery

STATES = {
    DeliveryState.PENDING: "Waiting",
    DeliveryState.DELIVERING: "Sending",
    DeliveryState.DELIVERED: "Delivered",
    DeliveryState.DEAD: "Given up",
    DeliveryState.CANCELLED: "Not sent",
}
_FAMILY_NAMES = {"upload.*": "Uploads", "video.*": "Videos", "job.*": "Jobs"}
#: Kinds of events with their names: (pattern of all, what the kind is called, [(event, word)]).
FAMILIES = [
    (family, name, [(each.value, each.partition(".")[2]) for each in EventType if each.family == family])
    for family, name in _FAMILY_NAMES.items()
]

#: What is tried again sooner than this is looked at until it has happened.
SOON = timedelta(seconds=20)


def events(patterns: Sequence[str]) -> str:
    """What a webhook hears of: `all of Videos, upload.completed`."""
    return ", ".join(f"all {_FAMILY_NAMES[each].lower()}" if each in _FAMILY_NAMES else each for each in patterns)


def stands(delivery: WebhookDelivery) -> dict[str, str | bool]:
    """Its state: a word, what else to say, the look of its status, whether it changes soon, whether it has ended."""
    state = DeliveryState(delivery.state)
    word, more, soon = STATES[state], "", state == DeliveryState.DELIVERING
    if state == DeliveryState.PENDING and delivery.next_try_at is not None:
        due = ahead(delivery.next_try_at)
        if delivery.attempt:
            word, more = "Failed", "tries again " + ("now" if due == "now" else due)
        else:
            more = "" if due == "now" else f"first try {due}"
        soon = delivery.next_try_at < datetime.now(UTC) + SOON
    look = {
        DeliveryState.PENDING: "failed" if delivery.attempt else "queued",
        DeliveryState.DELIVERING: "running",
        DeliveryState.DELIVERED: "completed",
        DeliveryState.DEAD: "failed",
        DeliveryState.CANCELLED: "cancelled",
    }[state]
    over = state in (DeliveryState.DELIVERED, DeliveryState.DEAD, DeliveryState.CANCELLED)
    return {"word": word, "more": more, "look": look, "soon": soon, "over": over}
