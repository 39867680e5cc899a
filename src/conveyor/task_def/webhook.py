"""Webhooks: how a job has ended, posted to an address, with a signature and retries.

The body is JSON, the headers are those of https://www.standardwebhooks.com: `webhook-id` is the same in every attempt,
and `webhook-signature` is an HMAC-SHA256 over id, time and body with the secret in CONVEYOR_WEBHOOK_SECRET.
"""

import base64
import hashlib
import hmac
import os
import time
from typing import Any

import msgspec

from conveyor.context import current_job
from conveyor.errors import BadInput, ConveyorError
from conveyor.tasks import task
from conveyor.wire.terms import Hook, JobEnd

#: The variable with the secret, as text, or `whsec_` and base64.
SECRET_VARIABLE = "CONVEYOR_WEBHOOK_SECRET"  # noqa: S105 - its name
#: Seconds to wait for the reply.
PATIENCE = 15.0


class WebhookError(ConveyorError):
    """The address refused the webhook, or did not reply; the next attempt may succeed."""


@task(name="conveyor.webhook", retries=10, first_delay=5.0)
def post(end: JobEnd, url: str) -> int:
    """Post how a job has ended, and return the status. Raises WebhookError for any other status than 2xx."""
    import httpx  # noqa: PLC0415 - workers that post nothing need no web library

    body = msgspec.json.encode(_contents(end))
    try:
        reply = httpx.post(url, content=body, headers=_headers(current_job().id, body), timeout=PATIENCE)
    except httpx.HTTPError as error:
        raise WebhookError(f"no reply from {url}: {error}") from None
    if not reply.is_success:
        raise WebhookError(f"{url} replied {reply.status_code} {reply.reason_phrase}")
    return reply.status_code


def webhook(url: str) -> Hook:
    """Return a hook for `on_success` or `on_failure` that posts how the job has ended to an address, as JSON.

    It is a job of its own with ten retries, so the address may be unreachable for an hour. If the worker's environment
    has CONVEYOR_WEBHOOK_SECRET, the webhook is signed. Raises BadInput for anything but an address.
    """
    if not url.startswith(("http://", "https://")):
        raise BadInput(f"a webhook needs an address with http:// or https://, got {url!r:.80}")
    return Hook(post, {"url": url})


def _contents(end: JobEnd) -> dict[str, Any]:
    error = end.error
    return {
        "type": f"job.{end.state}",
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "data": {
            "id": end.id,
            "queue": end.queue,
            "task": end.task,
            "state": end.state,
            "seconds": round(end.seconds, 3),
            "error": None if error is None else str(error),
        },
    }


def _headers(name: str, body: bytes) -> dict[str, str]:
    now = str(int(time.time()))
    headers = {"content-type": "application/json", "webhook-id": name, "webhook-timestamp": now}
    secret = os.environ.get(SECRET_VARIABLE, "")
    if secret:
        key = base64.b64decode(secret[6:]) if secret.startswith("whsec_") else secret.encode()
        signed = hmac.new(key, f"{name}.{now}.".encode() + body, hashlib.sha256).digest()
        headers["webhook-signature"] = "v1," + base64.b64encode(signed).decode()
    return headers
