"""Collected where the extra `lightning` is installed; `.ci/integrations` installs it."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("lightning") else ["*"]
