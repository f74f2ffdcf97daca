"""Names of methods, for the parameters of tests."""

from melexp.methods import Method, available_methods, make_method

METHODS = {name: make_method(name) for name in available_methods()}
#: Methods that can be paused and resumed.
ITERATIVE = [name for name, method in METHODS.items() if isinstance(method, Method)]
#: Those, and the peers that need no extra: they accept any front end.
GENERAL = [name for name, method in METHODS.items() if not getattr(method, "needs", ())]
#: Methods whose later frames depend on earlier ones, and so on their rounding.
ONLINE = ["rtisi_la", "rtpghi", "stream"]
#: The others.
OFFLINE = [name for name in GENERAL if name not in ONLINE]
