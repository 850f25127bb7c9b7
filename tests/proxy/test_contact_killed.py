"""Real replicas on a real Redis: one is killed between the alert and its delivery, and the other delivers."""

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from webhook import webhook

ROOT = Path(__file__).parents[2]
POLICY = """\
policy: small
version: 1
about: A child in danger.
audience: adult
languages: [en]
say: {sorry: {en: Sorry.}, fallback: {en: "Yes."}, care: {en: "Call {help}."}}
country: {en: GB}
help_lines: [{country: GB, for: [emergency], number: "999", name: Emergency, checked: 2026-11-21}]
phrases: {danger: {en: [lots of smoke]}}
rails:
  - id: crisis
    rail: crisis
    why: A child in danger comes first.
    kinds: {emergency: {phrases: danger, say: care}}
    tests: {trips: [{user: "there is lots of smoke", becomes: "Call 999."}]}
"""
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("KINDRAIL_")}


@asynccontextmanager
async def replica(settings, data):
    """A Kindrail in a process of its own, and its address."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "proxy.cli", "serve", "--demo", cwd=ROOT,
        env={**ENVIRONMENT, **settings, "KINDRAIL_DATA": str(data)}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        while b"Kindrail on " not in (line := await asyncio.wait_for(process.stdout.readline(), 60)):
            assert line, f"it ended with {await process.wait()}"
        yield process, line.split()[-1].decode()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def told_of_danger(url):
    body = {"model": "buddy", "messages": [{"role": "user", "content": "there is lots of smoke"}]}
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.post(f"{url}/v1/chat/completions", json=body)
    return answer.json()["choices"][0]["message"]["content"]


async def test_what_a_killed_replica_did_not_deliver_another_does(redis_url, tmp_path):
    (tmp_path / "small.yaml").write_text(POLICY)
    secret = tmp_path / "secret"
    secret.write_text("s" * 32)
    secret.chmod(0o600)
    async with webhook() as hook:
        settings = {
            "KINDRAIL_POLICIES": str(tmp_path), "KINDRAIL_POLICY": "small", "KINDRAIL_PORT": "0",
            "KINDRAIL_REDIS_URL": redis_url, "KINDRAIL_SECRET_FILE": str(secret),
            "KINDRAIL_SAFEGUARDING_WEBHOOK": hook.url,
        }  # fmt: skip
        async with replica(settings, tmp_path / "one") as (first, url):
            hook.delay = 10.0  # it takes the alert and does not say in time that it has it
            assert await told_of_danger(url) == "Call 999."
            await hook.until(1)
            first.kill()
            await first.wait()
            hook.delay = 0.0
            async with replica(settings, tmp_path / "two") as (_, url):
                first_told, again = await hook.until(2, seconds=40)
                assert again == first_told
                assert await closed(settings, tmp_path, first_told["id"]) == ["emergency (high)", "contact told", ""]


async def closed(settings, folder, id):
    """What `kindrail alerts` says of the alert, and once more when it was closed."""
    environment = {**ENVIRONMENT, **settings, "KINDRAIL_DATA": str(folder)}
    said = []
    for arguments in ([], ["--close", id], []):
        if not said:
            await asyncio.sleep(1.0)  # the mark that it was delivered comes after the delivery
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "proxy.cli", "alerts", *arguments, cwd=ROOT, env=environment,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, _ = await process.communicate()
        assert process.returncode == 0
        said.append(output.decode())
    listed, nothing, after = said
    assert nothing == ""
    assert id in listed
    return [*(word for word in ("emergency (high)", "contact told") if word in listed), after]
