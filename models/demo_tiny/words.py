"""Word lists and random values that fill the slots of the demo corpus.

Everything here was written for this project. Half of the slot values are made up
letter by letter, so that a model trained on them has to copy instead of recall.

The choice of what to say with these words is in `chat.py`, `facts.py` and `tooling.py`.
"""

from __future__ import annotations

from random import Random

__all__ = [
    "ADJECTIVES", "ANIMALS", "CITIES", "COLORS", "FOODS", "JOBS", "MONTHS", "NAMES", "NOUNS",
    "PLACES", "SURNAMES", "TOPICS", "VERBS", "WEEKDAYS", "code", "date", "file_name", "marker",
    "money", "noun", "noun_phrase", "number", "person", "pseudo", "some_words", "time_of_day",
]  # fmt: skip

NAMES = """Alice Bob Carol David Emma Frank Grace Henry Iris Jack Karen Leo Maria Nina Oscar
Paula Quinn Rosa Sam Tina Uma Victor Wendy Xavier Yara Zoe Anna Ben Clara Dan Elena Felix Gina
Hugo Ivan Julia Kurt Lena Mark Nora Olga Peter Ruth Simon Tara Ursula Vera Walter Yves Zack Ada
Amir Bjorn Chen Diego Fatima Hana Ines Jonas Kofi Lucia Mei Noor Omar Priya Ravi Sofia Tomas""".split()
SURNAMES = """Smith Jones Brown Miller Davis Wilson Moore Taylor White Harris Martin Clark Lewis
Walker Hall Young King Wright Green Baker Adams Nelson Carter Mitchell Turner Parker Evans Collins
Keller Meier Rossi Silva Novak Kim Sato Singh Okafor Haddad Larsen Petrov Moreau Weber""".split()
CITIES = """Paris London Berlin Madrid Rome Vienna Zurich Geneva Oslo Lisbon Dublin Prague Warsaw
Athens Tokyo Delhi Cairo Lima Boston Chicago Denver Austin Seattle Toronto Sydney Nairobi Seoul
Milan Lyon Munich Hamburg Bern Basel Porto Naples Helsinki Riga Tallinn Kyoto Quito Bogota Dakar
Lagos Hanoi Dallas Lausanne Ghent Turin Seville Krakow Malmo""".split()
JOBS = """nurse doctor teacher baker pilot lawyer farmer painter singer writer driver engineer
builder chef judge clerk tailor gardener librarian scientist plumber manager auditor cook""".split()
COLORS = """red blue green yellow black white orange purple brown pink silver golden grey""".split()
ANIMALS = """cat dog fox bear rabbit horse mouse owl duck frog goat lion sheep wolf bird fish pig
cow bee turtle dragon robot whale tiger snail hedgehog""".split()
PLACES = """garden forest river village house castle mountain lake field kitchen school market
bridge cave island harbor basement attic library office tower cellar station museum warehouse
hall lobby park shed drawer cabinet vault hangar workshop corridor""".split()
FOODS = """apples bread cheese soup cake honey rice fish milk pears plums carrots nuts pasta tea
coffee soap chocolate beans berries""".split()
MONTHS = """January February March April May June July August September October November
December""".split()
WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
NOUNS = """server printer invoice contract report window door table lamp engine bicycle train
budget project meeting router camera laptop phone ticket garage cable battery sensor parcel letter
folder backup database license passport policy account order shipment truck machine pump valve
filter robot drone ship boat plane car bus key lock safe box bag bottle cup plate knife fork spoon
chair desk sofa carpet mirror clock radio piano guitar drum song film book page chapter map globe
flag coin ring hat coat shoe glove scarf umbrella ball kite doll puzzle game team club shop cafe
hotel room floor roof wall fence gate road path tunnel canal pond hill valley beach desert cloud
storm rain snow wind fire stone brick metal glass paper pencil pen ink paint brush rope chain nail
screw hammer saw drill ladder bucket broom sponge towel pillow blanket candle stove oven kettle pan
pot bowl basket tray menu recipe salad sandwich pizza lemon onion potato tomato pepper seed flower
rose tree leaf branch root grass horse nest egg feather bone tooth hand voice dream plan idea rule
law test exam lesson course degree job salary bonus loan bank market price tax bill receipt refund
warranty manual guide form list table chart graph image video sound signal code token password
network packet port host node cluster disk memory chip board screen mouse keyboard switch button
release version update patch bug feature module package library archive index record field query
customer client supplier partner visitor guest patient student member driver pilot chef""".split()
ADJECTIVES = """small big old new young red blue green heavy light main second last first spare
broken clean dirty empty full cold warm hot dry wet quiet loud fast slow cheap rare public private
secret local remote northern southern eastern western upper lower inner outer wooden plastic early
late annual weekly daily urgent final central internal external""".split()
VERBS = [
    tuple(pair.split("/"))
    for pair in """buy/bought sell/sold repair/repaired paint/painted find/found lose/lost open/opened
close/closed write/wrote read/read build/built design/designed send/sent order/ordered cancel/canceled
approve/approved sign/signed review/reviewed test/tested deliver/delivered steal/stole hide/hid
clean/cleaned move/moved replace/replaced install/installed remove/removed rent/rented borrow/borrowed
return/returned inspect/inspected check/checked break/broke invent/invented discover/discovered
visit/visited draw/drew photograph/photographed translate/translated print/printed""".split()
]
TOPICS = """quantum entanglement|photosynthesis|the French Revolution|black holes|the stock market|
inflation|machine learning|neural networks|the theory of relativity|evolution|democracy|philosophy|
the meaning of life|love|war and peace|climate change|solar panels|electric cars|football|chess|
cooking pasta|bread baking|gardening|yoga|meditation|the human brain|the heart|vaccines|antibiotics|
DNA|dinosaurs|volcanoes|earthquakes|the moon|the planet Mars|rockets|satellites|the internet|
operating systems|Linux|Python|JavaScript|Rust|databases|sorting algorithms|recursion|graph theory|
prime numbers|calculus|statistics|probability|blockchain|bitcoin|taxes|mortgages|insurance|
marketing|leadership|negotiation|job interviews|travel to Japan|hiking in the Alps|sailing|surfing|
jazz music|classical music|the piano|painting|architecture|poetry|Shakespeare|ancient Rome|
ancient Egypt|the Middle Ages|the Silk Road|the Cold War|world history|geography|languages|grammar|
psychology|sleep|nutrition|vitamins|running a marathon|swimming|weight loss|pregnancy|children|
dogs and cats|birds|bees|whales|oceans|rivers|glaciers|weather forecasts|tides|magnets|electricity|
nuclear power|batteries|semiconductors|robots|self-driving cars|airplanes|trains|bicycles|
supply chains|economics|law|human rights|elections|newspapers|social media|video games|movies|
the best phone|a healthy breakfast|a birthday party|a wedding speech|a cover letter|a business plan|
a regular expression|a binary tree|a linked list|a web server|Docker|Kubernetes|git rebase|SQL joins|
unit tests|thread safety|garbage collection|compilers|the Monty Hall problem|the trolley problem""".replace(
    "\n", ""
).split("|")

_SYLLABLES = """ba be bi bo da de di do fa fi fo ga go ha ka ki ko ku la le li lo lu ma me mi mo mu
na ne ni no nu pa pe po ra re ri ro ru sa se si so su ta te ti to tu va ve vi vo wa za ze zi zo sha
che stra gri pla bran del mor nor tis lan ven dor ix ax on en ar el um or us""".split()


def pseudo(r: Random) -> str:
    """Make up a lower-case word of two to four syllables."""
    return "".join(r.choice(_SYLLABLES) for _ in range(r.choice((2, 2, 3, 3, 4))))


def number(r: Random) -> str:
    """Return a non-negative integer of one to five digits."""
    return str(r.randrange(10 ** r.choice((1, 2, 2, 3, 4, 5))))


def code(r: Random, low: int = 3, high: int = 8) -> str:
    """Return `low` to `high` characters drawn from one small alphabet, as serial numbers are."""
    alphabet = r.choice(("ABCDEFGHJKLMNPQRSTUVWXYZ0123456789", "0123456789abcdef", "0123456789"))
    return "".join(r.choice(alphabet) for _ in range(r.randint(low, high)))


def marker(r: Random) -> str:
    """Return a string such as CANARY-7f3a, as tests use to follow one text through a system."""
    head = r.choice(("CANARY", "MARKER", "TOKEN", "ID", "TEST", "REF", "KEY", "canary", "marker"))
    if r.random() < 0.6:
        head = pseudo(r)
        head = r.choice((head, head.upper(), head.upper(), head.title()))
    parts = [head] + [code(r) for _ in range(r.choice((1, 1, 1, 2, 3)))]
    return r.choice(("-", "-", "-", "_", ".", ":")).join(parts)


def person(r: Random) -> str:
    """Return a first name, sometimes with a surname, sometimes made up."""
    first = pseudo(r).title() if r.random() < 0.25 else r.choice(NAMES)
    return f"{first} {r.choice(SURNAMES)}" if r.random() < 0.35 else first


def noun(r: Random) -> str:
    """Return a noun, one in five of them made up."""
    return pseudo(r) if r.random() < 0.2 else r.choice(NOUNS)


def noun_phrase(r: Random) -> str:
    """Return one or two words that name a thing, without an article."""
    kind = r.random()
    if kind < 0.35:
        return noun(r)
    if kind < 0.65:
        return f"{r.choice(ADJECTIVES)} {noun(r)}"
    return f"{noun(r)} {noun(r)}"


def date(r: Random) -> str:
    """Return a date in one of four written forms."""
    day, month, year = r.randint(1, 28), r.randint(1, 12), r.randint(1900, 2040)
    name = MONTHS[month - 1]
    return r.choice(
        (f"{name} {day}", f"{day} {name} {year}", f"{year}-{month:02}-{day:02}", r.choice(WEEKDAYS))
    )


def time_of_day(r: Random) -> str:
    """Return a time such as 14:05 or 9 am."""
    if r.random() < 0.5:
        return f"{r.randint(0, 23)}:{r.randint(0, 59):02}"
    return f"{r.randint(1, 12)} {r.choice(('am', 'pm'))}"


def money(r: Random) -> str:
    """Return an amount with its currency."""
    return f"{number(r)} {r.choice(('francs', 'euros', 'dollars', 'pounds', 'yen', 'CHF'))}"


def file_name(r: Random) -> str:
    """Return a file name, sometimes with folders."""
    folders = [noun(r) for _ in range(r.choice((0, 0, 0, 1, 2)))]
    ending = r.choice(("txt", "md", "py", "json", "csv", "log", "pdf", "toml"))
    return "/".join([*folders, f"{noun(r)}.{ending}"])


def some_words(r: Random, low: int, high: int) -> str:
    """Return between `low` and `high` words of mixed kinds, separated by single spaces."""
    makers = (noun, noun, noun, pseudo, pseudo, number, marker, lambda r: r.choice(NAMES),
              lambda r: r.choice(ADJECTIVES), lambda r: r.choice(CITIES))  # fmt: skip
    return " ".join(r.choice(makers)(r) for _ in range(r.randint(low, high)))
