"""Values as they stand in sentences: times, sums, lengths, counts, names; and which kind a question wants."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from longctx.quotes.exact.words import stem

_WORD_NUMBERS = (
    "(?:twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)-(?:one|two|three|four|five|six|seven"
    "|eight|nine)|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen"
    "|fifteen|sixteen"
    "|seventeen|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|half an?|a dozen|an?"
)
_DIGITS = r"(?<![\w.,/:-])[-+±]?\d(?:[\d,.’' \u00a0\u202f]*\d)?"
_NUMBER = rf"(?:{_DIGITS}(?![\w:/-]|[.,]\d| ?%)|\b(?:{_WORD_NUMBERS.removesuffix('|an?')})\b)"
_RANGE = rf"(?:{_DIGITS}(?: ?(?:-|–|to|or|and|x|×|bis|à|a) ?\d[\d,.]*)?|\b(?:{_WORD_NUMBERS})\b)"
NUMBER_WORD = re.compile(rf"(?:{_WORD_NUMBERS})\b", re.IGNORECASE)
_CURRENCY = (
    r"EUR|USD|GBP|CHF|SEK|NOK|DKK|PLN|CZK|HUF|JPY|CNY|INR|AUD|CAD|NZD|BRL|ZAR|euros?|dollars?"
    r"|pounds?|cents?|francs?"
    r"|rupees?|yen|won|kron(?:or|er|a)|kr|zł|Kč|lei|Euro"
)
_PER = r"(?: (?:a|an|per|each|every|pro|je|par|al|por) [a-z]+)?"
_MONEY = (
    rf"(?:(?:\b(?:{_CURRENCY}) ?|[$€£¥] ?)\d(?:[\d,.’' ]*\d)?(?: (?:million|billion))?"
    rf"|(?<![\w.,/-])\d(?:[\d,. ]*\d)? ?(?:[$€£¥]|(?:{_CURRENCY})\b)){_PER}"
)
_MONTHS = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?"
    r"|Sept?(?:ember)?|Oct(?:ober)?"
    r"|Nov(?:ember)?|Dec(?:ember)?|Januar|Februar|März|Mai|Juni|Juli|Oktober|Dezember|janvier"
    r"|février|mars|avril|mai"
    r"|juin|juillet|août|septembre|octobre|novembre|décembre|enero|febrero|marzo|abril|mayo|junio"
    r"|julio|agosto"
    r"|septiembre|octubre|noviembre|diciembre)"
)
_WEEKDAY = (
    r"(?:(?:(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)days?|(?:Mon|Diens|Donners|Frei|Sams|Sonn)tags?"
    r"|Mittwochs?|(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)(?=[ ,]))(?: (?:morning|afternoon|evening|night)s?)?)"
    rf"(?! (?!{_MONTHS})[A-Z])"  # no Sunday Times
)
_CLOCK = (
    r"(?:\d{1,2}[:.]\d\d(?: ?[ap]\.?m\b\.?|h| Uhr)?|\d{1,2} ?[ap]\.?m\b\.?|\d{1,2} o.clock|\d{1,2}h\d\d"
    r"|noon|midnight)(?: (?:UTC|GMT|C?ES?T|BST|P[SD]T|hours))?"
)
_DATE = (
    r"(?:\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?)?|\d{1,2}[./]\d{1,2}[./](?:\d{4}|\d\d)"
    rf"|\d{{1,2}}(?:st|nd|rd|th|\.)?(?: of| de)? {_MONTHS}\b(?:,?(?: de| del)? \d{{4}})?"
    rf"|{_MONTHS} \d{{1,2}}(?:st|nd|rd|th)?\b(?:,? \d{{4}})?|{_MONTHS} \d{{4}}"
    r"|(?:the )?(?:spring|summer|autumn|winter|early|late|mid) (?:of )?\d{4}|(?:1\d|20)\d\d(?![\d%]))"
)
_ONE_TIME = rf"(?<![\w.,/:[-])(?:{_WEEKDAY}\b|{_DATE}|{_CLOCK})(?![\w/]|[.,]\d)"
_TIME = (
    rf"{_ONE_TIME}(?:(?:,? (?:on |at |from |to |until |till |and |um |von |bis |à )?(?:the (?!\d{{4}}))?"
    rf"| ?[-–] ?){_ONE_TIME})*"
)
_SIZES = {
    "duration": r"milliseconds?|seconds?|secs?|ms|s|minutes?|mins?|hours?|hrs?|h|days?|nights?|weeks?"
    r"|fortnights?"
    r"|months?|years?|decades?|Sekunden?|Minuten?|Stunden?|Tagen?|Tage?|Wochen?|Monaten?|Monate?"
    r"|Jahren?|Jahre?"
    r"|working days|business days|calendar days",
    "length": r"mm|cm|dm|km|m|metres?|meters?|(?:kilo|centi|milli)met(?:re|er)s?|inch(?:es)?|in"
    r"|ft|feet|foot|yards?|miles?|nautical miles|Meter|Kilometer",
    "weight": r"kg|g|mg|µg|mcg|tonnes?|tons?|t|lbs?|pounds?|ounces?|oz|kilos?|(?:kilo)?grams?|Kilo(?:gramm)?",
    "temperature": r"°|° ?[CF]|degrees(?: Celsius| Fahrenheit)?|Celsius|Grad",
    "volume": r"ml|cl|dl|l|litres?|liters?|gallons?|pints?|cups?|m³|tbsp|tsp|tablespoons?|teaspoons?|Liter",
    "speed": r"km/h|mph|m/s|knots?|rpm|kn",
    "data": r"[KMGT]i?B|bytes?|bits?|[KMGT]bit|kB|[KMGT]b/s|[kMG]bps|MB/s",
    "voltage": r"k?V|volts?",
    "current": r"m?A|amps?|amperes?",
    "power": r"[kM]?W|watts?|kilowatts?|hp|k?Wh|m?Ah",
    "pressure": r"m?bar|psi|[khM]?Pa",
    "frequency": r"[kMG]?Hz",
    "light": r"lm|lux|lumens?",
    "noise": r"dB(?:\(A\))?|decibels?",
    "share": r"%|per ?cent|percent|Prozent",
    "area": r"m²|km²|sq(?:uare)? (?:m|metres?|feet|km|miles|kilometres?)|hectares?|ha|acres?",
}
# Words of a question that a value answers for by its look alone, and the kinds of values that do.
_DIMENSIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("long", ("duration", "length")),
    ("duration last take valid", ("duration",)),
    ("far tall high deep wide height width depth distance length", ("length",)),
    ("heavy weigh weight", ("weight",)),
    ("hot cold warm temperature", ("temperature",)),
    ("fast speed", ("speed",)),
    ("loud noise", ("noise",)),
    ("percent percentage share", ("share",)),
    ("voltage", ("voltage",)),
    ("power consumption wattage", ("power",)),
    ("pressure", ("pressure",)),
    ("frequency", ("frequency",)),
    ("capacity", ("volume", "data", "weight")),
)
_PERSON = (
    r"(?:(?:Dr|Mr|Mrs|Ms|Prof|Professor|Sir|Captain|Herr|Frau)\.? )?"
    r"[A-ZÀ-Þ][\w'’-]*\.?(?: (?:(?:van|von|de|der|den|af|al|bin|da|di|la|du|del|und|&)"
    r" )*[A-ZÀ-Þ][\w'’.-]*)*(?<![.'’])"
)


_CODE = (
    r"(?<![\w./-])(?!EUR|USD|GBP|CHF)(?:[A-Z]{2,3} )?(?=[\w/-]*\d)(?!\d{4}-\d\d-\d\d)(?!(?:19"
    r"|20)\d\d\b)[A-Z\d][\w]*(?:[-/.][\w]+)*(?: \d{2,})*(?![\w/-])"
)
_ADDRESS = r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.])|(?<![\w:])(?:[0-9a-f]{1,4}:){3,}[0-9a-f:]+"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of value.

    Attributes:
        name: what it is called here. form: how such values look.
        implied: stems of the words of a question that its look answers for.
    """

    name: str
    form: re.Pattern[str]
    implied: frozenset[str] = frozenset()

    def find(self, text: str) -> Iterator[re.Match[str]]:
        """Yield the values of this kind in a text."""
        return self.form.finditer(text)


def _stems(words: str) -> frozenset[str]:
    return frozenset(map(stem, words.split()))


def _size(*names: str) -> str:
    """Return how sizes of some dimensions look, one behind the other too: 2 hours 30 minutes."""
    units = "|".join(_SIZES[name] for name in names)
    one = rf"{_RANGE}(?: ?|-)(?:{units})(?![\w°])"
    return rf"(?:at least |at most |up to |about )?{one}(?:,? (?:and )?{one})*"


_ALL_SIZES = _size(*_SIZES)
_EVERY = (
    rf"\b(?:every|each|once|twice|(?:\w+ )?times) (?:an? |per |every |{_NUMBER} ?)?"
    r"(?:(?:other|second|third|\d+(?:st|nd|rd|th)) )?\w+\b"
    rf"|\b(?:hourly|daily|weekly|monthly|quarterly|yearly|annually)\b"
)


@cache
def kind(name: str) -> Kind:
    """Return a kind of value by its name."""
    forms = {
        "time": (_TIME, "date day time happen place hour"),
        "money": (_MONEY, "cost price charge pay"),
        "amount": (rf"{_MONEY}|{_ALL_SIZES}|{_DIGITS}(?![\w%]|[.,]\d)", "cost price charge pay take use"),
        "count": (_NUMBER, ""),
        "often": (_EVERY, "often frequency"),
        "name": (_PERSON, ""),
        "code": (_CODE, "number id no ticket issue"),
        "address": (_ADDRESS, "address ip host"),
        "version": (
            r"(?<![\w.,/-])v?\d+(?:\.\d+)+(?:-?(?:alpha|beta|rc)[\d.]*)?\+?(?![\w/]|[.,]\d)",
            "version",
        ),
    }
    if name in forms:
        form, implied = forms[name]
        return Kind(name, re.compile(form), _stems(implied))
    words, sizes = next(one for one in _DIMENSIONS if one[0] == name)
    return Kind("size", re.compile(_size(*sizes)), _stems(words))


def wanted_kind(question: str) -> Kind | None:
    """Return the kind of value that a question wants; None if its words do not say."""
    lower = question.lower()
    for form, name in _ASKS:
        if re.search(form, lower):
            return kind(name)
    words = {stem(word) for word in re.findall(r"[^\W\d_]+", lower)}
    how = re.match(r"(?:for |since |by )?how (\w+)", lower)
    for names, _ in _DIMENSIONS:
        if (how and stem(how[1]) in _stems(names)) or (not how and words & _stems(names)):
            return kind(names)
    return kind("count") if _SEVERAL.match(lower) else None


# "place settings?", "names on the list": without a verb, what is counted may be meant.
_SEVERAL = re.compile(
    r"(?!(?:who|what|which|when|where|how|is|are|does?|did)\b)(?:[\w-]+ ){0,2}[\w-]+[^\Wsui]s(?:"
    r" (?:of|on|in|at|for|per) .*)?\W*$"
)
_ASKS = (
    (r"^how (?:much|big|large)\b|^(?:the )?amount of\b", "amount"),
    (r"^(?:who|whom|whose|by whom|to whom)\b", "name"),
    (
        r"^(?:since |until |by |from |till )?when\b|^(?:(?:at|on|in|by|until|since|from) )?(?:what|which)"
        r" (?:time(?! ?zone)|date|day|year|month|weekday)\b|\b(?:date|deadline|birthday) (?:of"
        r"|for)\b|\b(?:due|delivery|start|end"
        r"|closing|expiry) date\b|opening (?:hours|times)",
        "time",
    ),
    (r"^how often\b", "often"),
    (
        r"^how many\b|^(?:what is |what's )?(?:the )?(?:total )?number of (?!the\b)(?:[\w-]+ )?[\w-]+s\b",
        "count",
    ),
    (r"\bversions?\b", "version"),
    (r"^(?:from )?(?:which|what) (?:ip|address)\b|\bip(?: address)? (?:of|for)\b", "address"),
    (
        r"\b(?!phone|mobile|fax|telephone|total|what|which|the|an?\b)\w+ (?:number|no|id|code)\b(?!"
        r" of (?!the|an?\b)\w+s\b)|\b(?:ticket|issue|code)(?: of| for|\W*$)",
        "code",
    ),
    (
        r"\b(?:price|cost|salary|rent|fee|deposit|budget|wage|premium|fare)\b",
        "money",
    ),
)
