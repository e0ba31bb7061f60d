"""Writes the expected ids of dialogs with tools, from templates written after the documented formats.

    pip install tiktoken jinja2 tokenizers [transformers]
    python tests/data/tokenizer/tools.py           # writes tools.json beside this script
    python tests/data/tokenizer/tools.py --check   # says whether the committed file is what this script writes

With `transformers` installed the JSON template for Llama 4 is also compared, string for string, with the one that package
ships for the checkpoints. Two differences are meant: a message that calls a tool, and a tool's result, end with eom as in
Meta's chat_format.py, where the shipped template closes everything with eot. Dates, which Llama 3.1's template puts into
the system message, are left to the host.
"""

import ast
import json
import pathlib
import sys

import jinja2
import tiktoken

from reference import PATTERNS, load_ranks

HERE = pathlib.Path(__file__).parent

NAMES = {
    "llama4": {"open": "<|header_start|>", "close": "<|header_end|>", "eom": "<|eom|>", "eot": "<|eot|>", "python": "<|python_start|>", "python_end": "<|python_end|>"},
    "llama3": {"open": "<|start_header_id|>", "close": "<|end_header_id|>", "eom": "<|eom_id|>", "eot": "<|eot_id|>", "python": "<|python_tag|>", "python_end": ""},
}  # fmt: skip
PLACES = {
    "llama4": {"<|begin_of_text|>": 0, "<|header_start|>": 5, "<|header_end|>": 6, "<|eom|>": 7, "<|eot|>": 8, "<|python_start|>": 16, "<|python_end|>": 17},
    "llama3": {"<|begin_of_text|>": 0, "<|start_header_id|>": 6, "<|end_header_id|>": 7, "<|eom_id|>": 8, "<|eot_id|>": 9, "<|python_tag|>": 10},
}  # fmt: skip

TEMPLATE = r"""
{%- set documented = family == "llama4" and style == "pythonic" %}
{%- set in_user = place == "user" and tools %}
{%- set format = 'Respond in the format {"name": function name, "parameters": dictionary of argument name and its value}.' if style == "json" else "Respond in the format [func_name1(params_name1=params_value1, params_name2=params_value2...), func_name2(params)] " %}
{%- set format = format ~ "Do not use variables.\n\n" %}
{%- macro header(role) %}{{ open ~ role ~ close ~ "\n\n" }}{% endmacro %}
{%- macro listed() %}{% for t in tools %}{{ t | tojson(indent=4) ~ "\n\n" }}{% endfor %}{% endmacro %}
{%- macro explained() %}
    {{- "Here is a list of functions in JSON format that you can invoke:\n" ~ (tools | tojson(indent=4)) }}
    {{- "\n\nShould you decide to return the function call(s), put them in the format of " }}
    {{- "[func1(params_name=params_value, params_name2=params_value2...), func2(params)]\n\n" }}
    {{- "You SHOULD NOT include any other text in the response." }}
{%- endmacro %}
{%- macro literal(value) %}
    {%- if value is none %}None{% elif value is boolean %}{{ "True" if value else "False" }}
    {%- elif value is mapping %}{{ "{" }}{% for k, v in value.items() %}{{ k | tojson }}: {{ literal(v) }}{{ "" if loop.last else ", " }}{% endfor %}{{ "}" }}
    {%- elif value is string or value is number %}{{ value | tojson }}
    {%- else %}[{% for v in value %}{{ literal(v) }}{{ "" if loop.last else ", " }}{% endfor %}]{% endif %}
{%- endmacro %}
{{- "<|begin_of_text|>" }}
{%- set has_system = messages[0].role == "system" %}
{%- set system = messages[0].content if has_system else "" %}
{%- set messages = messages[1:] if has_system else messages %}
{%- if has_system or code or (tools and not in_user) or (tools and family == "llama3") %}
    {{- header("system") }}
    {%- if code or (tools and not documented) %}{{ "Environment: ipython\n" }}{% endif %}
    {%- if documented and tools and not in_user %}
        {{- system ~ ("\n\n" if system else "") ~ explained() }}
    {%- else %}
        {%- if tools and not in_user %}
            {{- "You have access to the following functions. To call " }}
            {{- "a function, please respond with JSON for a function call." if style == "json" else "functions, please respond with a python list of the calls. " }}
            {{- format ~ listed() }}
        {%- endif %}
        {{- system }}
    {%- endif %}
    {{- eot }}
{%- endif %}
{%- for m in messages %}
    {{- header(m.role) }}
    {%- if m.role == "user" and loop.first and in_user %}
        {%- if documented %}{{ "Questions: " ~ m.content ~ "\n" ~ explained() }}
        {%- else %}
            {{- "Given the following functions, please respond with a " }}
            {{- "JSON for a function call with its proper arguments that best answers the given prompt.\n\n" if style == "json" else "python list for function calls with their proper arguments to best answer the given prompt.\n\n" }}
            {{- format ~ listed() ~ m.content }}
        {%- endif %}
        {{- eot }}
    {%- elif m.calls and m.calls[0].name == "code_interpreter" %}
        {{- m.content ~ python ~ m.calls[0].arguments.code ~ python_end ~ eom }}
    {%- elif m.calls and style == "pythonic" %}
        {{- "[" }}
        {%- for c in m.calls %}
            {{- c.name ~ "(" }}{% for k, v in c.arguments.items() %}{{ k ~ "=" ~ literal(v) ~ ("" if loop.last else ", ") }}{% endfor %}
            {{- ")" ~ ("" if loop.last else ", ") }}
        {%- endfor %}
        {{- "]" ~ eom }}
    {%- elif m.calls %}
        {%- if family == "llama4" %}{{ python ~ m.content ~ python_end }}{% endif %}
        {%- for c in m.calls %}{{ '{"name": ' ~ (c.name | tojson) ~ ', "parameters": ' ~ (c.arguments | tojson) ~ "}" }}{% endfor %}
        {{- eom }}
    {%- elif m.role == "ipython" %}
        {{- m.content | tojson if style == "json" else m.content }}
        {{- eom if family == "llama4" else eot }}
    {%- else %}{{ m.content ~ eot }}{% endif %}
{%- endfor %}
{{- header("assistant") }}"""

WEATHER = {
    "name": "get_weather",
    "description": "The weather of a city. Météo d'une ville; मौसम.",
    "parameters": {
        "type": "object",
        "required": ["city"],
        "properties": {
            "city": {"type": "string", "description": "Name of the city, such as \"San José\""},
            "days": {"type": "integer", "default": 1, "enum": [1, 3, 7]},
        },
    },
}
OPENING = {"type": "function", "function": {"name": "opening_hours", "description": "When we open", "parameters": {"type": "object", "properties": {}}}}

SYSTEM = {"role": "system", "content": "You work at a visitor centre. Be brief."}
ASK = {"role": "user", "content": "When do you open, and how is the weather in San José?"}
ONE = {"role": "assistant", "content": "", "calls": [{"name": "get_weather", "arguments": {"city": "San José", "days": 3}}]}
TWO = {
    "role": "assistant",
    "content": "",
    "calls": [
        {"name": "opening_hours", "arguments": {}},
        {"name": "get_weather", "arguments": {"city": "a \"b\" \\ c\nd 'e'", "exact": True, "near": None, "within": [1.5, -2, {"a": [], "b": {}}]}},
    ],
}
SAID = {"role": "assistant", "content": "At nine. It is sunny.", "calls": []}
CODE = {"role": "assistant", "content": "", "calls": [{"name": "code_interpreter", "arguments": {"code": "print(2 + 2)"}}]}


def result(content):
    return {"role": "ipython", "content": content}


DIALOGS = [
    {"tools": [WEATHER], "messages": [ASK]},
    {"tools": [WEATHER, OPENING], "messages": [SYSTEM, ASK]},
    {"tools": [WEATHER, OPENING], "messages": [SYSTEM, ASK, ONE, result("sunny, 24 °C"), SAID, {"role": "user", "content": "Thanks"}]},
    {"tools": [WEATHER, OPENING], "messages": [ASK, TWO, result({"open": "9:00", "é": [1, True, None]}), SAID]},
    {"tools": [], "code": True, "messages": [ASK, CODE, result("4"), SAID]},
    {"tools": [WEATHER], "code": True, "messages": [SYSTEM, ASK, CODE, result("4"), SAID]},
]


# Answers in the pythonic style, and texts that are none.
CALLS = [
    "[f()]", "[ f ( ) ]", "[f(),]", "[f(), g(a=1)]", "\n[f(a=1,)]\n", "[f(a=1, b=-2, c=+3, d=0)]", "[f(a=00)]", "[f(a=01)]",
    "[f(a=1.5, b=.5, c=2., d=1e3, e=-1.5E-3)]", "[f(a=1_000)]", "[f(a=9223372036854775807, b=18446744073709551615, c=-9223372036854775808)]",
    "[f(a=0x10)]", "[f(a=1j)]", "[f(a='x', b=\"y\", c='', d=\"it's\", e='say \\\"hi\\\"')]", "[f(a='''x\ny''', b=\"\"\"q\"z\"\"\")]", "[f(a='x\ny')]",
    r"[f(a='\n\t\r\\\'\"\a\b\f\v', b='\x41\u0928\U0001F600', c='\d\.')]", r"[f(a='\x4')]", r"[f(a='\u12')]", "[f(a='\\\nb')]",
    "[f(a=True, b=False, c=None)]", "[f(a=[1, [2, []], 'x'], b={}, c={'k': [1], \"l\": {'m': None}})]", "[f(a=(1, 2), b=(1,), c=(1), d=())]",
    "[f(a={1, 2})]", "[f(a=x)]", "[f(a=g())]", "[f(a=1+1)]", "[f(a=[i for i in x])]", "[f(1)]", "[f(a=1, a=2)]", "[f(**{})]", "[f(*x)]",
    "[a.b.c(x=1)]", "[a..b()]", "[f]", "[]", "", "[f()", "f()]", "f()", "[f()] thanks", "Sure: [f()]", "[f() g()]", "[f(a=1 b=2)]",
    "[f(a='नमस्ते', b='😀')]", "[f(a='x)", "[f(a=)]", "[f(=1)]", "[f(a==1)]", "[-f()]", "[f()()]", "[f(a=1)[0]]", "[lambda: 1]", "[f(a=--1)]",
    "[f(a=1.2.3)]", "[f(a=1e)]", "[f(a={'a': 1, 'b'})]", "[f(a={'a': 1,})]", "[f(a=[,])]", "[f(,)]", "[,]", "[f(a = 1 , b = 'x' )]", "['f()']", "[1, 2]",
]  # fmt: skip


def by_python(text):
    """The calls that Python's own parser sees in a list of calls with literal keyword arguments; else nothing."""

    def name(node):
        return node.id if isinstance(node, ast.Name) else f"{name(node.value)}.{node.attr}"

    def plain(value):
        if isinstance(value, dict) and all(isinstance(key, str) for key in value):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        if value is None or isinstance(value, (str, bool, int, float)):
            return value
        raise ValueError

    # Python reads these numbers too, and we do not.
    if any(odd in text for odd in ["1_000", "0x", "00)", "--"]):
        return None
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        assert isinstance(tree, ast.List) and tree.elts and all(isinstance(call, ast.Call) and not call.args for call in tree.elts)
        assert all(keyword.arg for call in tree.elts for keyword in call.keywords)
        assert all(len({k.arg for k in call.keywords}) == len(call.keywords) for call in tree.elts)
        values = [{k.arg: plain(ast.literal_eval(k.value)) for k in call.keywords} for call in tree.elts]
        return [{"name": name(call.func), "arguments": arguments} for call, arguments in zip(tree.elts, values)]
    except (SyntaxError, ValueError, AssertionError, AttributeError):
        return None


def environment():
    env = jinja2.Environment()
    env.filters["tojson"] = lambda value, indent=None: json.dumps(value, ensure_ascii=False, indent=indent)
    env.globals["raise_exception"] = lambda message: (_ for _ in ()).throw(ValueError(message))
    return env


def results(messages, style):
    """The pythonic style has text as results."""
    dumped = [m | {"content": json.dumps(m["content"], ensure_ascii=False)} if isinstance(m["content"], dict) else m for m in messages]
    return messages if style == "json" else dumped


def render(dialog, family, style, place):
    given = {"messages": results(dialog["messages"], style), "tools": dialog["tools"], "code": dialog.get("code", False)}
    return environment().from_string(TEMPLATE).render(**given, **NAMES[family], family=family, style=style, place=place)


def compare_with_transformers():
    try:
        from transformers.models.llama4.processing_llama4 import chat_template
    except ImportError:
        return print("transformers is not installed: its template was not compared")
    template = environment().from_string(chat_template)
    compared = 0
    for dialog in DIALOGS:
        if dialog.get("code"):
            continue
        for place in ["system", "user"]:
            # The shipped template tells of tools in the system message only when the host gave one.
            if place == "system" and dialog["messages"][0]["role"] != "system":
                continue
            messages = [
                {"role": m["role"], "content": m["content"]} | ({"tool_calls": [{"function": c} for c in m["calls"]]} if m.get("calls") else {})
                for m in dialog["messages"]
            ]
            shipped = template.render(
                messages=messages, tools=dialog["tools"], bos_token="<|begin_of_text|>", tools_in_user_message=place == "user", add_generation_prompt=True
            )
            own = render(dialog, "llama4", "json", place).replace("<|eom|>", "<|eot|>")
            assert own == shipped, (own, shipped)
            compared += 1
    print(f"{compared} dialogs equal those of the template that transformers ships")


def build():
    ranks = load_ranks(HERE / "small.tiktoken")
    lines = []
    for number, dialog in enumerate(DIALOGS):
        expected = {}
        for family in PLACES:
            specials = {name: len(ranks) + place for name, place in PLACES[family].items()}
            encoding = tiktoken.Encoding(name="tools", pat_str=PATTERNS[family], mergeable_ranks=ranks, special_tokens=specials)
            for style in ["pythonic", "json"]:
                # Llama 3's JSON style has one call in a message.
                if family == "llama3" and style == "json" and any(len(m.get("calls", [])) > 1 for m in dialog["messages"]):
                    continue
                # The place is shown by the first two dialogs; the others are about what follows.
                for place in ["system", "user"] if number < 2 else ["system"]:
                    expected[f"{family} {style} {place}"] = encoding.encode(render(dialog, family, style, place), allowed_special="all")
        given = {"tools": dialog["tools"], "code": dialog.get("code", False), "messages": results(dialog["messages"], "pythonic")}
        lines.append(json.dumps(given | {"ids": expected}, ensure_ascii=False, separators=(",", ":")))
    comment = "Written by tools.py with jinja2 and the tiktoken package and the small vocabulary. See there."
    cases = ",\n".join(lines)
    calls = ",\n".join(json.dumps([text, by_python(text)], ensure_ascii=False) for text in CALLS)
    return f'{{"_comment": "{comment}",\n"cases": [\n{cases}\n],\n"calls": [\n{calls}\n]}}\n'


def main():
    compare_with_transformers()
    path, text = HERE / "tools.json", build()
    if "--check" in sys.argv:
        same = path.read_text(encoding="utf-8") == text
        print(f"tools.json: {'as written by this script' if same else 'DIFFERS'}")
        sys.exit(not same)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
