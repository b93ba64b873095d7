# SPDX-License-Identifier: Apache-2.0
"""The families there are."""

from __future__ import annotations

from ..errors import ModelError
from ..formats.source_file import SourceFile
from ..spec import ModelSpec
from .anchor_grid import AnchorGrid
from .family import Family, Published
from .kapao import Kapao
from .movenet import MoveNet
from .openpose import OpenPose
from .rows import Rows

__all__ = ["FAMILIES", "catalogue", "export_layouts", "family_named", "family_of", "family_of_file"]

FAMILIES: tuple[Family, ...] = (
    AnchorGrid(),
    Kapao(),
    MoveNet(),
    OpenPose(),
    Rows(),
)  # fmt: skip
"""One line each. The first takes what no other claims, such as a checkpoint."""


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
    """The family of one of the names, its own or one of its catalogue's, else the first."""
    for family in FAMILIES:
        if any(name == family.name or name in family.catalogue for name in names):
            return family
    return FAMILIES[0]


def family_of_file(file: SourceFile) -> Family:
    """The family that a file belongs to which names none: the one that claims it, or the first.

    Raises:
        ModelError: several claim it.
    """
    claimants = [family for family in FAMILIES[1:] if _claims(family, file)]
    if len(claimants) > 1:
        names = " and ".join(family.name for family in claimants)
        raise ModelError(
            f"{file.path}: may be a network of the families {names}; say which with --arch and one of these names, or "
            "give the model spec with --spec FILE"
        )
    return claimants[0] if claimants else FAMILIES[0]


def _claims(family: Family, file: SourceFile) -> bool:
    try:
        return family.claims(file)
    except ModelError:
        return False  # whoever takes it in the end says what is wrong


def catalogue() -> dict[str, Published]:
    """The published networks of all families by name."""
    return {name: entry for family in FAMILIES for name, entry in family.catalogue.items()}


def export_layouts() -> tuple[str, ...]:
    """The layouts that networks can be exported with, the default first."""
    return tuple(dict.fromkeys(layout for family in FAMILIES for layout in family.export_layouts))
