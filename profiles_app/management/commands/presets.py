"""`manage.py presets`: sampling presets and model presets, on the terminal and as TOML."""

import json
from argparse import ArgumentParser
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.markup import escape
from rich.table import Column, Table

from models_app.terminal import make_console
from profiles_app import modelpresets, presets
from profiles_app.errors import PresetNotFoundError, ProfilesError
from profiles_app.preset_models import ModelPreset, SamplingPreset
from profiles_app.presetfile import SAMPLING_FIELDS, write_preset_file

NO_MODELS = "No model presets. `manage.py presets import FILE` takes them over."
OPTIONS: dict[str, dict[str, Any]] = {
    "max_tokens": {"type": int, "help": "Tokens of an answer, at most."},
    "temperature": {"type": float, "help": "0 to 2."},
    "top_p": {"type": float, "help": "0 to 1."},
    "top_k": {"type": int, "help": "0: no limit."},
    "min_p": {"type": float, "help": "0 to 1."},
    "repeat_penalty": {"type": float, "help": "0 to 10; 1: none."},
    "seed": {"type": int, "help": "-1: random."},
    "stop": {"action": "append", "help": "A text that ends an answer; up to four times."},
    "thinking": {"help": "show or hide: whether answers carry the reasoning."},
    "description": {},
    "use_case": {},
}


class Command(BaseCommand):
    help = "List, change, import and export presets; validate and detect models."

    def add_arguments(self, parser: ArgumentParser) -> None:
        commands = parser.add_subparsers(dest="command", required=True)
        listing = commands.add_parser("list", help="Show the sampling presets.")
        listing.add_argument("--models", action="store_true", help="The model presets.")
        show = commands.add_parser("show", help="Show one preset.")
        new = commands.add_parser("new", help="Make a sampling preset.")
        change = commands.add_parser("set", help="Change some values of a sampling preset.")
        delete = commands.add_parser("delete", help="Delete a preset.")
        for command in (show, new, change, delete):
            command.add_argument("name")
        for command in (show, delete):
            command.add_argument("--model", action="store_true", help="A model preset.")
        for command in (new, change):
            for name, option in OPTIONS.items():
                command.add_argument(f"--{name.replace('_', '-')}", **option)
        change.add_argument(
            "--unset",
            action="append",
            default=[],
            choices=list(SAMPLING_FIELDS),
            help="Leave this to llama-server, or as it is by default; may be repeated.",
        )
        take = commands.add_parser("import", help="Take over a TOML file's presets.")
        take.add_argument("file")
        export = commands.add_parser("export", help="Write all presets as TOML.")
        export.add_argument("file", nargs="?", help="Without one: to standard output.")
        export.add_argument("--force", action="store_true", help="Overwrite the file.")
        check = commands.add_parser("validate", help="Look at the files of model presets.")
        check.add_argument("name", nargs="*", help="Without one: all of them.")
        default = commands.add_parser("default", help="Make a model preset the default.")
        default.add_argument("name")
        commands.add_parser("detect", help="Show which models the registry has for presets.")
        for command in commands.choices.values():
            if command is not export:
                command.add_argument("--json", action="store_true", help="For machines.")

    def handle(self, *args: Any, **options: Any) -> None:
        self.console = make_console()
        self.as_json: bool = options.get("json", False)
        command = getattr(self, f"_{options['command']}")
        try:
            command(options)
        except PresetNotFoundError as error:
            msg = f"{error} `manage.py presets list` shows presets, with --models the models'."
            raise CommandError(msg) from error
        except ProfilesError as error:
            raise CommandError(str(error)) from error

    def _list(self, options: dict[str, Any]) -> None:
        if options["models"]:
            self._list_models()
            return
        found = presets.list_presets()
        if self.as_json:
            self._print_json([_described(preset) for preset in found])
            return
        if not found:
            self.console.print("No presets. `manage.py setup` brings those that ship.")
            return
        names = [name for name in presets.REQUEST_FIELDS if name != "stop"]
        name_column = Column("Name", no_wrap=True)  # it is what is copied
        table = Table(name_column, *names, "Stop", "Thinking", "Use case", box=None)
        for preset in found:
            values = (_text(getattr(preset, name)) for name in names)
            more = (str(len(preset.stop)), preset.thinking, escape(preset.use_case))
            table.add_row(preset.name, *values, *more)
        self.console.print(table)

    def _list_models(self) -> None:
        found = modelpresets.list_models()
        if self.as_json:
            self._print_json([_described(preset) for preset in found])
            return
        if not found:
            self.console.print(NO_MODELS)
            return
        table = Table(
            Column("Name", no_wrap=True), "", "Format", "GB", "Tokens/s", "Quality",
            "Context", "RAM GB", "Use case", box=None,
        )  # fmt: skip
        for preset in found:
            table.add_row(
                escape(preset.name),
                "default" if preset.is_default else "",
                escape(preset.format) or "-",
                _text(preset.size_gb),
                _text(preset.avg_tokens_per_sec),
                preset.quality or "-",
                str(preset.context_length),
                _text(preset.min_ram_gb),
                escape(preset.use_case),
            )
        self.console.print(table)

    def _show(self, options: dict[str, Any]) -> None:
        get = modelpresets.get_model if options["model"] else presets.get_preset
        self._print_preset(get(options["name"]))

    def _new(self, options: dict[str, Any]) -> None:
        self._print_preset(presets.create_preset(options["name"], **_given(options)))

    def _set(self, options: dict[str, Any]) -> None:
        values = _given(options)
        if both := [name for name in options["unset"] if name in values]:
            msg = f"{', '.join(both)}: given and unset at once. Leave one of them out."
            raise CommandError(msg)
        values.update(dict.fromkeys(options["unset"]))
        if not values:
            msg = "Nothing to change. Give a value, such as --temperature 0.7, or --unset one."
            raise CommandError(msg)
        self._print_preset(presets.update_preset(options["name"], **values))

    def _delete(self, options: dict[str, Any]) -> None:
        delete = modelpresets.delete_model if options["model"] else presets.delete_preset
        delete(options["name"])
        self._say("deleted", options["name"])

    def _default(self, options: dict[str, Any]) -> None:
        preset = modelpresets.set_default_model(options["name"])
        self._say("default model", preset.name)

    def _import(self, options: dict[str, Any]) -> None:
        imported = presets.import_presets(Path(options["file"]))
        if self.as_json:
            self._print_json(asdict(imported))
            return
        lines = [f"[green]+[/] {escape(place)}" for place in imported.added]
        for place, names in imported.changed.items():
            lines.append(f"[yellow]~[/] {escape(place)}: {', '.join(names)}")
        if imported.ignored:
            lines.append(f"Not presets, and left alone: {escape(', '.join(imported.ignored))}")
        if imported.default_model is not None:
            lines.append(f"Default model: {escape(imported.default_model)}")
        lines.append(
            f"{len(imported.added)} added, {len(imported.changed)} changed, "
            f"{len(imported.unchanged)} unchanged, {len(imported.ignored)} ignored."
        )
        self.console.print("\n".join(lines), soft_wrap=True)

    def _export(self, options: dict[str, Any]) -> None:
        text = presets.export_presets()
        file = options["file"]
        if file is None:
            self.stdout.write(text, ending="")
            return
        try:
            write_preset_file(Path(file), text, is_overwriting=options["force"])
        except FileExistsError as error:
            msg = f"{file} is there already. --force overwrites it."
            raise CommandError(msg) from error
        except OSError as error:
            msg = f"{file} cannot be written: {error.strerror}. Name another file."
            raise CommandError(msg) from error

    def _validate(self, options: dict[str, Any]) -> None:
        names = options["name"]
        chosen = [modelpresets.get_model(name) for name in names] or modelpresets.list_models()
        problems = {preset.name: modelpresets.validate_model(preset) for preset in chosen}
        if self.as_json:
            self._print_json(problems)
        for name, found in problems.items() if not self.as_json else ():
            verdict = f"[red]{escape('; '.join(found))}[/]" if found else "[green]sound[/]"
            self.console.print(f"{escape(name)}: {verdict}", soft_wrap=True)
        if not problems and not self.as_json:
            self.console.print(NO_MODELS)
        if bad := sum(bool(found) for found in problems.values()):
            msg = (
                f"Not sound: {bad}. Mend the paths in the file and import it, or in the admin."
            )
            raise CommandError(msg)

    def _detect(self, options: dict[str, Any]) -> None:
        found = modelpresets.detect_models()
        if self.as_json:
            self._print_json([asdict(model) for model in found])
            return
        if not found:
            self.console.print("The registry has none. `manage.py rescan` looks for models.")
            return
        id_column = Column("Id", no_wrap=True)
        table = Table(id_column, "Preset", "Format", "GB", "Context", "Kind", "Files", box=None)
        for model in found:
            table.add_row(
                model.name,
                escape(model.preset) or "-",
                model.format or "-",
                f"{model.size_gb:g}",
                _text(model.context_length),
                model.kind,
                escape("\n".join(filter(None, (model.weights, model.tokenizer)))),
            )
        self.console.print(table)

    def _print_preset(self, preset: SamplingPreset | ModelPreset) -> None:
        described = _described(preset)
        if self.as_json:
            self._print_json(described)
            return
        table = Table("Field", "Value", box=None)
        for name, value in described.items():
            text = ", ".join(map(repr, value)) if isinstance(value, list) else _text(value)
            table.add_row(name, escape(text) or "-")
        self.console.print(table)

    def _say(self, what: str, name: str) -> None:
        if self.as_json:
            self._print_json({what.replace(" ", "_"): name})
        else:
            self.console.print(f"{what.capitalize()}: {escape(name)}", soft_wrap=True)

    def _print_json(self, value: object) -> None:
        self.stdout.write(json.dumps(value, indent=2))


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in OPTIONS if options.get(name) is not None}


def _described(preset: SamplingPreset | ModelPreset) -> dict[str, Any]:
    if isinstance(preset, SamplingPreset):
        return {"name": preset.name, **presets.values_of(preset)}
    is_default = {"is_default": preset.is_default}
    return {"name": preset.name, **modelpresets.values_of(preset), **is_default}


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else "-" if value is None else str(value)
