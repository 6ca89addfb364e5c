"""`manage.py profiles …`: profiles on the terminal; files in and out, plans, versions."""

import json
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from rich.markup import escape
from rich.table import Table

from models_app.acting import who_asks
from models_app.errors import ModelsError
from models_app.terminal import make_console
from profiles_app import files, services
from profiles_app.api import to_json
from profiles_app.document import changes, written
from profiles_app.errors import Problem, ProfileFileError, ProfileInvalidError, ProfilesError
from profiles_app.models import Profile, ProfileVersion
from profiles_app.rows import as_document
from profiles_app.templates import new_profile, template_names
from profiles_app.validation import Validation, validate
from profiles_app.yamltext import write_yaml
from servers_app.planning import Plan, Step, explained, make_plan
from servers_app.services import activate_profile


class Command(BaseCommand):
    help = "List, show, make, import, export, validate, activate and compare profiles."

    def add_arguments(self, parser: ArgumentParser) -> None:
        commands = parser.add_subparsers(dest="command", required=True)
        commands.add_parser("list", help="Show all profiles.")
        show = commands.add_parser("show", help="Print one as YAML.")
        show.add_argument("name")
        show.add_argument(
            "--resolved", action="store_true", help="With what it extends, and its variables."
        )
        show.add_argument(
            "--argv", action="store_true", help="The command line of each of its models."
        )
        new = commands.add_parser("new", help="Make a profile.")
        new.add_argument("name", help='Such as "My Custom Profile".')
        new.add_argument("--from", dest="source", default="", help="A template or a profile.")
        new.add_argument("--model", action="append", default=[], help="An id to enable.")
        read = commands.add_parser("import", help="Read a YAML file.")
        read.add_argument("file", type=Path)
        read.add_argument("--force", action="store_true", help="Replace one that is there.")
        export = commands.add_parser("export", help="Write a profile's file.")
        export.add_argument("name")
        export.add_argument("--print", action="store_true", help="Print it instead.")
        export.add_argument("--force", action="store_true", help="Even if it was edited.")
        commands.add_parser("validate", help="Say what is wrong with it.").add_argument("name")
        activate = commands.add_parser("activate", help="Make it the active one.")
        activate.add_argument("name")
        activate.add_argument("--plan", action="store_true", help="Only say what would happen.")
        activate.add_argument("--force", action="store_true", help="With errors, too.")
        diff = commands.add_parser("diff", help="Say how B differs from A.")
        diff.add_argument("a", metavar="A")
        diff.add_argument("b", metavar="B")
        sync = commands.add_parser("sync", help="Read files that are new or were edited.")
        sync.add_argument(
            "--take", choices=("file", "profile"), default="", help="Where both were edited."
        )
        versions = commands.add_parser("versions", help="Show what was changed, and by whom.")
        versions.add_argument("name")
        back = commands.add_parser("rollback", help="Make it what it was.")
        back.add_argument("name")
        back.add_argument("version", type=int, nargs="?", help="The one before this, if none.")
        commands.add_parser("delete", help="Delete it; its file stays.").add_argument("name")
        for command in commands.choices.values():
            command.add_argument("--json", action="store_true", help="For machines.")

    def handle(self, *args: Any, **options: Any) -> None:
        self.console = make_console()
        self.as_json: bool = options["json"]
        run: Callable[[dict[str, Any]], None] = getattr(self, f"_{options['command']}")
        try:
            run(options)
        except (ProfilesError, ModelsError) as error:
            raise CommandError(_listed(error)) from error
        except OSError as error:
            msg = f"{error.filename or settings.MAGI_PROFILES_DIR}: {error.strerror}"
            raise CommandError(msg) from error

    def _list(self, options: dict[str, Any]) -> None:
        profiles = Profile.objects.select_related("extends").prefetch_related(
            "members", "tiers"
        )
        if self.as_json:
            self._print([to_json(profile) for profile in profiles])
            return
        table = Table("", "Profile", "Name", "Models", "Version", "File", box=None)
        for profile in profiles:
            table.add_row(
                "[green]●[/]" if profile.is_active else "",
                profile.slug,
                escape(profile.name),
                str(len(profile.members.all())),
                str(profile.version),
                files.file_state(profile, settings.MAGI_PROFILES_DIR).value,
            )
        self.console.print(table)
        self.console.print(f"[dim]Templates: {', '.join(template_names())}[/]")

    def _show(self, options: dict[str, Any]) -> None:
        profile = services.get_profile(options["name"])
        if options["argv"]:
            self._show_argv(profile)
        elif self.as_json:
            self._print(to_json(profile))
        elif options["resolved"]:
            self.stdout.write(write_yaml(_resolved(profile)))
        else:
            self.stdout.write(files.yaml_of(profile))

    def _show_argv(self, profile: Profile) -> None:
        commands = explained(profile)
        if self.as_json:
            self._print(
                {
                    model_id: [argument._asdict() for argument in arguments]
                    for model_id, arguments in commands.items()
                }
            )
            return
        for model_id, arguments in commands.items():
            table = Table(model_id, "", "from", "", box=None)
            for argument in arguments:
                table.add_row(
                    escape(argument.flag),
                    escape(argument.value or ""),
                    escape(argument.origin),
                    f"[dim]{escape(argument.note)}[/]",
                )
            self.console.print(table)

    def _new(self, options: dict[str, Any]) -> None:
        profile = new_profile(
            options["name"],
            source=options["source"],
            models=options["model"],
            author=who_asks(),
        )
        self._done(profile, f"Profile '{profile.slug}' created.")

    def _import(self, options: dict[str, Any]) -> None:
        text = files.read_text(options["file"])
        try:
            profile = services.save_yaml(
                text,
                slug=services.slug_in(text) or services.slug_of(options["file"].stem),
                author=who_asks(),
                is_new=not options["force"],
            )
        except ProfileInvalidError as error:
            raise ProfileFileError(options["file"].name, error.problems) from error
        self._done(profile, f"Profile '{profile.slug}' imported.")
        self._show_findings(validate(profile))

    def _export(self, options: dict[str, Any]) -> None:
        profile = services.get_profile(options["name"])
        if options["print"]:
            self.stdout.write(files.yaml_of(profile))
            return
        path = files.write_file(profile, settings.MAGI_PROFILES_DIR, force=options["force"])
        self._done(profile, f"Wrote {path}.")

    def _validate(self, options: dict[str, Any]) -> None:
        validation = validate(services.get_profile(options["name"]))
        if self.as_json:
            self._print(validation.as_json())
        else:
            self._show_findings(validation)
            self.console.print(f"Memory, estimated: {validation.memory_mib:,} MiB")
        if not validation.is_valid:
            msg = f"{options['name']} has {len(validation.errors)} errors."
            raise CommandError(msg)

    def _activate(self, options: dict[str, Any]) -> None:
        profile = services.get_profile(options["name"])
        if options["plan"]:
            self._show_plan(make_plan(profile), validate(profile))
            return
        activation = activate_profile(profile, force=options["force"], who=who_asks())
        if self.as_json:
            self._print(activation.as_json())
            return
        for error in activation.errors:
            self.console.print(f"[yellow]![/] {escape(str(error))}")
        for model_id, reason in activation.refused:
            self.console.print(f"[red]✗[/] {escape(model_id)}: {escape(reason)}")
        self.console.print(
            f"Activated '{profile.slug}': {len(activation.started)} servers wanted, "
            f"{len(activation.restarted)} of them restarting, "
            + (f"{len(activation.moved)} moving, " if activation.moved else "")
            + f"{len(activation.stopped)} stopping."
        )

    def _show_plan(self, plan: Plan, validation: Validation) -> None:
        if self.as_json:
            self._print({**plan.as_json(), "validation": validation.as_json()})
            return
        self._show_findings(validation)
        colours = {Step.START: "green", Step.STOP: "red"}
        colours |= dict.fromkeys((Step.RESTART, Step.MOVE), "yellow")
        for wish in plan.wishes:
            colour = colours.get(wish.step, "dim")
            replica = f" (replica {wish.replica + 1})" if wish.replica else ""
            where = f" on {wish.node}" if plan.nodes > 1 and wish.node else ""
            why = f": {wish.why}" if wish.why else ""
            self.console.print(
                f"{wish.model.model_id}{replica}{escape(where)} "
                f"[{colour}]{wish.step.label}[/]{escape(why)}",
                soft_wrap=True,
            )
        self.console.print(
            f"Memory, estimated: {plan.memory_before_mib:,} MiB now, "
            f"{plan.memory_after_mib:,} MiB afterwards. Nothing was changed."
        )

    def _diff(self, options: dict[str, Any]) -> None:
        a, b = (as_document(services.get_profile(options[key])) for key in ("a", "b"))
        lines = changes(a, b)
        if self.as_json:
            self._print(lines)
            return
        for line in lines or ["They are the same."]:
            self.console.print(line, markup=False, soft_wrap=True)

    def _sync(self, options: dict[str, Any]) -> None:
        folder = settings.MAGI_PROFILES_DIR
        synced = files.sync(folder, take=options["take"], author=who_asks())
        told = {
            "Imported": synced.imported,
            "Updated": synced.updated,
            "Unchanged": synced.unchanged,
            "Edited in MAGI (`profiles export` writes the file)": synced.edited_here,
            "Its file has gone (the profile stays)": synced.gone,
            "Edited on both sides (`--take file`, or `--take profile`)": synced.conflicts,
        }
        if self.as_json:
            self._print(synced.as_json())
        for what, slugs in told.items() if not self.as_json else ():
            if slugs:
                self.console.print(f"{what}: {', '.join(slugs)}", markup=False)
        for slug in synced.conflicts if not self.as_json else ():
            self._show_conflict(slug, folder)
        if synced.errors or synced.conflicts:
            raise CommandError("\n".join(map(_listed, synced.errors)) or "There are conflicts.")

    def _show_conflict(self, slug: str, folder: Path) -> None:
        profile = services.get_profile(slug)
        try:
            lines = files.conflict_lines(profile, folder)
        except ProfileInvalidError as error:
            lines = [_listed(error)]
        for line in lines:
            self.console.print(f"  {line}", markup=False, soft_wrap=True)

    def _versions(self, options: dict[str, Any]) -> None:
        versions = ProfileVersion.objects.filter(slug=options["name"])
        if not versions:
            services.get_profile(options["name"])  # says what there is
        if self.as_json:
            self._print(
                [
                    {
                        "version": version.number,
                        "at": version.created_at.isoformat(),
                        "author": version.author,
                        "summary": version.summary,
                    }
                    for version in versions
                ]
            )
            return
        table = Table("Version", "At", "By", "What", box=None)
        for version in versions:
            at = f"{timezone.localtime(version.created_at):%Y-%m-%d %H:%M}"
            table.add_row(str(version.number), at, version.author, escape(version.summary))
        self.console.print(table)

    def _rollback(self, options: dict[str, Any]) -> None:
        number = options["version"]
        if number is None:
            number = services.get_profile(options["name"]).version - 1
        profile = services.roll_back(options["name"], number, author=who_asks())
        self._done(profile, f"'{profile.slug}' is what it was in version {number}.")

    def _delete(self, options: dict[str, Any]) -> None:
        profile = services.get_profile(options["name"])
        services.delete_profile(profile, author=who_asks())
        self.console.print(
            f"Profile '{profile.slug}' deleted. Its versions are kept: "
            f"`manage.py profiles rollback {profile.slug} {profile.version}` brings it back.",
            markup=False,
        )

    def _show_findings(self, validation: Validation) -> None:
        for finding in validation.findings:
            mark = "[red]✗[/]" if finding.is_error else "[yellow]![/]"
            self.console.print(f"{mark} {escape(str(finding))}", soft_wrap=True)
        if not validation.findings:
            self.console.print("[green]✓[/] Nothing is wrong with it.")

    def _done(self, profile: Profile, text: str) -> None:
        if self.as_json:
            self._print(to_json(profile))
        else:
            self.console.print(text, markup=False)

    def _print(self, value: object) -> None:
        self.stdout.write(json.dumps(value, indent=2))


def _resolved(profile: Profile) -> dict[str, Any]:
    """Return all that a profile comes to, as a file would have it."""
    return written(as_document(profile) | {"extends": None}, base={})


def _listed(error: Exception) -> str:
    if isinstance(error, ProfileInvalidError):
        problems: Sequence[Problem] = error.problems
        name = f"{error.filename}: " if isinstance(error, ProfileFileError) else ""
        return "\n".join(f"{name}{problem}" for problem in problems)
    return str(error)
