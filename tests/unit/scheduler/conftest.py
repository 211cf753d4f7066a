"""What the stories about the core begin with."""

import pytest
from tests.support.scheduler_world import World, make_project


@pytest.fixture
def world():
    """A master with one project that may do as it likes."""
    world = World()
    world.add_project(make_project())
    return world
