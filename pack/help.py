"""How each command shows its help: values in capitals behind options, nothing behind flags, arguments by name."""

import inspect
from typing import Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption


class Command(TyperCommand):
    def get_params(self, ctx: Any) -> Any:
        return _quiet(super().get_params(ctx))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [piece.replace("{", "").replace("}", "") for piece in super().collect_usage_pieces(ctx)]


class Group(TyperGroup):
    def get_params(self, ctx: Any) -> Any:
        return _quiet(super().get_params(ctx))


def _quiet(params: list[Any]) -> list[Any]:
    """Without types that say nothing new: <bool> behind a flag, <path> behind an argument."""
    for one in params:
        if isinstance(one, TyperArgument):
            one.display_type_rich = lambda ctx: None
        elif isinstance(one, TyperOption) and one.is_flag:
            one.metavar = ""
    return params


def style(app: typer.Typer) -> None:
    """Make all commands of `app` and of its groups show their help so."""
    app.info.cls = Group
    for command in app.registered_commands:
        command.cls = Command
        command.help = unwrapped(inspect.getdoc(command.callback) or "")
    for group in app.registered_groups:
        if group.typer_instance:
            style(group.typer_instance)


def unwrapped(text: str) -> str:
    """Paragraphs as a line each: where they break is for the terminal to say."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
