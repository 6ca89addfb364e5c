"""What every installation needs once, and what does no harm when done again."""

from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from rich.console import Console
from rich.markup import escape

from magi_site.datadir import make_private_dir
from magi_site.first_admin import USERNAME, ensure_admin
from profiles_app.services import import_new_profiles


def bootstrap(console: Console) -> None:
    """Bring the database up to date, import new profile files, make the first admin."""
    data_dir = Path(settings.MAGI_DATA_DIR)
    make_private_dir(data_dir)
    call_command("migrate", verbosity=0, interactive=False)
    for error in import_new_profiles(settings.MAGI_PROFILES_DIR):
        console.print(f"[yellow]Profile file skipped:[/] {escape(str(error))}")
    if password := ensure_admin(data_dir):
        console.print(
            f"Admin account [bold]{USERNAME}[/], password [bold]{escape(password)}[/] "
            f"(shown this once; kept in {escape(str(data_dir / 'admin_password'))})"
        )
