"""Search path of Hydra for the configurations in the user's folders."""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from melexp.discovery import user_folders


class OwnFolders(SearchPathPlugin):
    """Append ``conf/`` of each folder in ``MELEXP_PATH`` to the search path."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for folder in user_folders():
            if (folder / "conf").is_dir():
                search_path.append("melexp-own", f"file://{folder / 'conf'}")
