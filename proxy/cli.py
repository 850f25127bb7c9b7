"""The command line. Exit codes: 0 fine, 1 findings, 2 usage or environment."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import orjson
import typer
from pydantic import ValidationError

from proxy.alerts_cli import alerts
from proxy.config import SHIPPED_POLICIES, Config, ConfigFault, KeyEntry, load_config, told
from proxy.faults import nearest
from proxy.policy import Policy, PolicyError, load_policy
from proxy.policy import report as words
from proxy.policy.explain import Side, as_json, conversation, explain
from proxy.policy.load import policy_files
from proxy.policy.trial import run_tests
from proxy.settings import read

app = typer.Typer(
    help="Kindrail: a guardrail proxy for chat models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

keys = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)
app.add_typer(keys, name="key")
app.command()(alerts)

Folder = Annotated[
    Path,
    typer.Option(
        "--policies", envvar="KINDRAIL_POLICIES", help="The folder of policies.", show_default="the shipped ones"
    ),
]
Chosen = Annotated[
    list[str] | None, typer.Argument(help="Names of policies, files or folders. Default: all of the folder.")
]
Code = Annotated[
    bool,
    typer.Option(
        "--code", envvar="KINDRAIL_POLICY_CODE", help="Let policies run Python of their own (`actions.py`) here."
    ),
]
Name = Annotated[str, typer.Option("--policy", envvar="KINDRAIL_POLICY", help="The policy, by name or file.")]
File = Annotated[Path | None, typer.Option("--config", envvar="KINDRAIL_CONFIG", help="A kindrail.yaml.")]
Several = list[str] | None
T = TypeVar("T")


class As(StrEnum):
    """Who says the sentence to explain."""

    USER = "user"
    ASSISTANT = "assistant"


@app.command()
def check(chosen: Chosen = None, policies: Folder = SHIPPED_POLICIES, code: Code = False, config: File = None) -> None:
    """Read policies and show every fault with file, line and column."""
    faulty = False
    loaded: list[Policy] = []
    for path in _paths(chosen or [], policies):
        try:
            loaded.append(_load(path, code))
            for line in words.checked(loaded[-1]):
                typer.echo(line)
        except PolicyError as error:
            faulty = True
            typer.echo(error)
    raise typer.Exit(1 if _untold(_config(config), loaded) or faulty else 0)


def _untold(config: Config, policies: Sequence[Policy]) -> bool:
    """Whether in production nobody would be told of children in danger, or their words be judged at an address that
    the operator has not named; without API keys it is a note.
    """
    from proxy.live import in_production, unnamed, untold  # noqa: PLC0415

    serious = in_production(config)
    found = {untold(config, policies): "safeguarding", unnamed(config, policies): "judge"}
    wrong = [f"{fault}; see docs/{page}.md" if serious else f"mind: {fault}" for fault, page in found.items() if fault]
    for line in wrong:
        typer.echo(line, err=not serious)
    return serious and bool(wrong)


@app.command(name="test")
def run_test(chosen: Chosen = None, policies: Folder = SHIPPED_POLICIES, code: Code = False) -> None:
    """Run the tests that stand in policies: whole, by character and in random chunks."""
    failed = False
    for path in _paths(chosen or [], policies):
        report = asyncio.run(run_tests(_usable(path, code)))
        failed = failed or bool(report.failures)
        for line in words.tested(report):
            typer.echo(line)
    raise typer.Exit(1 if failed else 0)


@app.command(name="explain")
def run_explain(
    sentence: Annotated[str | None, typer.Argument(help="What is said.")] = None,
    said_by: Annotated[As, typer.Option("--as", help="Who says it.")] = As.USER,
    lang: Annotated[str, typer.Option(help="Its language. Default: guessed.", show_default=False)] = "",
    user: Annotated[
        str, typer.Option(help="The user's last turn, beside an assistant's sentence.", show_default=False)
    ] = "",
    talk: Annotated[
        str,
        typer.Option("--conversation", help="A file, or -: lines `user: ...`, `assistant: ...`.", show_default=False),
    ] = "",
    jsonl: Annotated[bool, typer.Option("--jsonl", help="Read lines of JSON, write one for each.")] = False,
    given: Annotated[Several, typer.Option("--set", help="What the app has set, such as bedtime=on.")] = None,
    policy: Name = "kids-buddy",
    policies: Folder = SHIPPED_POLICIES,
    code: Code = False,
) -> None:
    """Show what a policy does with a sentence or a conversation, and which rail says so."""
    if sum((sentence is not None, bool(talk), jsonl)) != 1:
        raise typer.BadParameter("give one of a sentence, --conversation and --jsonl")
    if user and sentence is None:
        raise typer.BadParameter("it goes with a sentence", param_hint="--user")
    if given and jsonl:
        raise typer.BadParameter("with --jsonl each line has `settings` of its own", param_hint="--set")
    loaded = _usable(_path(policy, policies), code)
    settings = _set(given or [], loaded)
    if lang and lang not in loaded.languages:
        raise typer.BadParameter(f"{loaded.label} speaks {', '.join(loaded.languages)}", param_hint="--lang")
    if jsonl:
        raise typer.Exit(asyncio.run(_json_lines(loaded)))
    messages: list[tuple[Side, str]] = _talk(talk) if talk else [(said_by.value, sentence or "")]
    if user:
        messages.insert(0, ("user", user))
    for line in words.explained(loaded, asyncio.run(explain(loaded, messages, lang, settings))):
        typer.echo(line)


async def _json_lines(policy: Policy) -> int:
    """Answers each line of the standard input at once; a bad line gets its error and makes the exit code 1."""
    code = 0
    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            typer.echo(await as_json(policy, line))
        except ValueError as error:
            code = 1
            typer.echo(orjson.dumps({"error": f"line {number}: {error}"}))
    return code


@app.command()
def serve(
    demo: Annotated[
        bool, typer.Option("--demo", help="Answer with the scripted buddy, whatever backend is set.")
    ] = False,
    host: Annotated[str | None, typer.Option(help="The address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="The port to listen on.")] = None,
    policy: Annotated[str | None, typer.Option(help="The policy that every request is held to.")] = None,
    policies: Annotated[Path | None, typer.Option(help="The folder of policies.")] = None,
    config: File = None,
) -> None:
    """Run the proxy. What is not given here comes from KINDRAIL_* in the environment, then from the file."""
    # The server and its libraries are heavy, and the other verbs need none of them: imported where they are used.
    from proxy.serve import serve as run  # noqa: PLC0415

    url = "" if demo else None
    try:
        run(load_config(config, host=host, port=port, policy=policy, policies=policies, backend_url=url))
    except PolicyError as error:
        _stop(str(error), 1)
    except (ConfigFault, OSError) as fault:
        _stop(str(fault), 2)


@app.command(name="demo-model")
def demo_model(
    port: Annotated[int, typer.Option(help="The port to listen on.")] = 8090,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
) -> None:
    """Run the scripted buddy alone, as a model server, to hear what it says unguarded."""
    from proxy.backends.scripted import serve as run  # noqa: PLC0415

    run(port, host)


@keys.command("new")
def key_new(
    id: Annotated[str, typer.Argument(help="Its name in the audit and the metrics.")],
    tenant: Annotated[str, typer.Option(help="Whose sessions and records these are.")] = "default",
    policy: Annotated[str, typer.Option(help="The policy of its requests. Default: the general one.")] = "",
    models: Annotated[Several, typer.Option("--model", help="A glob on models it may use. Default: all.")] = None,
    headers: Annotated[Several, typer.Option("--header", help="A request header for the model server.")] = None,
    policies: Annotated[Several, typer.Option("--policy-choice", help="A glob on policies apps may choose.")] = None,
    allow: Annotated[Several, typer.Option(help="A field, or image, audio, file, refused otherwise.")] = None,
    requests: Annotated[int | None, typer.Option(help="Requests a minute.")] = None,
    tokens: Annotated[int | None, typer.Option(help="Tokens a minute.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Requests at once.")] = None,
    body: Annotated[int | None, typer.Option(help="The largest request body, in bytes.")] = None,
    in_store: Annotated[bool, typer.Option("--store", help="Put it into Redis.")] = False,
    config: File = None,
) -> None:
    """Make a key and print it, this once; then its entry for kindrail.yaml, unless it goes into Redis."""
    from proxy import keyring  # noqa: PLC0415

    key = keyring.new_key()
    lists = {"models": models or ["*"], "headers": headers or [], "policies": policies or [], "allow": allow or []}
    limits = {"requests": requests, "tokens": tokens, "concurrency": concurrency, "body": body}
    entry = _entry(id=id, hash=keyring.hashed(key), tenant=tenant, policy=policy, limits=limits, **lists)
    _check_policies(entry, _config(config).policies)
    if in_store:
        _in_store(config, lambda store: keyring.put(store, entry))
    typer.echo(key)
    if not in_store:
        typer.echo(keyring.as_yaml(entry), nl=False)


@keys.command("list")
def key_list(
    in_store: Annotated[bool, typer.Option("--store", help="Those in Redis.")] = False, config: File = None
) -> None:
    """List the keys of the configuration, or those in Redis."""
    from proxy import keyring  # noqa: PLC0415

    for entry in _in_store(config, keyring.listed) if in_store else _config(config).keys:
        typer.echo(f"{entry.id}  tenant {entry.tenant}  policy {entry.policy or '(the general one)'}")


@keys.command("revoke")
def key_revoke(
    id: Annotated[str, typer.Argument(help="The key's id, not the key.")],
    in_store: Annotated[bool, typer.Option("--store", help="One in Redis.")] = False,
    config: File = None,
) -> None:
    """Take a key out of Redis, or say which entry of kindrail.yaml to delete: that file is yours to change."""
    from proxy import keyring  # noqa: PLC0415

    if not in_store:
        _stop(_by_hand(id, _config(config), config), 1)
    if not _in_store(config, lambda store: keyring.revoke(store, id)):
        _stop(f"there is no key `{id}` in Redis; `kindrail key list --store` shows those there are", 1)
    typer.echo("revoked; within 10 seconds it opens nothing any longer")


def _by_hand(id: str, config: Config, file: Path | None) -> str:
    """How a key of the configuration is revoked, or where else to look for one of this id."""
    for index, entry in enumerate(config.keys):
        if entry.id == id:
            return f"not revoked yet: delete keys[{index}], `{id}`, from {file}, and start Kindrail again"
    return f"there is no key `{id}` in the configuration; with --store it is looked for in Redis"


def _entry(**settings: object) -> KeyEntry:
    try:
        return KeyEntry.model_validate(settings)
    except ValidationError as error:
        _stop("\n".join(told(error, {})), 2)


def _check_policies(entry: KeyEntry, folder: Path) -> None:
    """Ends the command for a key whose policies are not in the folder: it would open nothing."""
    from proxy.live import faults  # noqa: PLC0415

    try:
        wrong = list(faults(entry, folder))
    except OSError as fault:
        _stop(str(fault), 2)
    if wrong:
        _stop("\n".join(wrong), 2)


def _config(file: Path | None) -> Config:
    try:
        return load_config(file)
    except ConfigFault as fault:
        _stop(str(fault), 2)


def _in_store(file: Path | None, action: Callable[[Any], Awaitable[T]]) -> T:
    """What `action` gives, done with the configured store; one that cannot be used ends the command."""
    from proxy.keyring import KeyringFault, at_store  # noqa: PLC0415

    config = _config(file)
    if not config.keys_in_store:
        typer.echo("mind: keys in Redis open nothing until `keys_in_store: true` is set", err=True)
    try:
        return asyncio.run(at_store(config, action))
    except KeyringFault as fault:
        _stop(str(fault), 2)


def _paths(chosen: Sequence[str], folder: Path) -> Iterator[Path]:
    """The files of the policies chosen, or of all in the folder."""
    for name in chosen or [str(folder)]:
        if not Path(name).is_dir():
            yield _path(name, folder)
            continue
        try:
            yield from policy_files(Path(name))
        except FileNotFoundError as error:
            _stop(str(error), 2)


def _path(name: str, folder: Path) -> Path:
    for path in (Path(name), folder / f"{name}.yaml"):
        if path.is_file():
            return path
    hint = nearest(name, [path.stem for path in folder.glob("*.yaml")])
    _stop(f"no policy `{name}` in {folder}{f': {hint}' if hint else ''}", 2)


def _load(path: Path, code: bool) -> Policy:
    """The policy of the file. Raises `PolicyError`; a file that cannot be read ends the command."""
    try:
        return load_policy(path, code)
    except OSError as error:
        _stop(f"{path} cannot be read ({error.strerror})", 2)


def _usable(path: Path, code: bool) -> Policy:
    """The policy of the file; one with faults ends the command."""
    try:
        return _load(path, code)
    except PolicyError as error:
        _stop(str(error), 1)


def _set(given: Sequence[str], policy: Policy) -> Mapping[str, object]:
    """The settings `name=value` as the policy's rails see them."""
    try:
        return read(",".join(given), policy.settings)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--set") from None


def _talk(source: str) -> list[tuple[Side, str]]:
    try:
        return conversation(sys.stdin if source == "-" else Path(source).read_text("utf-8").splitlines())
    except OSError as error:
        _stop(f"{source} cannot be read ({error.strerror})", 2)
    except ValueError as error:
        _stop(f"{source}: {error}", 2)


def _stop(message: str, code: int) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(code)


def main() -> None:
    """The `kindrail` command."""
    app()


if __name__ == "__main__":
    main()
