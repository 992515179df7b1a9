"""Collected where the extra `parquet` is installed; `.ci/integrations` installs it."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("pyarrow") else ["*"]
