"""Planted worlds that several tests look at, each made once."""

from functools import cache

from recsys.data.planted.world import World, WorldSettings, make_world

TINY = WorldSettings(users=50, items=40)
SMALL = WorldSettings(users=600, items=300)


@cache
def small_world() -> World:
    return make_world(SMALL)


@cache
def medium_world() -> World:
    return make_world(WorldSettings(users=5_000, items=1_500))


def histories(world: World):
    """Each user's events, oldest first."""
    return world.dataset.interactions.histories()
