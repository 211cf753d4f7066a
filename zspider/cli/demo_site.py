"""`zspiderd demo-site`."""

from pathlib import Path

import click

from zspider.cli.options import parent_option
from zspider.errors import ConfigError
from zspider.roles.demo_site import PAGES, Site, export_site, serve
from zspider.roles.machine.limits import end_with_parent


@click.command()
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0 picks a free one.",
)
@click.option("--bind", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--pages", default=PAGES, show_default=True, type=click.IntRange(1, 10**9), help="Number of articles.")
@click.option(
    "--export", type=click.Path(path_type=Path), help="Write the pages as files into this directory instead of serving."
)
@parent_option
def demo_site(port: int, bind: str, pages: int, export: Path | None, parent: int | None) -> None:
    """Serve a generated site to crawl: /index.html, /index/K.html and /article/N.html.

    The pages are the same at every start: 8 to 15 KB of generated prose with about 30 links.
    """
    if export:
        try:
            files = export_site(export, pages)
        except OSError as exc:
            raise ConfigError(f"{exc.filename or export}: cannot be written: {exc.strerror}") from exc
        click.echo(f"{files} files in {export}")
        return
    if parent:
        end_with_parent(parent)
    site = Site(pages)
    serve(site, bind, port, lambda real: click.echo(f"demo site: http://{_in_url(bind)}:{real}/ ({pages} articles)"))


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
