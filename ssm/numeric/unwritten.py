"""What is said where a method that a class of one's own must have is not written."""

import inspect
import sys


def unwritten(module: object, otherwise: str = "") -> NotImplementedError:
    """The error to raise in the body of a method that subclasses write: it names both, and how the method begins.

    `otherwise`: what can be done without the method.
    """
    frame = sys._getframe(1)
    while frame.f_locals.get("self") is not module and frame.f_back:  # past what checks annotations in the tests
        frame = frame.f_back
    code = frame.f_code
    kind, name = type(module), code.co_name
    owner = [base for base in kind.__mro__ if name in vars(base)][-1]
    about = " ".join((inspect.getdoc(getattr(owner, name)) or "").split("\n\n")[0].split())
    if isinstance(vars(owner)[name], property):
        begins = f"a property, def {name}(self)"
    else:
        positional, total = code.co_argcount, code.co_argcount + code.co_kwonlyargcount
        names = [*code.co_varnames[:positional], *(["*"] if total > positional else [])]
        begins = f"a method, def {name}({', '.join([*names, *code.co_varnames[positional:total]])})"
    what = f"{kind.__name__}.{name}: not written; an {owner.__name__} needs {begins}: {about}"
    return NotImplementedError(f"{what} {otherwise}".rstrip())
