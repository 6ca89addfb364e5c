"""`manage.py apikey …`: the keys of those who call the REST API and the gateway."""

import json
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from models_app.acting import who_asks
from models_app.terminal import make_console
from servers_app import apikeys
from servers_app.apikey_models import MAX_RATE, ApiKey, Scope
from servers_app.errors import ApiKeyError
from servers_app.expiry import ACCEPTED, parse_expiry


class Command(BaseCommand):
    help = "Make, list and revoke API keys. A key is shown once, when it is made."

    def add_arguments(self, parser: ArgumentParser) -> None:
        commands = parser.add_subparsers(dest="command", required=True)
        new = commands.add_parser("new", help="Make a key; only the key goes to the output.")
        new.add_argument("name", metavar="NAME", help="Who or what uses it.")
        new.add_argument(
            "--scope",
            action="append",
            dest="scopes",
            choices=Scope.values,
            help="What it is for, once for each; infer if none is given. manage includes read.",
        )
        new.add_argument(
            "--model",
            action="append",
            default=[],
            dest="model_ids",
            metavar="ID",
            help="A model that it may use, once for each; all if none is given.",
        )
        new.add_argument(
            "--expires", type=_expiry, metavar="WHEN", help=f"{ACCEPTED.capitalize()}."
        )
        new.add_argument(
            "--rate", type=_rate, metavar="N", help="Requests a minute, over all processes."
        )
        listing = commands.add_parser("list", help="Show the keys that are in use.")
        listing.add_argument("--all", action="store_true", help="Those revoked, too.")
        listing.add_argument("--json", action="store_true", help="For machines.")
        revoke = commands.add_parser("revoke", help="Take a key back, for good.")
        revoke.add_argument("name", metavar="NAME|PREFIX")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            match options["command"]:
                case "new":
                    self._new(options)
                case "list":
                    self._list(options)
                case _:
                    self._revoke(options)
        except ApiKeyError as error:
            raise CommandError(str(error)) from error

    def _new(self, options: dict[str, Any]) -> None:
        key, secret = apikeys.new_key(
            options["name"],
            scopes=[Scope(scope) for scope in options["scopes"] or [Scope.INFER]],
            model_ids=options["model_ids"],
            expires_at=options["expires"],
            rate_limit_per_minute=options["rate"],
            who=who_asks(),
        )
        console = Console(highlight=False, stderr=True)
        console.print(
            f"Made the key [bold]{escape(key.name)}[/] ({escape(_summary(key))}). "
            "It is shown this once:",
            soft_wrap=True,
        )
        # Alone on its output, so that KEY=$(manage.py apikey new …) has it and nothing else.
        self.stdout.write(secret)

    def _list(self, options: dict[str, Any]) -> None:
        keys = ApiKey.objects.all() if options["all"] else apikeys.usable()
        if options["json"]:
            self.stdout.write(json.dumps([_as_json(key) for key in keys], indent=2))
            return
        console = make_console()
        if not keys:
            console.print("There is no key. `manage.py apikey new NAME` makes one.")
            return
        console.print(_table(keys))

    def _revoke(self, options: dict[str, Any]) -> None:
        key = apikeys.named(options["name"])
        apikeys.revoke(key, who=who_asks())
        Console(highlight=False).print(
            f"Revoked the key [bold]{escape(key.name)}[/] ({key.prefix}).", soft_wrap=True
        )


def _table(keys: Iterable[ApiKey]) -> Table:
    table = Table(
        *("Name", "Begins with", "Scopes", "Models", "A minute", "Expires", "Made", "By"),
        *("Last used", "State"),
        box=None,
    )
    for key in keys:
        table.add_row(
            escape(key.name),
            key.prefix,
            _scopes(key),
            escape("\n".join(key.model_ids)) or "all",
            str(key.rate_limit_per_minute or "-"),
            _at(key.expires_at),
            _at(key.created_at),
            escape(key.created_by) or "-",
            _at(key.last_used_at),
            _state(key),
        )
    return table


def _summary(key: ApiKey) -> str:
    models = ", ".join(key.model_ids) or "all models"
    rate = key.rate_limit_per_minute
    return "; ".join(
        (
            _scopes(key),
            models,
            f"{rate} requests a minute" if rate else "no rate limit",
            f"until {_at(key.expires_at)}" if key.expires_at else "does not expire",
        )
    )


def _scopes(key: ApiKey) -> str:
    return ", ".join(scope.value for scope in Scope if scope in key.scopes)


def _state(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return f"[red]revoked {_at(key.revoked_at)}[/]"
    return "[red]expired[/]" if key.has_expired() else "[green]in use[/]"


def _at(moment: datetime | None) -> str:
    return f"{timezone.localtime(moment):%Y-%m-%d %H:%M}" if moment else "-"


def _as_json(key: ApiKey) -> dict[str, Any]:
    return {
        "name": key.name,
        "prefix": key.prefix,
        "scopes": [scope.value for scope in Scope if scope in key.scopes],
        "models": key.model_ids,
        "rate_limit_per_minute": key.rate_limit_per_minute,
        "expires_at": _iso(key.expires_at),
        "created_at": _iso(key.created_at),
        "created_by": key.created_by,
        "last_used_at": _iso(key.last_used_at),
        "revoked_at": _iso(key.revoked_at),
    }


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _expiry(text: str) -> datetime:
    try:
        return parse_expiry(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error


def _rate(text: str) -> int:
    if text.isascii() and text.isdecimal() and 1 <= int(text) <= MAX_RATE:
        return int(text)
    msg = f"{text!r} is not a whole number from 1 to {MAX_RATE:,}."
    raise ArgumentTypeError(msg)
