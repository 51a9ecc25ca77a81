"""Frozen dataclasses as trees: to JSON and back by their fields' types, and `path=value` texts on top.

A value that does not fit is refused by the name of its path. Two groups have fields of their own making:

- a tagged union, whose field `kind` says by which class it is read: a row of `UNIONS`
- a group whose class has `hints` and `defaults`: its fields are the rows of a table, which others may extend
"""

import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from david.model import config as models
from david.model.configs.base import ModelConfig
from david.pack.errors import DavidError
from david.train.tasks import table as tasks
from david.train.tasks.config import TaskConfig

UNIONS: dict[type, Callable[[str | None], type]] = {  # from the kind to its class
    ModelConfig: models.class_of,
    TaskConfig: tasks.class_of,
}
Renamed = Mapping[str, str]  # dotted paths of before -> those of now


def to_json(tree: Any) -> dict[str, Any]:
    """Plain dicts, lists and values, as `json` writes and reads them."""
    return {name: _plain(getattr(tree, name)) for name in hints(type(tree))}


def from_json(root: type, content: Any, renamed: Renamed) -> Any:
    """The tree that `to_json` gave. Raises DavidError for a field that is unknown, missing or unfit, by its path."""
    return _build(root, _as_named_now(content, renamed), "")


def override(root: type, content: dict[str, Any], assignments: Sequence[str], renamed: Renamed) -> Any:
    """The tree of `content` with each `path=value` text applied, in order.

    A value is written as in JSON, texts without quotes, tuples as `a,b,c`; a network's configuration, whole, by its
    name. All are applied before the whole is checked.
    """
    for assignment in assignments:
        path, equals, text = (part.strip() for part in assignment.partition("="))
        if not equals:
            raise DavidError(f"--set {assignment}: expected path=value, such as optim.rate=1e-4")
        path = renamed.get(path, path)
        kind, group = root, content
        *above, name = path.split(".")
        for step in above:
            kind, group = _field(_class_of(kind, group), step, path), group[step]
            if not _is_group(kind):
                raise DavidError(f"--set {path}: `{step}` is a value and holds no other")
        if kind in UNIONS and name == "kind":  # fields that the other class knows too stay
            own = hints(_class_of(kind, {name: text}))
            for field in group.keys() - own.keys():
                del group[field]
            group[name] = text
            continue
        kind = _field(_class_of(kind, group), name, path)
        if kind is ModelConfig and text in models.MODELS:
            group[name] = to_json(models.MODELS[text])
            continue
        if _is_group(kind):
            one_of = ", ".join(f"{path}.{field}" for field in hints(_class_of(kind, group[name])))
            named = f", or name a network: {', '.join(models.MODELS)}" if kind is ModelConfig else ""
            raise DavidError(f"--set {path}: a group; set one of {one_of}{named}")
        group[name] = _parse(kind, text, f"--set {path}")
    return from_json(root, content, {})


def flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of `to_json`'s tree by their dotted paths."""
    leaves: dict[str, Any] = {}
    for name, value in content.items():
        leaves |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return leaves


def said(tree: Any, prefix: str = "") -> dict[str, Any]:
    """The leaves of a tree, or of a part of one, that are not their field's default, by their dotted paths."""
    leaves: dict[str, Any] = {}
    usual = _defaults(type(tree))
    for name in hints(type(tree)):
        value, path = getattr(tree, name), f"{prefix}{name}"
        if _is_group(type(value)):
            leaves |= said(value, f"{path}.")
        elif name not in usual or value != usual[name]:
            leaves[path] = value
    return leaves


def hints(kind: Any) -> dict[str, Any]:
    """The fields of a group, and their types."""
    return kind.hints() if hasattr(kind, "hints") else get_type_hints(kind)


def _defaults(kind: Any) -> dict[str, Any]:
    if hasattr(kind, "defaults"):
        return kind.defaults()
    return {field.name: field.default for field in fields(kind) if field.default is not MISSING}


def _is_group(kind: Any) -> bool:
    return is_dataclass(kind) or hasattr(kind, "hints")


def _class_of(kind: Any, content: Any) -> Any:
    """The class by which a group is read: its own, or for a union the one that its content names."""
    if kind not in UNIONS:
        return kind
    return UNIONS[kind](content.get("kind") if isinstance(content, dict) else None)


def _as_named_now(content: Any, renamed: Renamed) -> Any:
    """The same tree with fields that were called otherwise before in their places of now."""
    if not isinstance(content, dict):
        return content
    content = {name: _as_named_now(value, {}) for name, value in content.items()}
    for old, new in renamed.items():
        *above, name = old.split(".")
        group = content
        for step in above:
            group = group.get(step, {}) if isinstance(group, dict) else {}
        if isinstance(group, dict) and name in group:
            value, group = group.pop(name), content
            *above, name = new.split(".")
            for step in above:
                group = group[step]
            group[name] = value
    return content


def _field(kind: Any, name: str, path: str) -> Any:
    found = hints(kind)
    if name not in found:
        raise DavidError(f"--set {path}: no `{name}` there; there are {', '.join(found)}")
    return found[name]


def _parse(kind: Any, text: str, where: str) -> Any:
    """The value of type `kind` that `text` writes."""
    if get_origin(kind) in (Union, types.UnionType):
        if text.lower() in ("none", "null"):
            return _fit(kind, None, where)
        return _parse(next(k for k in get_args(kind) if k is not types.NoneType), text, where)
    if get_origin(kind) is tuple:
        inner = get_args(kind)
        parts = [part.strip() for part in text.strip("[]()").split(",") if part.strip()]
        return _fit(kind, [_parse(inner[0], part, where) for part in parts], where)
    if kind is bool and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if kind in (int, float):
        try:
            return _fit(kind, kind(text), where)
        except ValueError:
            pass
    return _fit(kind, text, where)


def _build(kind: Any, content: Any, path: str) -> Any:
    if not isinstance(content, dict):
        raise DavidError(f"recipe: {path or 'it'} must be a group, found {content!r}")
    kind = _class_of(kind, content)
    found = hints(kind)
    if unknown := set(content) - set(found):
        raise DavidError(f"recipe: no `{path}{min(unknown)}`; there are {', '.join(found)}")
    values = {}
    for name, value in content.items():
        if _is_group(found[name]):
            values[name] = _build(found[name], value, f"{path}{name}.")
        else:
            values[name] = _fit(found[name], value, f"recipe: {path}{name}")
    try:
        return kind(**values)
    except TypeError as error:
        raise DavidError(f"recipe: {path or 'it'} is not whole: {error}") from error


def _fit(kind: Any, value: Any, where: str) -> Any:
    """`value` as a `kind`. Raises DavidError where it is none."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is tuple and isinstance(value, list | tuple):
        kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else list(inner)
        if len(kinds) == len(value):
            return tuple(_fit(k, v, where) for k, v in zip(kinds, value, strict=True))
    elif origin in (Union, types.UnionType):
        if value is None and types.NoneType in inner:
            return None
        return _fit(next(k for k in inner if k is not types.NoneType), value, where)
    elif origin is Literal and value in inner:
        return value
    elif (kind is float and type(value) in (int, float)) or (origin is None and type(value) is kind):
        return kind(value)
    raise DavidError(f"{where}: expected {_describe(kind)}, found {value!r}")


def _describe(kind: Any) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin is tuple:
        count = "values" if inner[-1] is Ellipsis else f"{len(inner)} values"
        return f"{count} with commas between, each {_describe(inner[0])}"
    if origin in (Union, types.UnionType):
        return " or ".join(_describe(k) for k in inner)
    return {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}.get(kind, "nothing")


def _plain(value: Any) -> Any:
    if _is_group(type(value)):
        return to_json(value)
    return list(value) if isinstance(value, tuple) else value
