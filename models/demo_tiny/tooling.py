"""Tools, requests that call them, and what to say about their results.

Three in five tools have invented names and arguments, so that the model learns to take
both from the tool list in front of it. A result is reported in one fixed form, because
copying a result is within reach of a small model and rephrasing it is not.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from random import Random
from typing import Any

import words as w

__all__ = ["Call", "Tool", "call_for", "family_tools", "report", "result_for", "toolbox"]


@dataclass(frozen=True)
class Tool:
    """A function the model may call, with ways in which a user asks for it."""

    name: str
    description: str
    parameters: dict[str, str]
    """Argument name to JSON type."""
    kinds: dict[str, str]
    """Argument name to the kind of value, a key of `_VALUES`."""
    requests: tuple[str, ...]

    def schema(self) -> dict[str, Any]:
        """Return the tool as the chat API describes it."""
        properties = {name: {"type": kind} for name, kind in self.parameters.items()}
        parameters = {"type": "object", "properties": properties, "required": list(properties)}
        function = {"name": self.name, "description": self.description, "parameters": parameters}
        return {"type": "function", "function": function}


@dataclass(frozen=True)
class Call:
    """One request in words, and the call that serves it."""

    request: str
    name: str
    arguments: dict[str, Any]


_VALUES = {
    "city": lambda r: w.pseudo(r).title() if r.random() < 0.3 else r.choice(w.CITIES),
    "person": w.person, "thing": w.noun_phrase, "noun": w.noun, "words": lambda r: w.some_words(r, 1, 4),
    "file": w.file_name, "code": w.code, "marker": w.marker, "date": w.date, "time": w.time_of_day,
    "int": lambda r: int(w.number(r)), "small": lambda r: r.randint(0, 99),
    "float": lambda r: r.randint(0, 9999) / 10, "bool": lambda r: r.random() < 0.5,
    "color": lambda r: r.choice(w.COLORS), "pseudo": w.pseudo, "email": lambda r: f"{w.pseudo(r)}@{w.pseudo(r)}.org",
    "url": lambda r: f"https://{w.pseudo(r)}.org/{w.noun(r)}", "unit": lambda r: r.choice(("celsius", "fahrenheit", "kelvin")),
}  # fmt: skip
_TYPES = {"int": "integer", "small": "integer", "float": "number", "bool": "boolean"}

# name | description | argument:kind ... | requests separated by ";"
_FAMILIES = """
get_weather|Get the weather of a city.|city:city|What is the weather in {city}?;Weather in {city};How is the weather in {city} today?;Is it raining in {city}?;What's the weather like in {city}?;Get the weather for {city}.
get_weather|Current weather for a place.|city:city unit:unit|What is the weather in {city} in {unit}?;Weather in {city}, {unit} please.;How warm is it in {city} in {unit}?
get_weather|Look up the current weather.|location:city|What is the weather in {location}?;Tell me the weather in {location}.;What is the weather like in {location} right now?
get_forecast|Weather forecast for some days.|city:city days:small|Forecast for {city} for {days} days;What will the weather be in {city} in the next {days} days?
get_time|Get the local time of a city.|city:city|What time is it in {city}?;Time in {city};Tell me the time in {city}.
get_current_time|Get the current time.||What time is it?;What is the time now?;Tell me the current time.;What is the current time?
get_date|Get the date of today.||What is the date today?;Which day is today?;What day is it?
add|Add two numbers.|a:int b:int|Add {a} and {b}.;What is {a} + {b}?;What is {a} plus {b}?;Use the tool to add {a} and {b}.;Compute {a} + {b}.
multiply|Multiply two numbers.|a:int b:int|Multiply {a} by {b}.;What is {a} * {b}?;What is {a} times {b}?
search|Search the documents.|query:words|Search for {query};Find documents about {query};Look up {query};Search the documents for {query}.
web_search|Search the web.|query:words|Search the web for {query};Look for {query} on the internet.;Google {query}
read_file|Read a file.|path:file|Read the file {path};Show me {path};Open {path};What is in {path}?;Read {path}
write_file|Write text to a file.|path:file content:words|Write "{content}" to {path};Save "{content}" in the file {path}.
list_files|List the files of a folder.|folder:noun|List the files in {folder};What files are in {folder}?;Show the folder {folder}.
delete_file|Delete a file.|path:file|Delete {path};Remove the file {path}.
run_command|Run a shell command.|command:words|Run the command {command};Run `{command}`;Execute {command}
send_email|Send an email.|to:email subject:thing|Send an email to {to} about {subject}.;Email {to} about {subject}.;Write to {to} about {subject}.
send_message|Send a message to a person.|to:person text:words|Send {to} the message "{text}".;Tell {to} "{text}".;Message {to}: {text}
create_event|Add an event to the calendar.|title:thing date:date|Add {title} to my calendar on {date}.;Create an event {title} on {date}.;Plan {title} for {date}.
set_timer|Set a timer.|minutes:small|Set a timer for {minutes} minutes.;Wake me in {minutes} minutes.;Timer {minutes} minutes
set_alarm|Set an alarm.|time:time|Set an alarm for {time}.;Wake me at {time}.
turn_on|Turn on a device.|device:thing|Turn on the {device}.;Switch on the {device}.;Please turn the {device} on.
set_color|Set the color of a light.|light:noun color:color|Make the {light} {color}.;Set the {light} to {color}.
get_price|Get the price of a product.|product:thing|What is the price of {product}?;How much is the {product}?;Price of {product}
get_stock_price|Get the price of a share.|symbol:code|What is the stock price of {symbol}?;Price of {symbol} shares;How is {symbol} doing?
order_item|Order an item.|item:thing quantity:small|Order {quantity} {item}.;Buy {quantity} of {item}.;I want {quantity} {item}.
track_order|Find where an order is.|order_id:code|Where is my order {order_id}?;Track order {order_id}.;What is the status of order {order_id}?
book_table|Reserve a table.|restaurant:pseudo people:small|Book a table at {restaurant} for {people} people.;Reserve {restaurant} for {people}.
find_person|Find a person in the directory.|name:person|Find {name} in the directory.;Who is {name}?;Look up the person {name}.
convert_currency|Convert an amount of money.|amount:int currency:pseudo|Convert {amount} to {currency}.;How much is {amount} in {currency}?
open_url|Open a web page.|url:url|Open {url};Fetch {url};What does {url} say?
get_user|Get a user by number.|user_id:int|Get user {user_id}.;Show user {user_id}.;Who is user {user_id}?
translate|Translate a text.|text:words language:pseudo|Translate "{text}" to {language}.;How do you say "{text}" in {language}?
play_song|Play a song.|title:words|Play {title};Play the song {title}.;I want to hear {title}.
""".strip().splitlines()

_DO = """get set find fetch lookup read show check create update delete start stop open close count
move rename book cancel send make list measure lock unlock scan print pay sort load save""".split()
_ARGUMENTS: list[tuple[str, tuple[str, ...]]] = [
    ("name", ("person", "pseudo", "thing")), ("id", ("code", "int", "marker")), ("city", ("city",)),
    ("query", ("words", "thing")), ("path", ("file",)), ("title", ("thing", "words")), ("date", ("date",)),
    ("amount", ("int", "float")), ("count", ("small", "int")), ("color", ("color",)), ("level", ("small",)),
    ("code", ("code", "marker")), ("topic", ("thing",)), ("user", ("person", "pseudo")), ("label", ("pseudo", "marker")),
    ("target", ("thing", "city")), ("key", ("pseudo", "marker")), ("value", ("int", "thing", "words")),
    ("limit", ("small",)), ("place", ("city", "thing")), ("text", ("words",)), ("email", ("email",)),
]  # fmt: skip


def _family(line: str) -> Tool:
    name, description, arguments, requests = line.split("|")
    kinds = dict(pair.split(":") for pair in arguments.split())
    types = {key: _TYPES.get(kind, "string") for key, kind in kinds.items()}
    return Tool(name, description, types, kinds, tuple(requests.split(";")))


_TOOLS = [_family(line) for line in _FAMILIES]


def family_tools() -> list[Tool]:
    """Return the tools with ordinary names."""
    return list(_TOOLS)


def _join(r: Random, verb: str, thing: str) -> str:
    thing = thing.replace(" ", "_")
    joined = f"{verb}_{thing}"
    if r.random() < 0.2:
        joined = verb + "".join(part.title() for part in thing.split("_"))
    return joined


def _renamed(tool: Tool, r: Random) -> Tool:
    """Give an ordinary tool another name and other argument names."""
    new = {old: (w.pseudo(r) if r.random() < 0.4 else r.choice(_ARGUMENTS)[0]) for old in tool.kinds}
    if len(set(new.values())) < len(new) or r.random() < 0.3:
        new = {old: old for old in tool.kinds}
    requests = tuple(
        text.format(**{old: "{" + name + "}" for old, name in new.items()}) for text in tool.requests
    )
    name = _join(r, r.choice(_DO), w.noun(r)) if r.random() < 0.7 else w.pseudo(r)
    parameters = {new[old]: kind for old, kind in tool.parameters.items()}
    return Tool(name, tool.description, parameters, {new[o]: k for o, k in tool.kinds.items()}, requests)


def _invented(r: Random) -> Tool:
    """Make up a tool from a verb, a thing and zero to three arguments."""
    verb, thing = r.choice(_DO), w.noun_phrase(r) if r.random() < 0.5 else w.noun(r)
    chosen = r.sample(_ARGUMENTS, r.choice((0, 1, 1, 1, 1, 2, 2, 2, 3)))
    kinds = {(w.pseudo(r) if r.random() < 0.3 else name): r.choice(options) for name, options in chosen}
    types = {key: _TYPES.get(kind, "string") for key, kind in kinds.items()}
    name = _join(r, verb, thing)
    say = verb.title()
    keys = list(kinds)
    if not keys:
        requests = (f"{say} the {thing}.", f"Please {verb} the {thing}.", f"Use {name}.", f"Call {name}.")
    elif len(keys) == 1:
        slot = "{" + keys[0] + "}"
        requests = (f"{say} {thing} {slot}", f"{say} the {thing} for {slot}.", f"Please {verb} the {thing} of {slot}.",
                    f"{say} the {thing} with {keys[0]} {slot}.", f"Use {name} with {slot}.", f"{say} {slot}",
                    f"Can you {verb} the {thing} {slot}?", f"Call {name} with {keys[0]}={slot}")  # fmt: skip
    else:
        pairs = [f"{key} {{{key}}}" for key in keys]
        listed = ", ".join(pairs[:-1]) + " and " + pairs[-1]
        requests = (f"{say} the {thing} with {listed}.", f"Please {verb} the {thing}, {', '.join(pairs)}.",
                    f"Call {name} with " + ", ".join(f"{key}={{{key}}}" for key in keys),
                    f"{say} {thing}: " + ", ".join(pairs), f"Use {name} for " + " and ".join(f"{{{key}}}" for key in keys))  # fmt: skip
    description = r.choice((f"{say} the {thing}.", f"{say} a {thing}.", f"Tool to {verb} the {thing}.", ""))
    return Tool(name, description, types, kinds, tuple(requests))


def toolbox(r: Random) -> list[Tool]:
    """Return one to four tools with different names and descriptions."""
    found: dict[str, Tool] = {}
    for _ in range(r.choice((1, 1, 1, 2, 2, 3, 3, 4))):
        pick = r.random()
        tool = r.choice(_TOOLS) if pick < 0.4 else _renamed(r.choice(_TOOLS), r) if pick < 0.65 else _invented(r)
        if tool.description not in {other.description for other in found.values()}:
            found.setdefault(tool.name, tool)
    return list(found.values())


def call_for(tool: Tool, r: Random) -> Call:
    """Return a user's request for `tool` and the matching call."""
    arguments = {key: _VALUES[kind](r) for key, kind in tool.kinds.items()}
    shown = {key: str(value).lower() if isinstance(value, bool) else value for key, value in arguments.items()}
    request = r.choice(tool.requests).format(**shown)
    if r.random() < 0.15:
        request = r.choice(("Please ", "Now ", "Hi! ", "OK, ")) + request
    return Call(request, tool.name, arguments)


def result_for(r: Random) -> str:
    """Return what a tool might answer: a flat JSON object, a text, or an error."""
    kind = r.random()
    if kind < 0.1:
        return json.dumps({"error": w.some_words(r, 1, 3)})
    if kind < 0.4:
        return w.some_words(r, 1, 6)
    keys = r.sample(("temperature", "sky", "result", "status", "time", "name", "price", "unit", "total",
                     "date", "city", "id", "text", "state", "level", w.noun(r), w.pseudo(r)), r.choice((1, 1, 2, 2, 3)))  # fmt: skip
    kinds = ("int", "small", "float", "thing", "words", "noun", "time", "pseudo", "code", "city")
    return json.dumps({key: _VALUES[r.choice(kinds)](r) for key in keys})


def report(result: str) -> str:
    """Say what a tool returned.

    >>> report('{"temperature": 21, "sky": "sunny"}')
    'The result is: temperature 21, sky sunny.'
    >>> report("done")
    'The result is: done.'
    """
    try:
        value = json.loads(result)
    except ValueError:
        value = result
    if not isinstance(value, dict):
        return f"The result is: {result}."
    if "error" in value:
        return f"The tool failed: {value['error']}."
    if list(value) == ["result"]:
        return f"The result is: {value['result']}."
    return "The result is: " + ", ".join(f"{key} {item}" for key, item in value.items()) + "."
