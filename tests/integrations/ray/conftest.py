"""Collected where the extra `ray` is installed; `.ci/integrations` installs it."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("ray") else ["*"]
