"""How the documentation is built: `make docs`, or `sphinx-build -W docs docs/_build/html`.

Pages with a notebook header are executed while the site is built: what they show is what the code does.
"""

import os
import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS / "_ext"))
# Shell cells find the commands of the environment that builds the site.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
os.environ["INRCODEC_CHECKOUT"] = str(DOCS.parent)

from inrcodec import __version__  # noqa: E402

project = "inrcodec"
author = "the inrcodec authors"
copyright = "the inrcodec authors, Apache License 2.0"
release = version = __version__

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx_design",
    "option_tables",
]
exclude_patterns = ["_build", "_ext"]
html_theme = "pydata_sphinx_theme"
html_title = f"inrcodec {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_sidebars = {"**": ["globaltoc.html"]}  # all pages under their captions
html_theme_options = {
    "show_prev_next": True,
    "navbar_center": [],
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4
nb_execution_mode = "force"
nb_execution_timeout = 120  # seconds for one cell; the site takes less than three minutes on two cores
nb_execution_raise_on_error = True
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # NumPy-style docstrings name the types
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
