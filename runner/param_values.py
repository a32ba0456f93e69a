"""Values of parameters as text: which parameters have one, how it is read, checked, written and described."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import param

from runner import strict_yaml
from runner.choice_forms import ChoiceValue, OpenChoiceValue, OrNone
from runner.collection_forms import EitherValue, ListValue, MappingValue, OwnForm, SerializedValue, TupleValue
from runner.params.kinds import BoolOrInt
from runner.strict_yaml import Node
from runner.text_forms import (
    BytesValue,
    DateValue,
    FloatValue,
    IntegerValue,
    NumberValue,
    PathValue,
    PlainValue,
    TextForm,
    TextValue,
    TruthValue,
)

Parameter = param.Parameter[Any]


@functools.lru_cache(maxsize=32)
def settable_parameters(cls: type[param.Parameterized]) -> Mapping[str, Parameter]:
    """Return the parameters that can be set from outside: public, not constant, with a text form."""
    parameters = {name: cls.param[name] for name in cls.param if name != "name" and not name.startswith("_")}
    return {
        name: parameter
        for name, parameter in parameters.items()
        if not parameter.constant and not parameter.readonly and has_text_form(parameter)
    }


def has_text_form(parameter: Parameter) -> bool:
    """Tell whether values of *parameter* can be read from text, and its default written as one."""
    if _form(parameter) is None:
        return False
    try:
        to_yaml(parameter, parameter.default)
    except ValueError:
        return False
    return True


def accepts_bare_flag(parameter: Parameter) -> bool:
    """Tell whether ``--flag`` alone means True."""
    if isinstance(parameter, param.Selector):
        has_true = any(each is True for each in parameter.objects)
        return has_true and not isinstance(parameter, param.ListSelector)
    return isinstance(parameter, param.Boolean | BoolOrInt) or bool in _classes(getattr(parameter, "class_", None))


def from_text(parameter: Parameter, text: str) -> Any:
    """Return the value that *text* means on the command line; :func:`check` tells whether it is allowed.

    Raises:
        ValueError: it means none; the message says what does.
    """
    try:
        return _known_form(parameter).from_text(text)
    except ValueError as error:
        reason = error if text else ValueError("a value is needed")
        raise ValueError(_with_allowed(parameter, reason)) from None


def from_node(parameter: Parameter, node: Node) -> Any:
    """Return the value that *node* of a configuration file means; :func:`check` tells whether it is allowed.

    Raises:
        ValueError: it means none; the message says what does.
    """
    try:
        return _known_form(parameter).from_node(node)
    except ValueError as error:
        raise ValueError(_with_allowed(parameter, error)) from None


def to_text(parameter: Parameter, value: Any) -> str:
    """Return what :func:`from_text` reads as *value*.

    Raises:
        ValueError: *value* is an object without text form.
    """
    return _known_form(parameter).to_text(value)


def to_yaml(parameter: Parameter, value: Any) -> str:
    """Return one line of YAML that :func:`from_node` reads as *value*.

    Raises:
        ValueError: *value* is an object without text form.
    """
    return strict_yaml.flow(_known_form(parameter).to_node(value))


def check(parameter: Parameter, value: Any) -> None:
    """Check that *parameter* takes *value*.

    Raises:
        ValueError: it does not; the message says what it takes.
    """
    try:
        _refuse_odd_numbers(parameter, value)
        parameter._validate(value)  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, OSError) as error:
        raise ValueError(_with_allowed(parameter, error)) from None


def describe(parameter: Parameter) -> str:
    """Say in a few words what values *parameter* takes, such as ``int >= 1``."""
    form = _form(parameter)
    if form is None:
        return type(parameter).__name__
    if not isinstance(form, OrNone):
        return form.describe() + _limits(parameter)
    return f"{form.form.describe()}{_limits(parameter)} or None"


def choice_names(parameter: Parameter) -> list[str]:
    """Return the words that *parameter* takes where they are few: names of objects, true and false, None."""
    form = _form(parameter)
    inner = form.form if isinstance(form, OrNone) else form
    none = ["None"] if form is not inner else []
    if isinstance(inner, ChoiceValue):
        first = {id(value): name for name, value in reversed(inner.choices)}
        return [*reversed(first.values()), *none]
    return ["true", "false", *none] if isinstance(inner, TruthValue) else []


# --- the form of each type of parameter -----------------------------------------------------------------------------


def _known_form(parameter: Parameter) -> TextForm:
    form = _form(parameter)
    if form is None:
        raise ValueError(f"a parameter of type {type(parameter).__name__} has no text form")
    return form


def _form(parameter: Parameter) -> TextForm | None:
    if callable(getattr(parameter, "from_text", None)):
        form: TextForm | None = OwnForm(parameter)
    else:
        make = next(_FORMS[cls] for cls in type(parameter).__mro__ if cls in _FORMS)
        form = make(parameter)
    takes_none = parameter.allow_None or parameter.default is None
    return OrNone(form) if takes_none and form is not None and not isinstance(form, OrNone) else form


def _plain_form(parameter: Any) -> TextForm | None:
    return PlainValue() if type(parameter) is param.Parameter else None


def _path_form(parameter: Any) -> TextForm:
    return PathValue(as_text=True, stays_relative=bool(parameter.search_paths))


def _choice_form(parameter: Any) -> TextForm:
    names = dict(parameter.names or {})
    labels = [(_label(value), value) for value in parameter.objects if value is not None]
    choices = [*names.items(), *((label, value) for label, value in labels if label not in names)]
    form = ChoiceValue(choices) if parameter.check_on_set else OpenChoiceValue(choices)
    return OrNone(form) if any(value is None for value in parameter.objects) else form


def _label(value: Any) -> str:
    name = value.name if isinstance(value, Enum) else getattr(value, "__name__", None)
    return name if isinstance(name, str) else str(value)


def _list_form(parameter: Any) -> TextForm | None:
    item = PlainValue() if parameter.item_type is None else _form_of_classes(parameter.item_type)
    return ListValue(item) if item is not None and parameter.is_instance else None


def _class_form(parameter: Any) -> TextForm | None:
    return _form_of_classes(parameter.class_) if parameter.is_instance else None


def _form_of_classes(classes: Any) -> TextForm | None:
    forms = [(class_, _form_of_class(class_)) for class_ in _classes(classes)]
    known = [(class_, form) for class_, form in forms if form is not None]
    if len(known) < len(forms) or not known:
        return None
    return known[0][1] if len(known) == 1 else EitherValue(sorted(known, key=lambda each: _rank(each[1])))


def _classes(classes: Any) -> tuple[type, ...]:
    return classes if isinstance(classes, tuple) else (classes,)


def _form_of_class(class_: type) -> TextForm | None:
    if class_ in _CLASSES:
        return _CLASSES[class_]
    if not isinstance(class_, type) or class_ is object:
        return None
    if issubclass(class_, Enum):
        by_value = [(str(member.value), member) for member in class_]
        return ChoiceValue([*class_.__members__.items(), *by_value])
    is_path = issubclass(Path, class_) or issubclass(type(Path()), class_)
    return PathValue() if is_path else None


def _rank(form: TextForm) -> int:
    return next(rank for rank, class_ in enumerate(_READ_IN_THIS_ORDER) if type(form) is class_)


_READ_IN_THIS_ORDER = (
    IntegerValue,
    FloatValue,
    TruthValue,
    ChoiceValue,
    MappingValue,
    ListValue,
    TupleValue,
    PathValue,
    TextValue,
)
_CLASSES: Mapping[type, TextForm] = {
    str: TextValue(),
    int: IntegerValue(),
    float: FloatValue(),
    bool: TruthValue(),
    list: ListValue(PlainValue()),
    tuple: TupleValue(PlainValue()),
    dict: MappingValue(),
}
# Searched along the method resolution order, so that a subclass of Integer is read as Integer is.
_FORMS: Mapping[type, Callable[[Any], TextForm | None]] = {
    param.Parameter: _plain_form,
    param.String: lambda _: TextValue(),
    param.Color: lambda _: TextValue(),
    param.Bytes: lambda _: BytesValue(),
    param.Boolean: lambda _: TruthValue(),
    param.Number: lambda _: NumberValue(),
    param.Integer: lambda _: IntegerValue(),
    param.Date: lambda _: DateValue(with_time=True),
    param.CalendarDate: lambda _: DateValue(),
    param.Tuple: lambda parameter: TupleValue(PlainValue(), parameter.length),
    param.NumericTuple: lambda parameter: TupleValue(NumberValue(), parameter.length),
    param.DateRange: lambda _: TupleValue(DateValue(with_time=True), 2),
    param.CalendarDateRange: lambda _: TupleValue(DateValue(), 2),
    param.Path: _path_form,
    param.Selector: _choice_form,
    param.ListSelector: lambda parameter: ListValue(_choice_form(parameter)),
    param.ClassSelector: _class_form,
    param.Array: SerializedValue,
    param.DataFrame: SerializedValue,
    param.Series: SerializedValue,
    param.List: _list_form,
    param.HookList: lambda _: None,
}


# --- what else the values must obey ---------------------------------------------------------------------------------


def _refuse_odd_numbers(parameter: Parameter, value: Any) -> None:
    """Refuse what the param library lets pass: a bool for a number, and NaN where there are bounds."""
    if not isinstance(parameter, param.Number | param.NumericTuple):
        return
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, bool):
            raise ValueError(f"{number} is not a number")
        has_bounds = any(bound is not None for bound in getattr(parameter, "bounds", None) or ())
        if has_bounds and isinstance(number, float) and math.isnan(number):
            raise ValueError("nan is not within the bounds")


def _limits(parameter: Parameter) -> str:
    low, high = getattr(parameter, "bounds", None) or (None, None)
    if isinstance(parameter, param.List):
        return _length_limits(low, high)
    if isinstance(parameter, param.Number | param.Range):
        return _number_limits(low, high, *parameter.inclusive_bounds)
    regex = getattr(parameter, "regex", None)
    return f" matching {regex}" if regex else ""


def _number_limits(low: Any, high: Any, includes_low: bool, includes_high: bool) -> str:
    if low is None and high is None:
        return ""
    if high is None:
        return f" {'>=' if includes_low else '>'} {low}"
    if low is None:
        return f" {'<=' if includes_high else '<'} {high}"
    return f" in {'[' if includes_low else '('}{low}, {high}{']' if includes_high else ')'}"


def _length_limits(low: int | None, high: int | None) -> str:
    at_least = f", at least {low} long" if low else ""
    return at_least + (f", at most {high} long" if high is not None else "")


def _with_allowed(parameter: Parameter, error: Exception) -> str:
    message, allowed = str(error).rstrip("."), describe(parameter)
    return message if allowed in message else f"{message}; allowed: {allowed}"
