"""Names for the items of a planted-truth world: categories, and titles that sound like them."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from recsys.arrays import I32, offsets_of
from recsys.data.dataset import ITEM_COLUMNS
from recsys.seeding import generator

DOMAINS = ("films", "books")

# Category: adjectives, nouns, places. A noun belongs to one category only, which keeps titles distinct across
# them.
_WORDS: dict[str, tuple[str, str, str]] = {
    "adventure": (
        "Hidden Daring Uncharted Perilous Golden Drifting Restless Fearless Tidal Wandering Stolen Untamed",
        "Compass Voyage Expedition Lagoon Summit Galleon Caravan Atlas Rapids Treasure Trail Jungle "
        "Monsoon Sextant Schooner Wayfarer Ravine Beacon Oasis Canoe",
        (
            "Zanzibar Patagonia Borneo Samarkand Tasmania Yukon Madagascar Kathmandu Tahiti Amazonia "
            "Svalbard Marrakesh"
        ),
    ),
    "comedy": (
        (
            "Accidental Clumsy Reluctant Awkward Cheerful Hopeless Ridiculous Borrowed Unlikely Hungry "
            "Muddled Overdue"
        ),
        "Landlord Honeymoon Umbrella Plumber Karaoke Mustache Roommate Babysitter Casserole Sofa "
        "Neighbours Pancake Flatmate Raffle Intern Goldfish Caterer Barbecue Trombonist Picnic",
        (
            "Cleveland Swindon Brisbane Winnipeg Bognor Poughkeepsie Croydon Duluth Antwerp Ipswich "
            "Albuquerque Hull"
        ),
    ),
    "crime": (
        "Silent Crooked Cold Crimson Missing Final Double Marked Nameless Bitter Loaded Midnight",
        "Alibi Witness Verdict Ransom Informer Heist Suspect Motive Confession Forger Inspector Evidence "
        "Accomplice Getaway Cartel Jury Fingerprint Blackmail Burglar Morgue",
        "Marseille Glasgow Chicago Naples Macau Odessa Havana Rotterdam Baltimore Palermo Bangkok Soho",
    ),
    "family": (
        "Little Brave Curious Magic Muddy Sleepy Lucky Giant Invisible Tiny Snowy Runaway",
        "Puppy Treehouse Grandmother Penguin Bicycle Kite Hedgehog Sandcastle Pony Snowman Acorn "
        "Lighthouse Otter Balloon Rabbit Tricycle Puddle Teddy Duckling Kitten",
        "Pinewood Maplebrook Honeydale Cloverfield Applebury Willowbank Sunnybrook Bramblewick Daisyhill "
        "Fernley Puddleford Starling",
    ),
    "fantasy": (
        "Enchanted Ancient Shattered Moonlit Cursed Elder Sunken Winged Thorned Emerald Forgotten Sworn",
        "Dragon Sorcerer Amulet Throne Prophecy Griffin Crown Spellbook Oracle Unicorn Rune Kingdom Wyvern "
        "Chalice Warlock Phoenix Druid Talisman Goblin Citadel",
        (
            "Eldermoor Avarath Thornvale Lysandria Kaldor Mirewood Sarneth Valdris Ombria Highfell "
            "Isenreach Quillon"
        ),
    ),
    "history": (
        "Last Royal Imperial Exiled Gilded Divided Marble Lost Noble Banished Painted Iron",
        "Empress Dynasty Senate Cathedral Merchant Chronicle Regent Pharaoh Archive Duchess Legion "
        "Monastery Consul Envoy Scribe Aqueduct Courtier Armada Heir Mosaic",
        (
            "Byzantium Carthage Florence Versailles Kyoto Toledo Babylon Novgorod Granada Alexandria "
            "Venice Cordoba"
        ),
    ),
    "horror": (
        "Hollow Whispering Haunted Pale Rotting Sleepless Bloodless Buried Screaming Faceless Black Starving",
        "Cellar Asylum Crypt Shadow Scarecrow Nursery Coffin Parasite Cradle Seance Gravedigger Mirror "
        "Mannequin Attic Swarm Exorcist Banshee Marsh Tombstone Stranger",
        (
            "Salem Ravenscar Blackwater Gallowsend Innsmere Duskhollow Carrow Whitby Transylvania "
            "Mournstead Grimsby Vane"
        ),
    ),
    "music": (
        "Electric Velvet Broken Blue Loud Wild Sweet Acoustic Neon Offbeat Soulful Dancing",
        "Saxophone Chorus Ballad Drummer Encore Melody Jukebox Guitar Rehearsal Soprano Piano Anthem "
        "Violin Rhythm Bandstand Busker Cello Mixtape Tango Organist",
        (
            "Memphis Nashville Vienna Liverpool Kingston Harlem Seville Berlin Salvador Manchester Motown "
            "Bayreuth"
        ),
    ),
    "romance": (
        "Tender Secret Endless Second Distant Stolen Summer Gentle Foolish Scarlet Moonlit Unspoken",
        "Kiss Letter Wedding Orchard Promise Waltz Rose Sweetheart Serenade Engagement Heartbeat Bouquet "
        "Ballroom Balcony Bride Elopement Valentine Vineyard Reunion Postcard",
        "Paris Verona Provence Santorini Lisbon Capri Bath Savannah Tuscany Bruges Brighton Corfu",
    ),
    "science fiction": (
        "Quantum Orbital Synthetic Stellar Frozen Infinite Binary Silent Fractal Cosmic Terminal Parallel",
        "Android Starship Colony Signal Nebula Cyborg Paradox Reactor Satellite Clone Wormhole Singularity "
        "Airlock Probe Telescope Algorithm Terraformer Cosmonaut Hologram Eclipse",
        "Titan Europa Andromeda Orion Callisto Proxima Ganymede Kepler Vega Ceres Tharsis Arcturus",
    ),
    "war": (
        "Fallen Burning Forward Wounded Steel Brave Distant Broken Captured Loyal Grey Sleepless",
        "Battalion Trench Sniper Convoy Armistice Bunker Regiment Squadron Bugle Frontline Minefield Medic "
        "Barricade Deserter Ceasefire Paratrooper Bayonet Submarine Siege Garrison",
        (
            "Verdun Normandy Stalingrad Gallipoli Tobruk Arnhem Saigon Dunkirk Sevastopol Ardennes Anzio "
            "Austerlitz"
        ),
    ),
    "western": (
        "Dusty Lonesome Rusty Lawless Desert Fastest Wanted Thirsty Sunburnt Dead Stray Outlaw",
        "Sheriff Saloon Stagecoach Gunslinger Mustang Bounty Rancher Spur Canyon Prospector Lasso "
        "Homestead Cowboy Coyote Tumbleweed Revolver Rustler Undertaker Wrangler Railroad",
        "Tombstone Abilene Laredo Cheyenne Deadwood Amarillo Durango Dodge Sonora Wichita Tucson Yuma",
    ),
}

CATEGORIES = tuple(_WORDS)


def titles(domain: I32, category: I32, random: np.random.Generator) -> list[str]:
    """A title for each item, no two alike; index arrays (n,) into DOMAINS and CATEGORIES.

    Words run out at about 80,000 items; titles of further ones are sequels ("... II").
    """
    result = np.empty(len(domain), object)
    for d in range(len(DOMAINS)):
        for c in range(len(CATEGORIES)):
            rows = np.flatnonzero((domain == d) & (category == c))
            names = _originals(DOMAINS[d], CATEGORIES[c], random)
            result[rows] = [names[n % len(names)] + _sequel(n // len(names)) for n in range(len(rows))]
    return list(result)


def _originals(domain: str, category: str, random: np.random.Generator) -> list[str]:
    """All titles that the words of a category make in a domain, shuffled, short and long ones taking
    turns."""
    adjectives, nouns, places = (words.split() for words in _WORDS[category])
    pairs = [(a, n) for a in adjectives for n in nouns]
    if domain == "films":
        kinds = [
            [f"{a} {n}" for a, n in pairs],
            [f"{n} in {p}" for n in nouns for p in places],
            [f"{a} {n} in {p}" for a, n in pairs for p in places],
        ]
    else:
        kinds = [
            [f"The {a} {n}" for a, n in pairs],
            [f"The {n} of {p}" for n in nouns for p in places],
            [f"The {a} {n} of {p}" for a, n in pairs for p in places],
        ]
    return list(_in_turns([[kind[at] for at in random.permutation(len(kind))] for kind in kinds]))


def _in_turns(kinds: list[list[str]]) -> Iterator[str]:
    """The first of each list, then the second of each, and so on while any has more."""
    for turn in range(max(map(len, kinds))):
        yield from (kind[turn] for kind in kinds if turn < len(kind))


def _sequel(number: int) -> str:
    """Nothing for the original, " II" for the first sequel, and so on in Roman numerals."""
    if number == 0:
        return ""
    numeral, left = "", number + 1
    for value, sign in ((1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"),
                        (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I")):  # fmt: skip
        numeral += sign * (left // value)
        left %= value
    return f" {numeral}"


def numbered_ids(prefix: str, count: int, width: int) -> list[str]:
    """So many ids, all of the same width."""
    width = max(width, len(str(count - 1)))
    return [f"{prefix}{number:0{width}d}" for number in range(count)]


def item_table(domain: I32, category: I32, second: I32, seed: int) -> pa.Table:
    """Title, domain and one or two categories (its own first) of each item; columns of ITEM_COLUMNS.

    domain, category: int32 (n,), index into DOMAINS and CATEGORIES. second: another category, -1 = none.
    """
    names = titles(domain, category, generator(seed, "world titles"))
    both = np.stack([category, second], axis=1)
    categories = pa.ListArray.from_arrays(
        offsets_of((both >= 0).sum(axis=1)).astype(np.int32),
        pa.array(CATEGORIES).take(pa.array(both[both >= 0])),
    )
    columns = {
        "title": pa.array(names, pa.string()),
        "domain": pa.array(DOMAINS).take(pa.array(domain)),
        "categories": categories,
    }
    return pa.table(columns, schema=pa.schema(ITEM_COLUMNS))
