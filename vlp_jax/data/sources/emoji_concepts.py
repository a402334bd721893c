"""The things that emoji scenes are made of: visually distinct emoji with short English names."""

from typing import NamedTuple


class Concept(NamedTuple):
    """One kind of thing: its English name, its category and the emoji that shows it."""

    name: str
    category: str
    emoji: str


# Twenty a category. The last three or four of each are the held-out concepts; several of those
# are named with words that the others teach ("green apple", "blue car"), so that some names can
# be understood by composition and others can't.
_TABLE = {
    "animal": (
        "dog 🐶, cat 🐱, pig 🐷, frog 🐸, panda 🐼, lion 🦁, monkey 🐵, fox 🦊, chick 🐥, "
        "whale 🐳, octopus 🐙, turtle 🐢, butterfly 🦋, bee 🐝, elephant 🐘, crab 🦀, "
        "cow 🐮, koala 🐨, penguin 🐧, ladybug 🐞"
    ),
    "food": (
        "red apple 🍎, banana 🍌, strawberry 🍓, watermelon 🍉, carrot 🥕, pizza 🍕, "
        "hamburger 🍔, doughnut 🍩, cupcake 🧁, cheese 🧀, lemon 🍋, pineapple 🍍, "
        "tomato 🍅, corn 🌽, avocado 🥑, lollipop 🍭, broccoli 🥦, green apple 🍏, "
        "ice cream 🍦, pancake 🥞"
    ),
    "vehicle": (
        "red car 🚗, bus 🚌, taxi 🚕, tractor 🚜, bicycle 🚲, rocket 🚀, airplane ✈️, "
        "sailboat ⛵, fire truck 🚒, helicopter 🚁, ambulance 🚑, tram 🚊, "
        "racing car 🏎️, police car 🚓, scooter 🛵, canoe 🛶, motorcycle 🏍️, "
        "blue car 🚙, delivery truck 🚚, ship 🚢"
    ),
    "nature": (
        "cactus 🌵, palm tree 🌴, sunflower 🌻, mushroom 🍄, sun ☀️, moon 🌙, "
        "rainbow 🌈, maple leaf 🍁, fire 🔥, volcano 🌋, rose 🌹, clover 🍀, "
        "snowflake ❄️, blossom 🌸, globe 🌍, lightning bolt ⚡, water drop 💧, "
        "pine tree 🌲, star ⭐, tulip 🌷"
    ),
    "clothing": (
        "shirt 👕, dress 👗, bow 🎀, top hat 🎩, high heel 👠, backpack 🎒, crown 👑, "
        "scarf 🧣, sneaker 👟, ring 💍, sun hat 👒, blue cap 🧢, handbag 👜, kimono 👘, "
        "boot 👢, bikini 👙, sock 🧦, watch ⌚, lab coat 🥼, purse 👛"
    ),
    "object": (
        "key 🔑, lock 🔒, light bulb 💡, umbrella ☂️, camera 📷, alarm clock ⏰, "
        "blue book 📘, guitar 🎸, balloon 🎈, soccer ball ⚽, basketball 🏀, bell 🔔, "
        "gift 🎁, hammer 🔨, drum 🥁, candle 🕯️, trophy 🏆, tennis ball 🎾, red book 📕, "
        "teddy bear 🧸"
    ),
}
CATEGORIES = tuple(_TABLE)
NOVEL_COUNT = 20


def _interleaved() -> tuple[Concept, ...]:
    rows = []
    for category, text in _TABLE.items():
        named = (entry.rsplit(" ", 1) for entry in text.split(", "))
        rows.append([Concept(name, category, emoji) for name, emoji in named])
    return tuple(concept for column in zip(*rows, strict=True) for concept in column)


# Interleaved over the categories, so that any prefix is balanced.
CONCEPTS = _interleaved()
TRAINING_CONCEPTS = CONCEPTS[:-NOVEL_COUNT]
NOVEL_CONCEPTS = CONCEPTS[-NOVEL_COUNT:]
