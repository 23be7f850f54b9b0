"""Where the built module is: in the package, or where the environment says."""

import os
from pathlib import Path

from smartml.errors import TensorModuleError
from smartml.store.module.build import FILE_NAME, FOLDER, CompileError, compile_module

# Names the module to load, before the one that was built with smartml; "none" for no module.
MODULE_VARIABLE = "SMARTML_TENSOR_MODULE"


def find_module() -> Path | None:
    """Return the module that a server shall load; None when it was not built, or is not wanted.

    Raises TensorModuleError when the environment variable SMARTML_TENSOR_MODULE names a file that does not exist.
    """
    named = os.environ.get(MODULE_VARIABLE, "")
    if named == "none":
        return None
    if named:
        if not os.path.isfile(named):
            raise TensorModuleError(
                f"the tensor module that {MODULE_VARIABLE} names does not exist: {named}; correct the variable, or "
                "unset it to use the one that was built with smartml"
            )
        return Path(named).absolute()
    built = FOLDER / FILE_NAME
    return built if built.is_file() else None


def build_module(target: "str | os.PathLike[str] | None" = None) -> Path:
    """Compile the module into the installed package, or to a path, and return where it is.

    Raises TensorModuleError when there is no C compiler, or it fails, or may not write there.
    """
    path = FOLDER / FILE_NAME if target is None else Path(target).absolute()
    try:
        compile_module(path)
    except CompileError as error:
        raise TensorModuleError(f"the tensor module was not built: {error}") from error
    return path
