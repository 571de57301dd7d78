"""`dailies up | web | worker | migrate | migration | create-admin | set-roles | doctor | reconcile | redrive | shell`.

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
        access_log=False,  # each request has a line of ours (core/middleware.py)
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


def set_roles(options: argparse.Namespace) -> int:
    """Give an account these roles instead of those it has (none: take all)."""
    use_running_stack()
    from backend.admin import people
    from backend.core.db import database, transaction
    from backend.core.errors import AppError

    async def run() -> int:
        database.open()
        try:
            async with transaction() as session:
                user = await people.find_user(session, email=options.email)
                if user is None:
                    print(f"dailies: there is no account {options.email}", file=sys.stderr)
                    return 1
                user = await people.set_roles(session, actor=None, user_id=user.id, roles=options.roles)
                print(f"{user.email}: {' and '.join(user.roles) or 'no roles'}")
        except AppError as error:
            print(f"dailies: {error.message}", file=sys.stderr)
            return 1
        finally:
            await database.close()
        return 0

    return asyncio.run(run())


def doctor(options: argparse.Namespace) -> int:
    """Try everything the platform needs, and say how to mend what fails (--json)."""
    folder = use_running_stack()
    from backend.config import settings

    settings.check()
    from backend.admin.doctor import schemas, terminal

    try:
        report = asyncio.run(terminal.run())
    except ValueError as error:  # what opens the database, Redis and the storage says it of their addresses
        print(f"failed    Settings: an address cannot be one: {error}")
        print(f"{'':<10}  fix: Set DATABASE_URL, REDIS_URL, S3_ENDPOINT_URL and S3_PUBLIC_URL as .env.example says.")
        return 1
    if options.json:
        print(schemas.ReportOut.of(report).model_dump_json(indent=2))
    else:
        print("\n".join(terminal.lines(report, folder=folder)))
    return 1 if report.state == "failed" else 0


def reconcile(options: argparse.Namespace) -> int:
    """Say what is in the storage and not in the ledger, or the other way round (--fix mends it)."""
    use_running_stack()
    import backend.kinds  # noqa: F401  # with all that keeps objects: what nobody is known to keep is removed
    from backend.core import logging
    from backend.core.db import database
    from backend.core.storage import storage
    from backend.core.words import filesize
    from backend.videos.reconcile import Reconciliation

    async def run() -> int:
        logging.configure(level="WARNING")  # what is printed is the list alone
        database.open()
        storage.open()
        left = 0
        try:
            run = Reconciliation(fix=options.fix)
            async for each in run.findings():
                if each.young and not options.all:
                    continue
                left += each.mended is None
                size = filesize(each.size_bytes) if each.size_bytes is not None else "-"
                words = [each.trouble, each.kind or "-", size, f"{each.since:%Y-%m-%d %H:%M}Z", each.key]
                print("\t".join([*words, *([each.mended] if each.mended else [])]))
            seen = run.totals
            print(
                f"{seen.objects} objects ({filesize(seen.size_bytes)}), {seen.rows} records;"
                f" {left} findings are left, {0 if options.all else seen.young} more are too young to tell",
                file=sys.stderr,
            )
            if seen.uploads_by_key:
                print("open uploads of keys not in the ledger cannot be listed on this storage", file=sys.stderr)
        finally:
            storage.close()
            await database.close()
        return 1 if left else 0

    return asyncio.run(run())


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


def use_running_stack() -> Path | None:
    """Without settings of one's own, speak to what `dailies up` runs here. To be called before they are read.

    Answers its folder.
    """
    if "DATABASE_URL" in os.environ or (ROOT / ".env").exists():
        return None
    from backend.local.stack import environment_of

    folder = Path(os.environ.get("DATA_DIR") or ROOT / ".data").resolve()
    os.environ.update(environment_of(folder))
    os.environ.setdefault("ENVIRONMENT", "local")
    os.environ.setdefault("PUBLIC_URL", f"http://127.0.0.1:{os.environ.get('PORT') or 8000}")
    return folder


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
        "set-roles": set_roles,
        "doctor": doctor,
        "reconcile": reconcile,
        "redrive": redrive,
        "shell": shell,
    }
    for name, function in table.items():
        commands.add_parser(name, help=(function.__doc__ or "").strip().splitlines()[0])
    commands.choices["create-admin"].add_argument("email")
    commands.choices["set-roles"].add_argument("email")
    commands.choices["set-roles"].add_argument(
        "roles", nargs="*", metavar="ROLE", help="admin, auditor, coach_pro_plus, org_pro"
    )
    commands.choices["doctor"].add_argument("--json", action="store_true", help="print the findings as JSON")
    commands.choices["migration"].add_argument("message")
    commands.choices["reconcile"].add_argument("--fix", action="store_true", help="mend what is old enough")
    commands.choices["reconcile"].add_argument("--all", action="store_true", help="list what is too young to tell, too")
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
