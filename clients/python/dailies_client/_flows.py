"""What the client does, without doing it: each operation is a generator that asks for effects and gets the results.

A driver performs the effects, waiting for each (`SyncDriver`) or awaiting it (`AsyncDriver`). So every operation is
written once, and `Client` and `AsyncClient` do the same.
"""

from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

if TYPE_CHECKING:
    from dailies_client._api import Api
    from dailies_client._drivers import AsyncDriver, SyncDriver

T = TypeVar("T")
D = TypeVar("D")
P = ParamSpec("P")


class Chunked(Protocol):
    """Bytes of a file that are sent as they are read."""

    @property
    def size(self) -> int: ...

    def read(self, offset: int) -> bytes:
        """Some bytes from there on, none at the end. May block."""

    def passed(self, offset: int) -> None:
        """All before there is on its way. From 0 again when it has to be sent again."""


@dataclass(frozen=True)
class Request:
    """`url` is whole; `seconds` is for how long nothing may be heard."""

    method: str
    url: str
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    content: Chunked | None = None
    seconds: float = 30


@dataclass(frozen=True)
class Answer:
    """Of a streamed request `content` is only there when it says no."""

    status: int
    headers: Mapping[str, str]
    content: bytes


# --- effects ---------------------------------------------------------------------------------------------------------


class Effect:
    """Something a driver does."""


@dataclass(frozen=True)
class Exchange(Effect):
    """Send a request; the result is an Answer. Raises ConnectionFailed."""

    request: Request


@dataclass(frozen=True)
class Open(Effect):
    """Send a request and read its answer's head; a stream that was open before is closed. Raises ConnectionFailed."""

    request: Request


@dataclass(frozen=True)
class NextChunk(Effect):
    """Some bytes of the stream that is open, None at its end. Raises ConnectionFailed."""


@dataclass(frozen=True)
class Sleep(Effect):
    seconds: float


@dataclass(frozen=True)
class Do(Effect):
    """Call what may block, such as the file system."""

    call: Callable[[], Any]


@dataclass(frozen=True)
class Alone(Effect):
    """Run a flow while no other of this client does so."""

    flow: "Flow[Any]"


@dataclass(frozen=True)
class AtOnce(Effect):
    """Run flows, so many at a time. The first error stops the others, and is raised."""

    flows: "Sequence[Flow[Any]]"
    most: int


@dataclass(frozen=True)
class Emit(Generic[T]):
    """Hand a value to whoever iterates."""

    value: T


#: What comes to an end with a result.
Flow = Generator[Effect, Any, T]
#: What emits values on its way.
Values = Generator[Effect | Emit[T], Any, None]


class Run(Generic[T]):
    """A flow that is under way: perform `effect`, hand in what came of it, until there is none."""

    effect: Effect | Emit[Any] | None
    result: T

    def __init__(self, flow: Generator[Effect | Emit[Any], Any, T]) -> None:
        self._flow = flow
        self._step(lambda: next(flow))

    def feed(self, value: Any) -> None:
        self._step(lambda: self._flow.send(value))

    def fail(self, error: Exception) -> None:
        self._step(lambda: self._flow.throw(error))

    def close(self) -> None:
        self._flow.close()

    def _step(self, move: Callable[[], Effect | Emit[Any]]) -> None:
        try:
            self.effect = move()
        except StopIteration as stop:
            self.effect, self.result = None, stop.value


# --- operations ------------------------------------------------------------------------------------------------------


class Group(Generic[D]):
    """Operations that belong together, and what drives them."""

    def __init__(self, api: "Api", driver: D) -> None:
        self._api = api
        self._driver = driver


class operation(Generic[P, T]):
    """A method that waits for its flow's end in a `Client`, and is awaited in an `AsyncClient`."""

    def __init__(self, flow: Callable[Concatenate[Any, P], Flow[T]]) -> None:
        self._flow = flow
        self.__doc__ = flow.__doc__

    @overload
    def __get__(self, group: "Group[SyncDriver]", owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, group: "Group[AsyncDriver]", owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, group: Any, owner: type) -> Any:
        if group is None:
            return self

        def call(*args: P.args, **kwargs: P.kwargs) -> Any:
            return group._driver.run(self._flow(group, *args, **kwargs))

        return update_wrapper(call, self._flow)


class listing(Generic[P, T]):
    """A method that answers an iterator in a `Client`, and an asynchronous one in an `AsyncClient`.

    Its flow hands out values by `Emit`.
    """

    def __init__(self, flow: Callable[Concatenate[Any, P], Values[T]]) -> None:
        self._flow = flow
        self.__doc__ = flow.__doc__

    @overload
    def __get__(self, group: "Group[SyncDriver]", owner: type) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, group: "Group[AsyncDriver]", owner: type) -> Callable[P, AsyncIterator[T]]: ...
    def __get__(self, group: Any, owner: type) -> Any:
        if group is None:
            return self

        def call(*args: P.args, **kwargs: P.kwargs) -> Any:
            return group._driver.iterate(self._flow(group, *args, **kwargs))

        return update_wrapper(call, self._flow)
