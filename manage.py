#!/usr/bin/env python3
"""Countersign's command line. `manage.py up` runs the whole product; `manage.py help` lists the rest."""

import os
import sys

if __name__ == "__main__":
    if sys.argv[1:2] == ["up"]:
        # Before Django is loaded: `up` makes the environment that the settings read.
        from runtime.up import main

        sys.exit(main(sys.argv[2:]))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "authserver.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(str(error))
