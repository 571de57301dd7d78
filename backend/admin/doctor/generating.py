"""Checks of what generates: the providers that the settings choose, their servers, and what a GPU worker needs."""

import asyncio
import shutil
import subprocess
import sys

import httpx

from backend.admin.doctor.findings import Finding, check, failed, ok, warning
from backend.admin.doctor.visit import NotTried, Visit
from backend.config import settings
from backend.generation import providers
from backend.generation.models import Kind
from backend.generation.providers import chat, diffusers, videos

GROUP = "Generation"
DOCS = "docs/operations.md, Providers"
ASK_SECONDS = 8.0
IMPORT_SECONDS = 60.0
_LIBRARIES = ("torch", "diffusers", "transformers", "accelerate")


@check(GROUP, "The chosen providers are there")
async def chosen(visit: Visit) -> Finding:
    wrong = []
    for kind in Kind:
        name = getattr(settings, f"provider_{kind}")
        if providers.find(name, kind) is None:
            wrong.append(f"PROVIDER_{kind.upper()}={name}")
    if wrong:
        there = ", ".join(
            f"{provider.name} ({', '.join(sorted(provider.kinds))})" for provider in providers.configured().values()
        )
        words = f"{' and '.join(wrong)} names what is not switched on for that kind: animatic does its work."
        return failed(words, f"Name one of {there}, or switch it on ({DOCS}).")
    return ok(", ".join(f"{kind}: {getattr(settings, f'provider_{kind}')}" for kind in Kind) + ".")


@check(GROUP, "The server of `videos` answers")
async def videos_server(visit: Visit) -> Finding:
    key = settings.videos_api_key.get_secret_value()
    return await _asked(visit, videos.NAME, "VIDEOS_API", settings.videos_api_url, key)


@check(GROUP, "The server of `chat` answers")
async def chat_server(visit: Visit) -> Finding:
    key = settings.chat_api_key.get_secret_value()
    return await _asked(visit, chat.NAME, "CHAT_API", settings.chat_api_url, key)


async def _asked(visit: Visit, name: str, setting: str, base: str, key: str) -> Finding:
    """Ask for its models: every such server knows that address, and it costs nothing."""
    if not base:
        return ok(f"Not switched on ({setting}_URL).")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=ASK_SECONDS) as client:
            answer = await client.get(base.rstrip("/") + "/models", headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        fix = f"Start that server, or set {setting}_URL to where it is, up to and with the /v1."
        return failed(f"Nothing answers: what {name} is to make waits.", fix, f"{type(error).__name__}: {error}"[:300])
    told = f"GET …/models: {answer.status_code}"
    if answer.status_code in (401, 403):
        return failed("It refuses our key.", f"Set {setting}_KEY to one that it takes.", told)
    if not answer.is_success:
        fix = f"See that {setting}_URL reaches up to and with the /v1."
        return warning("It answers, and knows no …/models.", fix, told)
    return ok("It answers.", told)


@check(GROUP, "The libraries of `diffusers` are there", seconds=IMPORT_SECONDS + 5)
async def libraries(visit: Visit) -> Finding:
    if diffusers.from_settings() is None:
        return ok("Not switched on (DIFFUSERS_VIDEO_MODEL, DIFFUSERS_IMAGE_MODEL).")
    if "gpu" not in settings.worker_queues:
        raise NotTried(
            "Not tried: this process serves no GPU. Run the doctor where the worker with WORKER_QUEUES=gpu is."
        )
    fix = f"Run `make diffusers`, and set DIFFUSERS_PYTHON to the interpreter it makes ({DOCS})."
    python = shutil.which(settings.diffusers_python or sys.executable)
    if python is None:
        return failed(f"{settings.diffusers_python} is no program.", fix)
    code = "import importlib, sys; [importlib.import_module(each) for each in sys.argv[1:]]; import torch; "
    code += "print(torch.__version__, torch.cuda.get_device_name() if torch.cuda.is_available() else '')"
    command = [python, "-P", "-c", code, *_LIBRARIES]
    try:
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=IMPORT_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return failed("Its interpreter cannot be asked.", fix, f"{type(error).__name__}: {error}"[:300])
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or [""])[-1]
        return failed("Its interpreter lacks what it needs: its generations fail.", fix, said[:300])
    version, _, device = done.stdout.strip().partition(" ")
    if not device:
        words = "torch finds no GPU: generations take hours on the processor."
        return warning(words, "See that the driver is installed, and reachable from where the worker runs.", version)
    return ok(f"{device}.", f"torch {version}")


CHECKS = (chosen, videos_server, chat_server, libraries)
