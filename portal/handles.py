"""Friendly names for people who never gave one, such as "teal-heron"."""

import re
from typing import Final


def _words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\w+", text))


_COLOURS: Final = _words("""
    amber apricot aqua auburn azure beige birch bisque black blond blue brass brick bright bronze
    brown calm cedar cerise chalk cherry chestnut citron clay clear cobalt copper coral cream
    crimson cyan dawn denim dusk ebony ecru emerald fawn fern fir flax frost garnet ginger glad
    gold grape green grey hazel heather henna honey indigo iris ivory jade jasper jet keen khaki
    kind lapis lava lemon lilac lime linen lucid maple marble maroon mauve mellow mint misty moss
    navy neat ochre olive onyx opal orange pale peach pearl pine pink plum quartz quiet rose ruby
    russet rusty saffron sage sand scarlet sepia shady silver sky slate snow spruce steel sunny
    tan teal tidy topaz umber velvet violet wheat white willow wine
""")
_ANIMALS: Final = _words("""
    adder ant auk badger bat bear beaver bee beetle bison boar bream bunting buzzard carp cat
    chough cicada civet clam cod condor coot coral cormorant crab crane cricket crow curlew deer
    dingo dipper dolphin dove duck dunlin eagle eel egret eider elk falcon ferret finch fox frog
    gannet gecko gibbon goat godwit goose grebe grouse gull hare hawk heron hoopoe horse ibex
    ibis jackdaw jay kestrel kite kiwi koala krill lark lemur lion linnet lizard llama lobster
    loon lynx magpie mallard marten merlin mole moose moth mouse newt ocelot octopus oriole
    osprey otter owl oyster panda parrot penguin perch pigeon pika pike plover puffin quail
    raven robin rook seal shrew shrike skua snipe stoat stork swan swift tapir teal tern thrush
    tiger toad trout tuna turtle viper vole walrus weasel whale wolf wombat wren yak zebra
""")


def handle_of(digest: bytes) -> str:
    """Return the handle that belongs to a user's digest of at least four bytes.

    Two people may share one: it is for eyes; the user's keyed hash is the identity.
    """
    number = int.from_bytes(digest[:4])
    colour, animal = number % len(_COLOURS), number // len(_COLOURS) % len(_ANIMALS)
    return f"{_COLOURS[colour]}-{_ANIMALS[animal]}"
