"""The sections of the file, in the order in which they are written: an object only refers to earlier ones.

resources.py      resources, scopes, operation types
groups.py         groups and their permissions
backends.py       backends, credential roles
agents.py         agents
hint_issuers.py   hint issuers
"""

from authserver.configuration.section import Section
from authserver.configuration.sections.agents import Agents
from authserver.configuration.sections.backends import Backends, Roles
from authserver.configuration.sections.groups import Groups
from authserver.configuration.sections.hint_issuers import HintIssuers
from authserver.configuration.sections.resources import OperationTypes, Resources, Scopes

SECTIONS: dict[str, Section] = {
    section.name: section
    for section in (
        Resources(), Scopes(), OperationTypes(), Groups(), Backends(), Roles(), Agents(), HintIssuers(),
    )
}  # fmt: skip
