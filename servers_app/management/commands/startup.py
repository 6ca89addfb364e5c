from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console

from models_app.errors import ModelsError
from profiles_app.errors import ProfilesError
from profiles_app.services import profile_to_load
from servers_app.startup import announce, start_profile


class Command(BaseCommand):
    help = "Discover, load the profile, launch its models, check them: beside a running worker."

    def handle(self, *args: Any, **options: Any) -> None:
        console = Console(soft_wrap=True, highlight=False)
        try:
            profile = profile_to_load()
            announce(console)
            call_command("rescan", queue=True)
            all_ready = start_profile(console, profile)
        except (ModelsError, ProfilesError) as error:
            raise CommandError(str(error)) from error
        if not all_ready:
            msg = "Not every server is ready; the admin's Servers page says why."
            raise CommandError(msg)
