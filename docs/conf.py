"""How the site is built: `sphinx-build -W docs out/site`. Pages are Markdown; their code cells run when it is built."""

import inspect
import os
import re
import sys

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms import SphinxTransform

sys.path.insert(0, os.path.abspath(".."))
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jaxrnn

project, author = "jaxrnn", "the jaxrnn authors"
copyright = author
release = jaxrnn.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton", "sphinx_design"]
exclude_patterns = ["_build", "jupyter_execute", "README.md"]
nitpicky = True
nitpick_ignore = [("py:class", "collections.abc.Callable"), ("py:class", "collections.abc.Sequence")]
default_role = "code"  # docstrings have code in single backticks

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "cache"
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_merge_streams = True

autodoc_typehints = "none"  # docstrings say types, shapes and dtypes
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_attr_annotations = False
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = "jaxrnn"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {"source_edit_link": None, "navigation_with_keys": True}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


# ---- docstrings


def equations(app, what, name, obj, options, lines):
    """Lines that are indented between two paragraphs are equations: a block of code, as they stand."""
    sections = re.compile(r"(Args|Attributes|Returns|Raises|Example|Yields):")
    in_section, result, deeper = False, [], ""
    for i, line in enumerate(lines):
        in_section = bool(sections.match(line)) or (in_section and (not line or line.startswith(" ")))
        if lines[i - 1].strip() == "Returns:":  # what stands in front of a colon is a type there: code is none
            line = re.sub(r"`[^`]+`", lambda code: f"`{code[0]}`" if ":" in code[0] else code[0], line)
        begins = line.startswith("    ") and not in_section and i > 0 and not lines[i - 1].strip()
        if begins and (not result or not result[-1].startswith("    ")):
            result += ["::", ""]
        if lines[i - 1].strip() == "Example:" and line.strip() and ">>>" not in line:  # code without prompts
            result += ["  ::", ""]
            deeper = "  "
        deeper = deeper if line.startswith(" ") else ""
        result.append(deeper + line)
    lines[:] = result


# ---- names in code become links

_JAX_MODULES = ("lax", "numpy", "nn", "random", "tree", "nn.initializers")
_JAX_NAMES = ("checkpoint", "custom_vjp", "device_put", "eval_shape", "grad", "hessian", "jacfwd", "jacrev", "jit", "jvp")
_JAX_NAMES += ("linearize", "make_jaxpr", "named_scope", "shard_map", "value_and_grad", "vjp", "vmap")
_OWN = {name: f"jaxrnn.{name}" for name in jaxrnn.__all__ if not inspect.ismodule(getattr(jaxrnn, name))}
_OWN |= {f"memory.{name}": f"jaxrnn.memory.{name}" for name in jaxrnn.memory.__all__}
for module in ("analysis", "contrib", "distributed", "interop", "linear", "seq2seq"):
    _OWN |= {f"{module}.{name}": f"jaxrnn.{module}.{name}" for name in getattr(jaxrnn, module).__all__}
for module in ("linear", "contrib", "seq2seq"):  # their names are theirs alone
    _OWN |= {name: f"jaxrnn.{module}.{name}" for name in getattr(jaxrnn, module).__all__}
_OWN |= {"testing.check_cell": "jaxrnn.testing.check_cell"}
_OWN |= {"experimental.persistent_kernels": "jaxrnn.experimental.persistent_kernels"}
_OWN |= {full: full for full in list(_OWN.values())}


def jax_page(name):
    """Where JAX's own reference has a name, or None."""
    module, _, last = name.removeprefix("jax.").rpartition(".")
    known = module in _JAX_MODULES if module else last in _JAX_NAMES
    return f"https://docs.jax.dev/en/latest/_autosummary/{name}.html" if known and last.islower() else None


class Links(SphinxTransform):
    """Code that is the name of something public is a link to where that is described."""

    default_priority = 700

    def apply(self, **kwargs):
        """Every piece of inline code that is not yet a link."""
        for node in list(self.document.findall(nodes.literal)):
            text = node.astext()
            name = re.sub(r"\([^()]*\)$", "", text)
            if isinstance(node.parent, (nodes.reference, addnodes.pending_xref, nodes.title)):
                continue
            if re.search(r"(TF1|TensorFlow 1)'s\s$", "".join(n.astext() for n in node.parent[: node.parent.index(node)])):
                continue  # not ours
            if name.startswith("jax.") and (page := jax_page(name)):
                link = nodes.reference("", "", refuri=page)
            elif name in _OWN and not self.env.docname.startswith("changelog"):
                where = {"refdomain": "py", "reftype": "obj", "reftarget": _OWN[name], "refdoc": self.env.docname}
                link = addnodes.pending_xref("", **where, refexplicit=True, refwarn=True)
            else:
                continue
            node.replace_self(link)
            link += node


def setup(app):
    """Sphinx calls this."""
    app.connect("autodoc-process-docstring", equations, priority=400)
    app.add_transform(Links)
