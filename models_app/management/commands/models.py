"""`manage.py models list|info|validate|verify|check`: the registry, on the terminal."""

import json
from argparse import ArgumentParser
from itertools import chain
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db.models import Q, QuerySet
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Column, Table

from models_app.copies import as_on, nodes_of, nodes_of_all
from models_app.errors import DownloadError, ModelsError, NotOnNodeError, UnknownModelError
from models_app.hub_check import check_model
from models_app.integrity import VerifiedFile, verify_model
from models_app.models import DiscoveredModel, ModelKind, Tier
from models_app.rows import estimate_row, file_bytes
from models_app.serializers import ModelSerializer
from models_app.terminal import make_console
from models_app.validation import validate
from models_app.version_models import HubState

CONTEXTS = (4096, 8192, 32768, 131072)  # tokens
GIB = 2**30
HUB_COLOURS = {HubState.SAME: "green", HubState.OTHER: "yellow", HubState.GONE: "red"}


class Command(BaseCommand):
    help = "List, describe, validate, verify or check the models of the registry."

    def add_arguments(self, parser: ArgumentParser) -> None:
        commands = parser.add_subparsers(dest="command", required=True)
        listing = commands.add_parser("list", help="Show the models, filtered.")
        listing.add_argument("--tier", choices=Tier.values)
        listing.add_argument("--kind", choices=ModelKind.values)
        listing.add_argument("--quant", help="Such as Q4_K_M.")
        listing.add_argument("--family", help="Such as qwen.")
        listing.add_argument("--search", help="A part of the id, the name, file or repo.")
        info = commands.add_parser("info", help="Show all that is known of one model.")
        info.add_argument("model_id")
        checks = {
            "validate": "Check files, sizes, headers and shards.",
            "verify": "Read every byte, compare with what it should be, and write that down.",
            "check": "Ask the hub whether it has the same files.",
        }
        for name, text in checks.items():
            check = commands.add_parser(name, help=text)
            check.add_argument("model_id", nargs="*", help="Without one: all that are here.")
        for command in commands.choices.values():
            command.add_argument("--json", action="store_true", help="For machines.")

    def handle(self, *args: Any, **options: Any) -> None:
        self.console = make_console()
        self.as_json: bool = options["json"]
        match options["command"]:
            case "list":
                self._list(options)
            case "info":
                self._info(_get(options["model_id"]))
            case "validate":
                self._validate(_chosen(options["model_id"]))
            case "verify":
                self._verify(_chosen(options["model_id"]))
            case _:
                self._check(_named(options["model_id"]))

    def _list(self, options: dict[str, Any]) -> None:
        models = [
            model
            for model in _filtered(options)
            if options["tier"] is None or model.tier == options["tier"]
        ]
        if self.as_json:
            shown = nodes_of_all(models)
            self._print_json(
                [{**ModelSerializer(model).data, "nodes": shown[model.pk]} for model in models]
            )
            return
        id_column = Column("Id", no_wrap=True)  # it is what is copied
        table = Table(
            "Model", id_column, "Size", "Quant", "Tier", "Kind", "GiB", "Port", box=None
        )
        nodes = nodes_of_all(models)
        has_several = len(set(chain.from_iterable(nodes.values()))) > 1
        if has_several:
            table.add_column("Nodes")
        for model in models:
            table.add_row(
                escape(model.display_name),
                model.model_id,
                f"{model.size_params:g}B" if model.size_params is not None else "-",
                model.quantization or "-",
                (model.tier or "-") + ("*" if model.tier_override else ""),
                "missing" if model.is_missing else model.problem or model.kind,
                f"{model.size_bytes / GIB:.1f}",
                str(model.port or "-"),
                *([", ".join(nodes[model.pk]) or "-"] if has_several else ()),
            )
        self.console.print(table)

    def _info(self, model: DiscoveredModel) -> None:
        memory = [_memory(model, ctx_size) for ctx_size in _contexts(model)]
        described = {
            **ModelSerializer(model).data,
            "nodes": nodes_of(model),
            "metadata": model.metadata,
        }
        if self.as_json:
            self._print_json({**described, "memory": memory})
            return
        table = Table("Field", "Value", box=None)
        metadata = dict(described.pop("metadata"))
        described["nodes"] = ", ".join(described["nodes"]) or "none"
        template = metadata.pop("chat_template", "")
        for name, value in {**described, **metadata}.items():
            table.add_row(name, escape(str(value)))
        table.add_row("chat_template", f"{len(template)} characters" if template else "none")
        self.console.print(table)
        parts = Table(
            "Context", "Weights", "Projector", "KV cache", "Compute", "Together", box=None
        )
        for row in memory:
            parts.add_row(
                str(row["ctx_size"]),
                *(f"{row[name] / GIB:.2f} GiB" for name in list(row)[1:]),
            )
        self.console.print(parts)

    def _validate(self, models: list[DiscoveredModel]) -> None:
        problems = {model.model_id: validate(model) for model in models}
        if self.as_json:
            self._print_json(problems)
        for model_id, found in problems.items() if not self.as_json else ():
            verdict = f"[red]{escape('; '.join(found))}[/]" if found else "[green]sound[/]"
            self.console.print(f"{model_id}: {verdict}", soft_wrap=True)
        self._fail_if(sum(bool(found) for found in problems.values()))

    def _verify(self, models: list[DiscoveredModel]) -> None:
        found: list[tuple[str, VerifiedFile]] = []
        unread: dict[str, str] = {}
        total = sum(model.size_bytes for model in models)
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("verifying", total=total)
            for model in models:
                try:
                    verified = verify_model(model, lambda count: progress.advance(task, count))
                except OSError as error:
                    unread[model.model_id] = f"unreadable: {error.strerror}"
                except ModelsError as error:
                    unread[model.model_id] = str(error)
                else:
                    found += [(model.model_id, file) for file in verified.files]
        if self.as_json:
            shown = [{"model_id": model_id, **file._asdict()} for model_id, file in found]
            nothing = VerifiedFile("", "", None, None)._asdict()
            shown += [
                {"model_id": model_id, **nothing, "problem": problem}
                for model_id, problem in unread.items()
            ]
            self._print_json(shown)
        else:
            self._print_verified(found, unread)
        self._fail_if(len(unread) + sum(file.is_sound is False for _, file in found))

    def _print_verified(
        self, found: list[tuple[str, VerifiedFile]], unread: dict[str, str]
    ) -> None:
        words = {
            True: "[green]sound[/]",
            False: "[red]not what it should be[/]",
            None: "nothing to compare with; its hash is kept",
        }
        for model_id, file in found:
            text = f"{model_id} {escape(file.file)}: {words[file.is_sound]} {file.sha256}"
            self.console.print(text, soft_wrap=True)
        for model_id, problem in unread.items():
            self.console.print(f"{model_id}: [red]{escape(problem)}[/]", soft_wrap=True)

    def _check(self, models: list[DiscoveredModel]) -> None:
        """Say how each stands to the hub; what could not be asked is no fault of the model."""
        found: list[dict[str, Any]] = []
        for model in models:
            try:
                checked = check_model(model)
            except DownloadError as error:
                trouble = {"state": error.code, "message": str(error)}
                found.append({"model_id": model.model_id, **trouble, "is_asked": False})
            else:
                answer = {**checked.as_json(), "message": checked.words, "is_asked": True}
                found.append(answer)
        if self.as_json:
            self._print_json(found)
        for each in found if not self.as_json else ():
            colour = HUB_COLOURS.get(each["state"], "red" if not each["is_asked"] else "dim")
            text = f"{each['model_id']}: [{colour}]{each['state']}[/] {escape(each['message'])}"
            self.console.print(text, soft_wrap=True)
        if not_asked := sum(not each["is_asked"] for each in found):
            msg = f"The hub could not be asked about {not_asked} of {len(found)}."
            raise CommandError(msg)

    def _print_json(self, value: object) -> None:
        self.stdout.write(json.dumps(value, indent=2))

    def _fail_if(self, count: int) -> None:
        if count:
            msg = f"Not sound: {count}. Download them again, then rescan."
            raise CommandError(msg)


def _filtered(options: dict[str, Any]) -> QuerySet[DiscoveredModel]:
    models = DiscoveredModel.objects.select_related("root")
    for option, lookup in (("kind", "kind"), ("quant", "quantization__iexact")):
        if options[option]:
            models = models.filter(**{lookup: options[option]})
    if options["family"]:
        models = models.filter(family__iexact=options["family"])
    if text := options["search"]:
        names = ("model_id", "display_name", "filename", "repo_id")
        query = Q()
        for name in names:
            query |= Q(**{f"{name}__icontains": text})
        models = models.filter(query)
    return models


def _get(model_id: str) -> DiscoveredModel:
    try:
        return DiscoveredModel.objects.select_related("root").get(model_id=model_id)
    except DiscoveredModel.DoesNotExist as error:
        raise CommandError(str(UnknownModelError(model_id))) from error


def _named(model_ids: list[str]) -> list[DiscoveredModel]:
    """Return models, wherever they are; without ids, all that any node has."""
    if model_ids:
        return [_get(model_id) for model_id in model_ids]
    return list(DiscoveredModel.objects.select_related("root").filter(is_missing=False))


def _chosen(model_ids: list[str]) -> list[DiscoveredModel]:
    """Return models as this node has them; without ids, all that it has."""
    if model_ids:
        try:
            return [as_on(_get(model_id), settings.MAGI_NODE) for model_id in model_ids]
        except NotOnNodeError as error:
            raise CommandError(str(error)) from error
    models = list(DiscoveredModel.objects.select_related("root"))
    nodes = nodes_of_all(models)
    here = [model for model in models if settings.MAGI_NODE in nodes[model.pk]]
    return [as_on(model, settings.MAGI_NODE) for model in here]


def _contexts(model: DiscoveredModel) -> list[int]:
    longest = model.context_length or CONTEXTS[-1]
    return sorted({min(ctx_size, longest) for ctx_size in CONTEXTS})


def _memory(model: DiscoveredModel, ctx_size: int) -> dict[str, int]:
    beside = file_bytes(model.projector_path)
    estimate = estimate_row(model, ctx_size=ctx_size, projector_bytes=beside)
    return {
        "ctx_size": ctx_size,
        "weights_bytes": estimate.weights_bytes,
        "projector_bytes": estimate.projector_bytes,
        "kv_cache_bytes": estimate.kv_cache_bytes,
        "compute_bytes": estimate.compute_bytes,
        "total_bytes": estimate.total_bytes,
    }
