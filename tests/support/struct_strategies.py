"""Hypothesis strategies made from msgspec types: whatever a type allows, within sizes that keep tests quick."""

from typing import Any

import msgspec.inspect as inspect
from hypothesis import strategies as st

LENGTH_MAX = 40
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=10) | st.binary(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


def values_of(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a type (a Struct class, an annotated type, a union) that its own decoder accepts."""
    return _from_info(inspect.type_info(kind))


def _sizes(info: Any) -> dict[str, int]:
    least = info.min_length or 0
    most = least + LENGTH_MAX if info.max_length is None else min(info.max_length, least + LENGTH_MAX)
    return {"min_size": least, "max_size": most}


def _from_info(info: Any) -> st.SearchStrategy[Any]:
    match info:
        case inspect.IntType():
            least = -(2**63) if info.ge is None else info.ge
            return st.integers(least, 2**63 - 1 if info.le is None else info.le)
        case inspect.StrType():
            return st.text(st.characters(exclude_categories=["Cs"]), **_sizes(info))
        case inspect.BytesType():
            return st.binary(**_sizes(info))
        case inspect.FloatType():
            return st.floats(allow_nan=False)
        case inspect.BoolType():
            return st.booleans()
        case inspect.NoneType():
            return st.none()
        case inspect.EnumType():
            return st.sampled_from(list(info.cls))
        case inspect.ListType():
            return st.lists(_from_info(info.item_type), min_size=info.min_length or 0, max_size=4)
        case inspect.DictType():
            return st.dictionaries(_from_info(info.key_type), _from_info(info.value_type), max_size=3)
        case inspect.UnionType():
            return st.one_of([_from_info(one) for one in info.types])
        case inspect.StructType():
            return st.builds(info.cls, **{field.name: _from_info(field.type) for field in info.fields})
        case inspect.AnyType():
            return ANYTHING
    raise NotImplementedError(f"no strategy for {info}")
