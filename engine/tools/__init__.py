"""Jobs on finished runs. The registry that names them is loaded first, whichever module is asked for."""

import engine.studies  # noqa: F401
