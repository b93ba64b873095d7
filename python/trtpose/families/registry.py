# SPDX-License-Identifier: Apache-2.0
"""The families there are."""

from __future__ import annotations

from ..errors import ModelError
from ..spec import ModelSpec
from .anchor_grid import AnchorGrid
from .family import Family, Published

__all__ = ["FAMILIES", "catalogue", "export_layouts", "family_named", "family_of"]

FAMILIES: tuple[Family, ...] = (
    AnchorGrid(),
)  # fmt: skip
"""One line each. The first takes what names no family, such as a checkpoint."""


def family_of(spec: ModelSpec) -> Family:
    """The family of a model spec.

    Raises:
        ModelError: there is none of that name.
    """
    for family in FAMILIES:
        if family.name == spec.family:
            return family
    known = ", ".join(family.name for family in FAMILIES)
    raise ModelError(f"{spec.name or 'the model'}: family is {spec.family!r}, known are {known}; check the model spec")


def family_named(*names: str | None) -> Family:
    """The family whose catalogue has one of the names of networks, else the first."""
    for family in FAMILIES:
        if any(name in family.catalogue for name in names):
            return family
    return FAMILIES[0]


def catalogue() -> dict[str, Published]:
    """The published networks of all families by name."""
    return {name: entry for family in FAMILIES for name, entry in family.catalogue.items()}


def export_layouts() -> tuple[str, ...]:
    """The layouts that networks can be exported with, the default first."""
    return tuple(dict.fromkeys(layout for family in FAMILIES for layout in family.export_layouts))
