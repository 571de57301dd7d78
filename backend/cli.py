"""`dailies up | web | worker | migrate | migration | create-admin | redrive | shell`.

Each command imports what it runs, and nothing else: `up` must be quick, and the production image has no embedded stack.
"""

import argparse
import asyncio
import code
import getpass
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alembic.config import Config

ROOT = Path(__file__).parent.parent


def up(options: argparse.Namespace) -> int:
    """Run everything on this machine (HOST, PORT, DATA_DIR)."""
    from backend.local.up import run_up

    return run_up(os.environ)


def web(options: argparse.Namespace) -> int:
    """Serve pages and API (HOST, PORT)."""
    import uvicorn

    from backend.config import settings

    settings.check()
    uvicorn.run(
        "backend.app:create_app",
        factory=True,
        host=os.environ.get("HOST") or "127.0.0.1",
        port=int(os.environ.get("PORT") or "8000"),
        timeout_graceful_shutdown=4,  # whoever does not let go: with the rest of the end, five seconds
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies,
    )
    return 0


def worker(options: argparse.Namespace) -> int:
    """Run background jobs."""
    from worker import main

    main()
    return 0


def migrate(options: argparse.Namespace) -> int:
    """Bring the database to the newest schema."""
    from alembic import command

    use_running_stack()
    command.upgrade(alembic_config(), "head")
    return 0


def migration(options: argparse.Namespace) -> int:
    """Write a migration from the difference between models and database."""
    from alembic import command

    use_running_stack()
    command.revision(alembic_config(), options.message, autogenerate=True)
    return 0


def create_admin(options: argparse.Namespace) -> int:
    """Make an administrator; the password is asked for, or read from standard input."""
    use_running_stack()
    from backend.accounts import service
    from backend.core.db import database
    from backend.core.errors import AppError
    from backend.orgs import service as projects  # noqa: F401  (gives each new account its project)

    password = getpass.getpass("Password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")

    async def run() -> None:
        database.open()
        try:
            await service.create_admin(email=options.email, password=password)
        finally:
            await database.close()

    try:
        asyncio.run(run())
    except AppError as error:
        print(f"dailies: {error.message}", file=sys.stderr)
        return 1
    print(f"{options.email} is an administrator now")
    return 0


def redrive(options: argparse.Namespace) -> int:
    """Put the dead letters of a queue's bell back into it (DOORBELL=sqs)."""
    use_running_stack()
    from backend.core.queue.sqs_queue import RedriveFailed, SqsDoorbell

    async def run() -> int:
        bell = SqsDoorbell()
        try:
            return await bell.redrive(options.queue)
        finally:
            await bell.close()

    try:
        print(f"{asyncio.run(run())} dead letters are back in the queue {options.queue}")
    except RedriveFailed as error:
        print(f"dailies: {error}", file=sys.stderr)
        return 1
    return 0


def shell(options: argparse.Namespace) -> int:
    """A Python prompt with the settings and an open database: `run(coroutine)` waits for one."""
    use_running_stack()
    from backend.config import settings
    from backend.core.db import database, transaction

    with asyncio.Runner() as runner:
        database.open()
        names = {"settings": settings, "database": database, "transaction": transaction, "run": runner.run}
        code.interact(f"Names here: {', '.join(names)}", local=names, exitmsg="")
        runner.run(database.close())
    return 0


def use_running_stack() -> None:
    """Without settings of one's own, speak to what `dailies up` runs here. To be called before they are read."""
    if "DATABASE_URL" in os.environ or (ROOT / ".env").exists():
        return
    from backend.local.stack import environment_of

    os.environ.update(environment_of(Path(os.environ.get("DATA_DIR") or ROOT / ".data")))


def alembic_config() -> "Config":
    """Alembic's configuration, whatever folder we were called from."""
    from alembic.config import Config

    config = Config(ROOT / "alembic.ini")
    config.set_main_option("script_location", str(ROOT / "migrations").replace("%", "%%"))
    return config


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and run the command; answers the exit code."""
    parser = argparse.ArgumentParser(prog="dailies", description="A self-hosted video platform.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    table: dict[str, Callable[[argparse.Namespace], int]] = {
        "up": up,
        "web": web,
        "worker": worker,
        "migrate": migrate,
        "migration": migration,
        "create-admin": create_admin,
        "redrive": redrive,
        "shell": shell,
    }
    for name, function in table.items():
        commands.add_parser(name, help=(function.__doc__ or "").strip().splitlines()[0])
    commands.choices["create-admin"].add_argument("email")
    commands.choices["migration"].add_argument("message")
    commands.choices["redrive"].add_argument("queue")
    options = parser.parse_args(arguments)
    try:
        return table[options.command](options)
    except Exception as error:  # asked for by name: naming their classes here would import what `up` must not
        if type(error).__name__ not in ("LocalError", "ConfigurationError"):
            raise
        print(f"dailies: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
