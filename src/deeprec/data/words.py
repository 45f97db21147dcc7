"""Words that titles of the simulated catalogue are made of."""

# fmt: off
GENRE_WORDS: dict[str, tuple[str, ...]] = {
    "Action": (
        "Strike", "Hammer", "Pursuit", "Thunder", "Bullet", "Ambush", "Rescue", "Vendetta", "Convoy",
        "Fury", "Outpost", "Siege",
    ),
    "Comedy": (
        "Wedding", "Pancake", "Neighbour", "Holiday", "Parrot", "Mishap", "Uncle", "Picnic", "Impostor",
        "Roommate", "Hiccup", "Parade",
    ),
    "Drama": (
        "Letter", "Orchard", "Promise", "Winter", "Harvest", "Daughter", "Silence", "Porch",
        "Inheritance", "Goodbye", "River", "Mercy",
    ),
    "Thriller": (
        "Witness", "Deadline", "Alibi", "Informant", "Trapdoor", "Ransom", "Surveillance", "Accomplice",
        "Blackout", "Motive", "Trace", "Cellar",
    ),
    "Romance": (
        "Kiss", "Serenade", "Valentine", "Waltz", "Rendezvous", "Honeymoon", "Bouquet", "Courtship",
        "Balcony", "Sweetheart", "Moonlight", "Vow",
    ),
    "Science Fiction": (
        "Orbit", "Android", "Nebula", "Starship", "Quantum", "Colony", "Galaxy", "Clone", "Satellite",
        "Wormhole", "Reactor", "Cosmos",
    ),
    "Horror": (
        "Crypt", "Haunting", "Shadow", "Coffin", "Scream", "Phantom", "Asylum", "Possession", "Grave",
        "Curse", "Nightmare", "Ritual",
    ),
    "Fantasy": (
        "Dragon", "Sorcerer", "Enchantment", "Kingdom", "Prophecy", "Griffin", "Amulet", "Elf",
        "Spellbook", "Throne", "Realm", "Unicorn",
    ),
    "Adventure": (
        "Expedition", "Treasure", "Compass", "Voyage", "Jungle", "Island", "Caravan", "Summit", "Map",
        "Lagoon", "Safari", "Canyon",
    ),
    "Mystery": (
        "Riddle", "Detective", "Clue", "Manuscript", "Lantern", "Cipher", "Portrait", "Keyhole",
        "Testament", "Enigma", "Footprint", "Inspector",
    ),
    "War": (
        "Trench", "Regiment", "Battalion", "Armistice", "Bunker", "Sergeant", "Frontline", "Mission",
        "Squadron", "Barracks", "Retreat", "Victory",
    ),
    "Western": (
        "Saddle", "Outlaw", "Prairie", "Sheriff", "Stagecoach", "Mustang", "Saloon", "Homestead",
        "Rustler", "Gunslinger", "Frontier", "Gulch",
    ),
    "Musical": (
        "Melody", "Chorus", "Orchestra", "Ballad", "Rhapsody", "Tango", "Encore", "Lullaby", "Overture",
        "Cabaret", "Refrain", "Anthem",
    ),
    "Documentary": (
        "Glacier", "Ocean", "Archive", "Migration", "Volcano", "Portfolio", "Reef", "Century",
        "Laboratory", "Harbour", "Desert", "Chronicle",
    ),
    "Animation": (
        "Puppet", "Squirrel", "Toybox", "Rainbow", "Balloon", "Penguin", "Snowflake", "Robot", "Kitten",
        "Circus", "Firefly", "Marble",
    ),
    "Crime": (
        "Heist", "Gangster", "Vault", "Verdict", "Smuggler", "Cartel", "Precinct", "Forgery", "Getaway",
        "Syndicate", "Counterfeit", "Parole",
    ),
}

ADJECTIVES: tuple[str, ...] = (
    "Crimson", "Silent", "Golden", "Broken", "Hidden", "Distant", "Frozen", "Burning", "Hollow",
    "Emerald", "Lonely", "Restless", "Velvet", "Iron", "Paper", "Midnight", "Forgotten", "Electric",
    "Gentle", "Savage", "Wandering", "Scarlet", "Bitter", "Radiant", "Crooked", "Sacred", "Wicked",
    "Amber", "Stolen", "Faded", "Endless", "Secret", "Tender", "Reckless", "Ivory", "Copper",
    "Northern", "Southern", "Ancient", "Final", "Perfect", "Curious", "Desperate", "Invisible",
    "Painted", "Lost", "Sleeping", "Marble", "Cobalt", "Honest", "Fearless", "Vanishing", "Quiet",
    "Wild", "Borrowed", "Shattered", "Blue", "Second", "Glass", "Drifting",
)
# fmt: on
