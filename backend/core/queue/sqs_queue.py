"""The doorbell over Amazon SQS: a ring is a message `{"job_id", "queue"}`, in one SQS queue per queue of ours.

A message is deleted once its ring was answered. Until then a heartbeat keeps it hidden from others; when the listener
dies it shows up again. One whose answer keeps failing goes where the queue's redrive policy says, and `redrive` brings
it back. boto3 blocks: each call has a thread that nobody waits for at the end of the process.
"""

import asyncio
import json
import threading
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import boto3
import structlog
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from backend.config import settings
from backend.core.queue import Answer

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

T = TypeVar("T")

log = structlog.get_logger(__name__)

#: The longest that SQS lets a poll wait. Stopping does not wait for it.
WAIT_SECONDS = 20
#: How long a message is hidden from others; renewed each third of it while its ring is being answered.
VISIBILITY_SECONDS = 30.0
#: What SQS hands out at once.
BATCH = 10
#: Calls of one process at once, beside the polls.
CALLS_AT_ONCE = 16
#: Somebody waits for the commit that rings, so a ring is not waited for longer.
RING_SECONDS = 3.0
#: How often a listener without free slots looks whether one came free.
LOOK_SECONDS = 0.1

_Failures = (ClientError, BotoCoreError, OSError, TimeoutError)


class RedriveFailed(Exception):
    """Dead letters were not moved, or not all; the message is for the operator."""


def queue_url(queue: str) -> str:
    """The SQS queue of a queue's rings; analyses may have one by a name of their own."""
    if queue == "analysis" and settings.sqs_video_analysis_queue_url:
        return settings.sqs_video_analysis_queue_url
    return settings.sqs_queue_url_prefix + queue


def body_of(job_id: uuid.UUID, queue: str, words: Mapping[str, Any] | None = None) -> str:
    """The text of a ring."""
    return json.dumps({"job_id": str(job_id), "queue": queue, **(words or {})})


def parse(body: str) -> uuid.UUID | None:
    """The job a message speaks of, whatever else it holds; None when it is no ring."""
    try:
        ring = json.loads(body)
        return uuid.UUID(ring["job_id"]) if isinstance(ring["queue"], str) else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _connect(*, read_timeout_seconds: float) -> "SQSClient":
    return boto3.client(
        "sqs",
        endpoint_url=settings.sqs_endpoint_url,
        region_name=settings.aws_region,
        # Without keys of our own: what AWS's clients look for by themselves, such as the role of the machine.
        aws_access_key_id=settings.sqs_access_key_id or None,
        aws_secret_access_key=settings.sqs_secret_access_key.get_secret_value() or None,
        config=Config(
            connect_timeout=2,
            read_timeout=read_timeout_seconds,
            retries={"total_max_attempts": 1, "mode": "standard"},
            max_pool_connections=CALLS_AT_ONCE,
        ),
    )


def _in_thread(call: Callable[[], T]) -> "asyncio.Future[T]":
    """Run a blocking call in a thread that ends with the process: executors wait for theirs, and a poll is long."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def tell(result: T | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, error = None, None
        try:
            result = call()
        except BaseException as raised:
            error = raised
        try:
            loop.call_soon_threadsafe(tell, result, error)
        except RuntimeError:  # the loop ended meanwhile, and with it whoever asked
            pass

    threading.Thread(target=run, name="sqs", daemon=True).start()
    return future


def reason(error: BaseException) -> str:
    """A short word for the log; errors of AWS carry a code."""
    return str(error.response["Error"].get("Code")) if isinstance(error, ClientError) else type(error).__name__


class SqsDoorbell:
    """See `backend.core.queue.Doorbell`."""

    def __init__(self, *, visibility_seconds: float | None = None) -> None:
        self._client = _connect(read_timeout_seconds=RING_SECONDS)
        self._calls = asyncio.Semaphore(CALLS_AT_ONCE)
        self.visibility_seconds = visibility_seconds or VISIBILITY_SECONDS

    async def ring(self, job_id: uuid.UUID, queue: str) -> None:
        async with asyncio.timeout(RING_SECONDS):
            await self._send(queue_url(queue), body_of(job_id, queue))

    async def tell(self, job_id: uuid.UUID, queue: str, words: Mapping[str, Any]) -> str:
        """Ring with words beside; answers the message's id."""
        async with asyncio.timeout(RING_SECONDS):
            return await self._send(queue_url(queue), body_of(job_id, queue, words))

    async def listen(self, queues: list[str], answer: Answer, *, free: Callable[[], int]) -> None:
        listener = Listener(self, answer, free)
        hearing = [asyncio.create_task(listener.hear(queue_url(queue))) for queue in queues]
        try:
            await asyncio.gather(*hearing)
        finally:
            await listener.stop(hearing)

    async def close(self) -> None:
        self._client.close()

    async def redrive(self, queue: str, *, limit: int = 10_000) -> int:
        """Move dead letters back into their queue, `limit` at most; answers how many. Raises RedriveFailed.

        Each is sent again before it is deleted: what is interrupted here rings twice, and is not lost.
        """
        url = queue_url(queue)
        moved = 0
        try:
            dead = await self._call(lambda: self._dead_letter_url(url))
            while messages := await self._dead(dead, min(BATCH, limit - moved)):
                for message in messages:
                    await self._send(url, message["Body"])
                    await self.forget(dead, message)
                    moved += 1
        except _Failures as error:
            raise RedriveFailed(f"after {moved} dead letters of {url}: {reason(error)}") from error
        return moved

    # --- for the listener --------------------------------------------------------------------------------------------

    async def forget(self, url: str, message: "MessageTypeDef") -> None:
        """Delete a message: its ring was answered, or is none."""
        handle = message["ReceiptHandle"]
        await self._call(lambda: self._client.delete_message(QueueUrl=url, ReceiptHandle=handle))

    async def hide(self, url: str, message: "MessageTypeDef", seconds: float) -> None:
        """Keep a message hidden from others for so long from now on; with 0 they get it at once."""
        await self._call(lambda: self.hide_now(url, message, seconds))

    def hide_now(self, url: str, message: "MessageTypeDef", seconds: float) -> None:
        """The same, blocking."""
        self._client.change_message_visibility(
            QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=round(seconds)
        )

    async def _call(self, call: Callable[[], T]) -> T:
        async with self._calls:
            return await _in_thread(call)

    async def _send(self, url: str, body: str) -> str:
        return (await self._call(lambda: self._client.send_message(QueueUrl=url, MessageBody=body)))["MessageId"]

    async def _dead(self, url: str, most: int) -> list["MessageTypeDef"]:
        if most == 0:
            return []
        answer = await self._call(
            lambda: self._client.receive_message(QueueUrl=url, MaxNumberOfMessages=most, WaitTimeSeconds=1)
        )
        return answer.get("Messages", [])

    def _dead_letter_url(self, url: str) -> str:
        attributes = self._client.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"])
        policy: dict[str, Any] = json.loads(attributes.get("Attributes", {}).get("RedrivePolicy", "{}"))
        if "deadLetterTargetArn" not in policy:
            raise RedriveFailed(f"{url} has no redrive policy")
        *_, account, name = policy["deadLetterTargetArn"].split(":")
        return self._client.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account)["QueueUrl"]


class Listener:
    """Polls queues, and answers what comes."""

    def __init__(self, bell: SqsDoorbell, answer: Answer, free: Callable[[], int]) -> None:
        self._bell = bell
        self._answer = answer
        self._free = free
        self._client = _connect(read_timeout_seconds=WAIT_SECONDS + 5.0)
        self._answering: set[asyncio.Task[None]] = set()
        self._stopped = threading.Event()

    async def hear(self, url: str) -> None:
        """Poll one queue until cancelled. An absent SQS is waited for."""
        failures = 0
        while True:
            if (room := self._free() - len(self._answering)) <= 0:
                await asyncio.sleep(LOOK_SECONDS)
                continue
            try:
                messages = await _in_thread(partial(self._receive, url, min(BATCH, room)))
                failures = 0
            except _Failures as error:
                if not failures:
                    log.warning("bell.sqs_away", url=url, reason=reason(error))
                failures += 1
                await asyncio.sleep(min(failures, 5))
                continue
            for message in messages:
                task = asyncio.create_task(self._take(url, message))
                self._answering.add(task)
                task.add_done_callback(self._answering.discard)

    async def stop(self, hearing: list["asyncio.Task[None]"]) -> None:
        """Take no more; what is being answered goes back into its queue."""
        self._stopped.set()
        tasks = [*hearing, *self._answering]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._client.close()

    def _receive(self, url: str, most: int) -> list["MessageTypeDef"]:
        messages = self._client.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=most,
            WaitTimeSeconds=WAIT_SECONDS,
            VisibilityTimeout=round(self._bell.visibility_seconds),
            MessageSystemAttributeNames=["ApproximateReceiveCount"],
        ).get("Messages", [])
        if not self._stopped.is_set():
            return messages
        for message in messages:  # nobody here waits for them any more: others shall have them at once
            self._bell.hide_now(url, message, 0)
        return []

    async def _take(self, url: str, message: "MessageTypeDef") -> None:
        """Answer one message and delete it. Never raises but when cancelled."""
        job_id = parse(message["Body"])
        try:
            if job_id is None:
                log.warning("bell.not_a_ring", url=url, message_id=message["MessageId"])
            elif self._free() <= 0:  # the slot was taken while the poll waited
                await self._bell.hide(url, message, 0)
                return
            elif not await self._answered(url, message, job_id):
                return
            await self._bell.forget(url, message)
        except _Failures as error:  # it comes again, which does no harm
            log.warning("bell.not_deleted", url=url, reason=reason(error))

    async def _answered(self, url: str, message: "MessageTypeDef", job_id: uuid.UUID) -> bool:
        beating = asyncio.create_task(self._beat(url, message))
        try:
            await self._answer()
        except asyncio.CancelledError:
            await self._give_back(url, message)
            raise
        except Exception as error:  # whatever it was: the message comes again, and at last goes to the dead letters
            receives = message.get("Attributes", {}).get("ApproximateReceiveCount")
            log.warning("bell.answer_failed", job_id=str(job_id), receives=receives, error=repr(error))
            return False
        finally:
            beating.cancel()
        return True

    async def _beat(self, url: str, message: "MessageTypeDef") -> None:
        while True:
            await asyncio.sleep(self._bell.visibility_seconds / 3)
            try:
                await self._bell.hide(url, message, self._bell.visibility_seconds)
            except _Failures as error:  # tried again in a third
                log.warning("bell.heartbeat_failed", url=url, reason=reason(error))

    async def _give_back(self, url: str, message: "MessageTypeDef") -> None:
        try:
            async with asyncio.timeout(1.0):
                await self._bell.hide(url, message, 0)
        except _Failures:  # it comes back by itself
            pass
