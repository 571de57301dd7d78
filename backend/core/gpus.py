"""The GPUs of this machine, as NVIDIA's library tells of them; none where it is absent."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pynvml

#: A driver that is stuck is not waited for longer; what asks it then takes this one thread, and nothing else.
READ_SECONDS = 5.0
_MIB = 1024 * 1024
_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="gpus")
_asking: asyncio.Future[list[dict[str, Any]]] | None = None
_latest: list[dict[str, Any]] = []


async def read() -> list[dict[str, Any]]:
    """Each GPU's name, uuid, memory in MiB and use in percent; what a GPU does not tell is None."""
    global _asking, _latest
    if _asking is None or _asking.done():
        _asking = asyncio.get_running_loop().run_in_executor(_thread, _read)
    await asyncio.wait({_asking}, timeout=READ_SECONDS)
    _latest = _asking.result() if _asking.done() else []
    return _latest


def latest() -> list[dict[str, Any]]:
    """What was read last, without asking again."""
    return _latest


def chosen(gpus: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The one that a program takes which asks for the first: CUDA_VISIBLE_DEVICES says which that is."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip() or "0"
    if named.isdecimal():
        return gpus[int(named)] if int(named) < len(gpus) else None
    return next((gpu for gpu in gpus if gpu["uuid"].startswith(named)), None)


def _read() -> list[dict[str, Any]]:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        return [_one(pynvml.nvmlDeviceGetHandleByIndex(number)) for number in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return []
    finally:
        pynvml.nvmlShutdown()


def _one(handle: Any) -> dict[str, Any]:
    memory = _told(pynvml.nvmlDeviceGetMemoryInfo, handle)
    use = _told(pynvml.nvmlDeviceGetUtilizationRates, handle)
    return {
        "name": _told(pynvml.nvmlDeviceGetName, handle) or "GPU",
        "uuid": _told(pynvml.nvmlDeviceGetUUID, handle) or "",
        "memory_mib": memory and memory.total // _MIB,
        "memory_used_mib": memory and memory.used // _MIB,
        "use_percent": use and use.gpu,
    }


def _told(ask: Any, handle: Any) -> Any:
    """Not every GPU tells everything."""
    try:
        return ask(handle)
    except pynvml.NVMLError:
        return None
