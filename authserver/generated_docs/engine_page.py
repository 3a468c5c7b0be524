"""docs/engines.md: the settings of backends and roles of each built-in engine."""

from authserver.generated_docs.markdown import code, page, section, table
from credentials.engines import BUILT_IN, describe_settings, find_engine
from foundation.settings_fields import Field

_INTRO = """\
A backend has settings that say how to reach it. A role has settings that say what an account may
do. The administration shows an input for each setting. The administrator account's secret is no
setting: it is stored encrypted and never shown. Other engines have a page of their own:
[write an engine](guides/engines.md)."""

_COLUMNS = ("setting", "input", "kind", "default", "meaning")


def render() -> str:
    sections = [
        section(f"{find_engine(name).title} ({code(name)})", *[
            f"### {title}\n\n{table(_COLUMNS, _rows(describe_settings(find_engine(name), which)))}"
            for which, title in (("backend", "Backend"), ("role", "Role"))
        ])
        for name in sorted(BUILT_IN)
    ]  # fmt: skip
    return page("Engines", _INTRO, *sections)


def _rows(fields: tuple[Field, ...], prefix: str = "") -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for field in fields:
        name = "secret" if field.is_secret else prefix + field.name
        kind = ("secret" if field.is_secret else field.kind) + (", required" if field.required else "")
        default = "" if field.default is None else code(str(field.default))
        choices = f"{', '.join(map(code, field.choices))}. " if field.choices else ""
        found.append((code(name), field.title, kind, default, choices + field.help))
        found += _rows(field.fields, f"{name}[].")
    return found
