#!/usr/bin/env python
import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "magi_site.settings")
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:  # a setting: a sentence, not a traceback
        sys.exit(f"MAGI is not configured: {error}")
    except Exception as error:
        from models_app.failures import sentence_of  # needs what a setting may have stopped

        if (sentence := sentence_of(error)) is None:
            raise
        sys.exit(sentence)
