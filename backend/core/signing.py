"""Addresses that are signed beforehand: AWS Signature Version 4 in the query, as every S3 takes it.

boto3 signs the same, twenty times slower, and a page of videos with their posters needs fifty. It is what
`tests/core/test_signing.py` holds this beside.
"""

import hashlib
import hmac
import time
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple, Protocol
from urllib.parse import quote, urlsplit

_ALGORITHM = "AWS4-HMAC-SHA256"
_DEFAULT_PORTS = {"http": 80, "https": 443}


@lru_cache(maxsize=256)
def _quoted(text: str) -> str:
    # The same few, again and again: names of headers and types.
    return quote(text, safe="")


class Keys(Protocol):
    """What is signed with; `token` where it is lent for a while."""

    @property
    def access_key(self) -> str: ...
    @property
    def secret_key(self) -> str: ...
    @property
    def token(self) -> str | None: ...


class _Second(NamedTuple):
    """What is the same for all that is signed within one second."""

    at: int
    keys: Keys
    day: str
    key: bytes  #: of the day, made of the secret
    query: str  #: as far as the number of seconds that the address is good for
    token: str
    to_sign: str  #: as far as the digest of the request


class Signer:
    """Signs for one endpoint. The host is part of what is signed: an address is good at this endpoint only."""

    def __init__(
        self, endpoint: str, region: str, keys: Callable[[], Keys], clock: Callable[[], float] = time.time
    ) -> None:
        """`endpoint` is with the bucket where its name is part of the host; else the names begin with the bucket's.

        `keys` is asked each time, since those that are lent change.
        """
        parts = urlsplit(endpoint)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        port = "" if parts.port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f":{parts.port}"
        self._path = parts.path.rstrip("/")
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._host = f"host:{host}{port}\n"
        self._region, self._keys, self._clock = region, keys, clock
        self._second: _Second | None = None

    def sign(
        self,
        method: str,
        name: str,
        *,
        expires_seconds: int,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """The address for one call on what is called `name`. `headers` (in lower case) have to be sent with it.

        The query's names begin with a small letter, as all of S3 do. Raises what `keys` raises.
        """
        now = self._now()
        names, canonical = "host", self._host
        if headers:
            bound = {**headers, "host": ""}
            names = "%3B".join(sorted(bound))
            canonical = "".join(
                [
                    self._host if each == "host" else f"{each}:{' '.join(bound[each].split())}\n"
                    for each in sorted(bound)
                ]
            )
        asked = f"{now.query}{expires_seconds}{now.token}&X-Amz-SignedHeaders={names}"
        if query:
            pairs = sorted([(_quoted(each), _quoted(value)) for each, value in query.items()])
            asked += "".join([f"&{each}={value}" for each, value in pairs])
        path = f"{self._path}/{quote(name)}"
        request = f"{method}\n{path}\n{asked}\n{canonical}\n{names.replace('%3B', ';')}\nUNSIGNED-PAYLOAD"
        to_sign = now.to_sign + hashlib.sha256(request.encode()).hexdigest()
        signature = hmac.digest(now.key, to_sign.encode(), "sha256").hex()
        return f"{self._origin}{path}?{asked}&X-Amz-Signature={signature}"

    def sign_gets(self, names: Iterable[str], *, expires_seconds: int, query: Mapping[str, str]) -> list[str]:
        """Addresses to read many, each as `sign` makes it; what they have in common is put together once."""
        now = self._now()
        pairs = sorted([(_quoted(each), _quoted(value)) for each, value in query.items()])
        asked = f"{now.query}{expires_seconds}{now.token}&X-Amz-SignedHeaders=host"
        asked += "".join([f"&{each}={value}" for each, value in pairs])
        rest = f"\n{asked}\n{self._host}\nhost\nUNSIGNED-PAYLOAD"
        addresses = []
        for name in names:
            path = f"{self._path}/{quote(name)}"
            to_sign = now.to_sign + hashlib.sha256(f"GET\n{path}{rest}".encode()).hexdigest()
            signature = hmac.digest(now.key, to_sign.encode(), "sha256").hex()
            addresses.append(f"{self._origin}{path}?{asked}&X-Amz-Signature={signature}")
        return addresses

    def _now(self) -> _Second:
        at, keys, last = int(self._clock()), self._keys(), self._second
        if last is not None and last.at == at and last.keys == keys:
            return last
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at))
        day = stamp[:8]
        scope = f"{day}/{self._region}/s3/aws4_request"
        if last is not None and last.day == day and last.keys == keys:
            key = last.key
        else:
            key = f"AWS4{keys.secret_key}".encode()
            for part in scope.split("/"):
                key = hmac.digest(key, part.encode(), "sha256")
        credential = quote(f"{keys.access_key}/{scope}", safe="")
        self._second = _Second(
            at=at,
            keys=keys,
            day=day,
            key=key,
            query=f"X-Amz-Algorithm={_ALGORITHM}&X-Amz-Credential={credential}&X-Amz-Date={stamp}&X-Amz-Expires=",
            token=f"&X-Amz-Security-Token={quote(keys.token, safe='')}" if keys.token is not None else "",
            to_sign=f"{_ALGORITHM}\n{stamp}\n{scope}\n",
        )
        return self._second
