"""`kindrail alerts`: what nobody has closed yet."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proxy.config import Config, ConfigFault, load_config

if TYPE_CHECKING:
    from proxy.alerts import Standing
    from proxy.store import Store


def alerts(
    close: Annotated[
        list[str] | None, typer.Option(help="The id of an alert that was seen to. May be repeated.")
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", envvar="KINDRAIL_CONFIG", help="A kindrail.yaml.")] = None,
) -> None:
    """List the alerts that are open, the latest first; or close some, which are not delivered any longer then."""
    # Redis is imported with them, and the other verbs need none of it.
    from proxy.keyring import KeyringFault, at_store  # noqa: PLC0415
    from proxy.keys import SecretFault  # noqa: PLC0415

    try:
        settings = load_config(config)
        unknown = asyncio.run(at_store(settings, lambda store: _done(settings, store, close or [])))
    except (ConfigFault, KeyringFault, SecretFault) as fault:
        typer.echo(str(fault), err=True)
        raise typer.Exit(2) from None
    for id in unknown:
        typer.echo(f"there is no open alert `{id}`", err=True)
    raise typer.Exit(1 if unknown else 0)


async def _done(config: Config, store: Store, close: list[str]) -> list[str]:
    """Closes the alerts of these ids and gives the ids that are none, or lists those that are open."""
    from proxy.alerts import Alerts  # noqa: PLC0415
    from proxy.keys import load_keys  # noqa: PLC0415

    kept = Alerts(store, load_keys(config.data, config.secret_file), config.data / "alerts")
    if close:
        return [id for id in close if not await kept.close(id)]
    for standing in await kept.standing():
        typer.echo(_line(standing))
    return []


def _line(standing: Standing) -> str:
    one = standing.raised
    told = ", ".join(f"{channel} told {_when(at)}" for channel, at in standing.told.items()) or "not delivered"
    times = f"{one.times} times, " if one.times > 1 else ""
    where = f"tenant {one.tenant}  {one.policy}  {one.language}  turn {one.turn}  session {one.session}"
    return f"{one.id}  {_when(one.at)}  {one.kind} ({one.severity})  {where}  {times}{told}"


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
