"""Hydra plugin that finds configurations in the folders of ``MELEXP_PATH``."""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from melexp.discovery import own_folders


class OwnFolders(SearchPathPlugin):
    """Search path plugin that appends ``conf/`` of each folder in ``MELEXP_PATH``."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for folder in own_folders():
            if (folder / "conf").is_dir():
                search_path.append("melexp-own", f"file://{folder / 'conf'}")
