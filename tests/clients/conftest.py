"""The clients' environments, built before the first test that wants one."""

import shutil

import pytest
from clients.kit import HERE, node_folder, python_with


@pytest.fixture(scope="session")
def environments():
    """All of them. Where one cannot be had, every test of the clients says so at once."""
    for listed in HERE.glob("*.in"):
        python_with(listed.stem)
    if shutil.which("npm"):
        node_folder()
