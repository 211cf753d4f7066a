"""A group of verbs with a default: `zspiderd tasks shop` is `zspiderd tasks list shop`."""

from typing import Any

import click


class DefaultGroup(click.Group):
    """A group whose `default` verb is used when none is named."""

    def __init__(self, *args: Any, default: str, **options: Any) -> None:
        super().__init__(*args, **options)
        self._default = default

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the default verb before arguments that name none."""
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = [self._default, *args]
        return super().parse_args(ctx, args)
