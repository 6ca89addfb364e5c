"""What every installation needs once, and what does no harm when done again."""

from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from rich.console import Console
from rich.markup import escape

from magi_site.datadir import make_private_dir
from magi_site.first_admin import USERNAME, ensure_admin
from magi_site.groups import ensure_groups
from magi_site.schema_state import difference, one_setup
from profiles_app.errors import PresetFileError
from profiles_app.files import sync
from profiles_app.presets import ensure_shipped_presets
from profiles_app.services import refresh_variables


def bootstrap(console: Console) -> None:
    """Bring the database up to date, read profile files, make the first admin.

    Of several that are started at once, on whichever machine, one does it, and the others wait.
    """
    data_dir = Path(settings.MAGI_DATA_DIR)
    make_private_dir(data_dir)
    with one_setup(lambda: console.print("Another setup is at work; waiting for it.")):
        _bootstrap(console, data_dir)


def _bootstrap(console: Console, data_dir: Path) -> None:
    call_command("migrate", verbosity=0, interactive=False)
    if sentence := difference():
        console.print(f"[yellow]{escape(sentence)}[/]")
    ensure_groups()
    try:
        ensure_shipped_presets()
    except PresetFileError as error:
        console.print(f"[yellow]No presets were made:[/] {escape(str(error))}")
    _read_profiles(console)
    if password := ensure_admin(data_dir):
        console.print(
            f"Admin account [bold]{USERNAME}[/], password [bold]{escape(password)}[/] "
            f"(shown this once; kept in {escape(str(data_dir / 'admin_password'))})"
        )


def _read_profiles(console: Console) -> None:
    synced = sync(settings.MAGI_PROFILES_DIR, author="start")
    for error in synced.errors:
        console.print(f"[yellow]Profile file skipped:[/] {escape(str(error))}")
    for slug in synced.conflicts:
        console.print(
            f"[yellow]Profile {slug} was edited here and in its file;[/] neither was touched. "
            "`manage.py profiles sync` shows what differs."
        )
    for error in refresh_variables():
        console.print(f"[yellow]A profile keeps its old values:[/] {escape(str(error))}")
