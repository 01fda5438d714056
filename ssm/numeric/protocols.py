"""Protocols: what a class of one's own must say, and whether something can do what one asks."""

import inspect
import sys
from typing import Any, TypeGuard, TypeVar

import equinox as eqx

Protocol = TypeVar("Protocol")


class AbstractComplete(eqx.Module):
    """A protocol whose abstract methods are looked for when a class is made, not when it is first used."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Raise TypeError that names all that is not written, unless the class is for others to complete."""
        super().__init_subclass__(**options)
        if cls.__name__.startswith(("Abstract", "_")):
            return
        missing = [name for name in dir(cls) if getattr(getattr(cls, name, None), "__isabstractmethod__", False)]
        if missing:
            asked = "; ".join(f"{name}: {asks(cls, name)}" for name in missing)
            raise TypeError(
                f"{cls.__name__}: not written: {asked}. (A class that others are to complete begins with Abstract.)"
            )

    def offers(self, protocol: type) -> bool:
        """Whether it can do what a protocol of its class asks with the parameters that it has; see `offers`."""
        return True


def offers(module: Any, protocol: type[Protocol]) -> TypeGuard[Protocol]:
    """Whether something follows a protocol, such as `AbstractParallelScan`, and can with the parameters it has."""
    return isinstance(module, protocol) and (not isinstance(module, AbstractComplete) or module.offers(protocol))


def asks(kind: type, name: str) -> str:
    """Which protocol needs the method or property of this name, how it begins, and what it is."""
    owner = [base for base in kind.__mro__ if name in vars(base)][-1]
    found: Any = vars(owner)[name]
    about = " ".join((inspect.getdoc(found) or "").split("\n\n")[0].split())
    if isinstance(found, property):
        begins = f"a property, def {name}(self)"
    else:
        code = inspect.unwrap(getattr(found, "__func__", found)).__code__
        positional, total = code.co_argcount, code.co_argcount + code.co_kwonlyargcount
        names = [*code.co_varnames[:positional], *(["*"] if total > positional else [])]
        begins = f"a method, def {name}({', '.join([*names, *code.co_varnames[positional:total]])})"
    return f"an {owner.__name__} needs {begins}: {about}"


def unwritten(module: object, otherwise: str = "") -> NotImplementedError:
    """The error to raise in the body of a method that some subclasses write: it names both, and how the method begins.

    `otherwise`: what can be done without the method.
    """
    frame = sys._getframe(1)
    while frame.f_locals.get("self") is not module and frame.f_back:  # past what checks annotations in the tests
        frame = frame.f_back
    kind, name = type(module), frame.f_code.co_name
    return NotImplementedError(f"{kind.__name__}.{name}: not written; {asks(kind, name)} {otherwise}".rstrip())
