"""The hot modules as C, by mypyc; what they are stands in pyproject.toml, `[tool.extproc]`.

`EXTPROC_COMPILE` decides for `pip install` and `pip wheel`: `auto` (compile where there is a C compiler, the default),
`1` (must), `0` (leave it at Python). `make compile` runs `build_ext --inplace`, for the tree itself.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import tomllib
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))
os.environ["EXTPROC_COMPILED"] = "0"  # what is built must not depend on what was built before

from extproc import compiled  # noqa: E402

MYPY_OPTIONS = """\
[mypy]
ignore_missing_imports = True
disable_error_code = import-untyped, import-not-found
[mypy-extproc._pb.*]
ignore_errors = True
follow_imports = skip
"""


def hot_modules() -> list[str]:
    """Paths from the root of the tree, as mypyc and setuptools want them."""
    said = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["extproc"]
    found = {path for pattern in said["compiled"] for path in ROOT.glob(pattern)}
    found -= {ROOT / path for path in said["plain"]}
    return sorted(str(path.relative_to(ROOT)) for path in found if path.name != "__init__.py")


def compiler() -> str | None:
    """The C compiler that Python was told of, or another; None where there is none."""
    words = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()
    return shutil.which(words[0]) or shutil.which("cc") or shutil.which("gcc")


class BuildCompiled(build_ext):
    """Notes beside the modules what they were made of, so that a later edit of the source wins."""

    def initialize_options(self) -> None:
        super().initialize_options()
        self.parallel = os.cpu_count()

    def run(self) -> None:
        super().run()
        if self.extensions:
            package = ROOT / "extproc" if self.inplace else Path(self.build_lib) / "extproc"
            compiled.note(package, [path.removeprefix("extproc/") for path in hot_modules()])


def extensions() -> list[Extension]:
    """Nothing where nothing is to be compiled."""
    wanted = os.environ.get("EXTPROC_COMPILE", "auto")
    if wanted == "0" or not {"build_ext", "bdist_wheel", "editable_wheel", "install"}.intersection(sys.argv):
        return []
    if compiler() is None:
        if wanted == "1":
            raise SystemExit("EXTPROC_COMPILE=1, and there is no C compiler: install one, or set CC")
        print("no C compiler: the hot modules stay Python, and cost about twice the CPU", file=sys.stderr)
        return []
    from mypyc.build import mypycify

    # What mypy says of types is lint's; here it must not fail for stubs that the build does not have.
    options = Path("build/mypy.ini")
    options.parent.mkdir(exist_ok=True)
    options.write_text(MYPY_OPTIONS)
    # -O1, one file of C a module and no debugging: a minute. More of either was not compared (decision 0067).
    # `extproc.hot`: their common library goes into the package, where an editable install finds it as well.
    paths = [f"--config-file={options}", *hot_modules()]
    found = mypycify(paths, opt_level="1", debug_level="0", multi_file=True, group_name="extproc.hot")
    for extension in found:
        # mypyc looks for the library's own header beside the others, and writes it into a folder.
        extension.include_dirs = [*extension.include_dirs, "build/extproc"]
        # A newer compiler's new warning is no reason to fail.
        extension.extra_compile_args = [*extension.extra_compile_args, "-Wno-error"]
    return found


if __name__ == "__main__":
    setup(ext_modules=extensions(), cmdclass={"build_ext": BuildCompiled})
