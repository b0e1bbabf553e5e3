"""Apache Avro's records as SQL that compares.

    avro.py pairs SEED N      random schemas with others that read them, for Avro.java
    avro.py sql FILE          what that said of them, as SQL

The reader is a table, with a column for each field of the reader's schema: of a type that
takes it, with the default as its DEFAULT, and mapped to the writer's field where an alias
says so.  Each value must be there what Avro resolves it to, and the whole what was written.
Records are read by fastavro, too, which must agree with Avro on what they are.  Each query
gives one row: "ok", or "differs", what it is of and where.
"""
import io
import json
import os
import random
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "avro"))
import fastavro
import oracle
from oracle import quote

# --- random schemas, and what reads them ---

PROMOTIONS = {"int": ["int", "long", "float", "double"], "long": ["long", "float", "double"],
              "float": ["float", "double"], "string": ["string", "string", "bytes"]}
# (of lists of floats, Avro's reader counts the bytes of doubles, and refuses them)
PROMOTIONS_OF_ITEMS = {"int": ["int", "long"], "string": ["string", "bytes"]}
NEW = [("int", 7), ("long", -9000000000), ("double", 1.5), ("float", 0.25), ("string", "it's new"), ("boolean", True),
       ("bytes", "\u00ff\u0000A"), (["null", "int"], None), (["string", "null"], "x"), ({"type": "array", "items": "int"}, [1, 2]),
       ({"type": "array", "items": "string"}, []), ({"type": "map", "values": "long"}, {"k": 1}),
       ({"type": "enum", "name": "added", "symbols": ["A", "B"]}, "B")]


def promote(rng, schema):
    """What takes all of its values; inside of records, maps and unions of several it is the same."""
    if isinstance(schema, list):
        rest = [s for s in schema if s != "null"]
        if len(rest) != 1 or not isinstance(rest[0], str):
            return schema
        return [s if s == "null" else rng.choice(PROMOTIONS.get(s, [s])) for s in schema]
    if isinstance(schema, str):
        result = rng.choice(PROMOTIONS.get(schema, [schema]))
        return ["null", result] if schema != "null" and rng.random() < 0.2 else result
    if schema["type"] == "array" and isinstance(schema["items"], str):
        return {"type": "array", "items": rng.choice(PROMOTIONS_OF_ITEMS.get(schema["items"], [schema["items"]]))}
    return schema


def evolve(rng, writer):
    fields = []
    for field in writer["fields"]:
        if rng.random() < 0.15:
            continue
        new = {"name": field["name"], "type": promote(rng, field["type"])}
        if rng.random() < 0.2:
            new.update(name=field["name"] + "_new", aliases=[field["name"]])
        fields.append(new)
    for i, (schema, default) in enumerate(rng.sample(NEW, rng.choice([0, 1, 2]) if fields else 1)):
        fields.append({"name": "added%d" % i, "type": schema, "default": default})
    rng.shuffle(fields)
    return dict(writer, fields=fields)


def pairs(seed, n):
    rng = random.Random(seed)
    for _ in range(n):
        writer = oracle.Maker(rng, logical=False).record(3)
        print(json.dumps({"writer": writer, "reader": evolve(rng, writer)}))


# --- values ---

FLOATS = {"\0float": "f", "\0double": "d"}


def shortest(text, kind):
    """The fewest digits that are the number, as the server writes it."""
    value = float(text)
    if kind == "d":
        return oracle.of_float(value)
    for digits in range(1, 10):
        result = "%.*g" % (digits, value)
        if value != value or struct.pack("f", float(result)) == struct.pack("f", value):
            break
    return oracle.of_float(float(result))


def plain(value):
    if isinstance(value, list):
        return [plain(v) for v in value]
    if not isinstance(value, dict):
        return value
    for name, kind in FLOATS.items():
        if list(value) == [name]:
            return shortest(value[name], kind)
    return {k: plain(v) for k, v in value.items()}


def is_odd(value):
    """Doubles whose text others choose in another way, and bytes that are no text."""
    if isinstance(value, list):
        return any(map(is_odd, value))
    if isinstance(value, str):
        return "\0" in value or "\ufffd" in value
    if not isinstance(value, dict):
        return False
    if list(value) == ["\0double"]:
        return oracle.is_between(float(value["\0double"]))
    return any(map(is_odd, value.values()))


def of_fastavro(value):
    """The same of what fastavro has read."""
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    if isinstance(value, float):
        return {"\0double": repr(value)}
    if isinstance(value, list):
        return [of_fastavro(v) for v in value]
    if isinstance(value, dict):
        return {k: of_fastavro(v) for k, v in value.items()}
    return value


def same(a, b):
    """Of floats fastavro has doubles."""
    if isinstance(a, dict) and isinstance(b, dict):
        if list(b) == ["\0double"] and len(a) == 1 and next(iter(a)) in FLOATS:
            x, y = float(next(iter(a.values()))), float(b["\0double"])
            return x == y or (x != x and y != y) or struct.pack("f", x) == struct.pack("f", y)
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


# --- columns ---

def column_type(schema):
    if isinstance(schema, list):
        rest = [s for s in schema if s != "null"]
        return column_type(rest[0]) if len(rest) == 1 else "jsonb"
    if isinstance(schema, dict) and schema["type"] == "array":
        inner = column_type(schema["items"])
        return "jsonb" if inner == "jsonb" or inner.endswith("[]") else inner + "[]"
    kind = schema if isinstance(schema, str) else schema["type"]
    return {"boolean": "boolean", "int": "int", "long": "bigint", "float": "real", "double": "float8", "bytes": "bytea",
            "fixed": "bytea", "string": "text", "enum": "text"}.get(kind, "jsonb")


def literal(value, kind):
    """A plain value as an expression of a column's type."""
    if value is None:
        return "NULL::" + kind
    if kind == "jsonb":
        return quote(oracle.dumps(value)) + "::jsonb"
    if kind.endswith("[]"):
        return "ARRAY[%s]::%s" % (", ".join(literal(v, kind[:-2]) for v in value), kind)
    return quote(value if isinstance(value, str) else oracle.dumps(value)) + "::" + kind


def default_of(field):
    value = field["default"]
    kind = column_type(field["type"])
    if kind == "bytea":
        value = "\\x" + value.encode("latin-1").hex()
    return " DEFAULT " + literal(value, kind)


def as_records(case):
    """Both schemas as records; what is no record is the only field of one."""
    schemas = [case["writer"], case["reader"]]
    if all(isinstance(s, dict) and s["type"] == "record" for s in schemas):
        return schemas[0], schemas[1], case["records"]
    wrapped = [{"type": "record", "name": "wrapper", "fields": [{"name": "v", "type": s}]} for s in schemas]
    return wrapped[0], wrapped[1], [dict(r, written={"v": r["written"]}, read={"v": r["read"]}) for r in case["records"]]


def case_sql(i, case):
    writer, reader, records = as_records(case)
    names = {f["name"] for f in writer["fields"]}
    columns = {f["name"]: column_type(f["type"]) for f in reader["fields"]}
    mapped = {"row_no": "@key", "whole": "@value"}
    for field in reader["fields"]:
        mapped.update({field["name"]: a for a in field.get("aliases", []) if a in names and field["name"] not in names})
    ddl = ", ".join('"%s" %s%s' % (f["name"], columns[f["name"]], default_of(f) if "default" in f else "") for f in reader["fields"])
    print(f"CREATE TABLE c{i} (row_no bigint, whole jsonb{', ' + ddl if ddl else ''});")
    wants = []
    for k, r in enumerate(records):
        values = [("whole", "jsonb", r["written"])] + [(c, kind, r["read"][c]) for c, kind in columns.items()]
        values = [(c, literal(plain(v), kind)) for c, kind, v in values if not is_odd(v)]
        wants += ["SELECT %d, %s, got.%s, (%s)::text" % (k, quote(c), '"%s"::text' % c, v) for c, v in values]
    differs = " UNION ALL ".join(f"{w} FROM (SELECT 1) one LEFT JOIN c{i} got ON got.row_no = {w.split(' ')[1][:-1]}" for w in wants) or \
        "SELECT 0, 'whole', NULL::text, NULL::text"
    print("SELECT pg_temp.run(%d, %s, %s, %s, ARRAY[%s]::bytea[], %s);" % (
        i, quote(case["name"]), quote(json.dumps(writer)), quote(json.dumps(mapped)),
        ", ".join("'\\x%s'" % r["bytes"] for r in records), quote(differs)))


def without_added(value):
    """Defaults of bytes are texts to fastavro."""
    return {k: v for k, v in value.items() if not k.startswith("added")}


def is_ambiguous(schema):
    """Has it a union in which fastavro takes one branch for another, which it can be promoted to?"""
    if isinstance(schema, list):
        return {"string", "bytes"} <= {s for s in schema if isinstance(s, str)} or any(map(is_ambiguous, schema))
    if not isinstance(schema, dict):
        return False
    return any(map(is_ambiguous, [schema.get("items"), schema.get("values")] + [f["type"] for f in schema.get("fields", [])]))


def check_fastavro(case):
    """Where it reads other values than Avro does."""
    if not case["name"].startswith("random"):
        return
    writer, reader = (fastavro.parse_schema(json.loads(json.dumps(case[s]))) for s in ("writer", "reader"))
    for r in case["records"]:
        for schema, want in ((None, r["written"]),) + (() if is_ambiguous(case["reader"]) else ((reader, r["read"]),)):
            got = of_fastavro(fastavro.schemaless_reader(io.BytesIO(bytes.fromhex(r["bytes"])), writer, schema))
            if not same(without_added(want), without_added(got)):
                print("SELECT %s;" % quote("differs " + case["name"] + " fastavro: %r instead of %r" % (got, want)))


HEAD = """
CREATE EXTENSION kafka_sink;
SET extra_float_digits = 1;
CREATE FUNCTION pg_temp.run(i int, name text, schema text, columns text, records bytea[], differs text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE result text;
BEGIN
    PERFORM kafka_sink.create_sink('s' || i, target => ('c' || i)::regclass, format => 'avro', on_error => 'ignore', value_schema => schema, columns => columns::jsonb);
    PERFORM kafka_sink.ingest('s' || i, ARRAY(SELECT ROW('t', NULL, NULL, NULL, (n - 1)::text::bytea, r, NULL)::kafka_sink.record FROM unnest(records) WITH ORDINALITY x (r, n) ORDER BY n));
    EXECUTE 'SELECT string_agg(format(''record %s, %s: %s instead of %s'', k, c, got, want), '' | '' ORDER BY k, c) FROM (' || differs
        || ') d (k, c, got, want) WHERE got IS DISTINCT FROM want' INTO result;
    RETURN coalesce('differs ' || name || ' ' || result, 'ok');
EXCEPTION WHEN OTHERS THEN
    RETURN 'differs ' || name || ' ' || SQLSTATE || ' ' || SQLERRM;
END$$;
"""


def sql(path):
    print(HEAD)
    with open(path, encoding="utf-8") as file:
        for i, line in enumerate(file):
            case = json.loads(line)
            case_sql(i, case)
            check_fastavro(case)


if __name__ == "__main__":
    if sys.argv[1] == "pairs":
        pairs(int(sys.argv[2]), int(sys.argv[3]))
    else:
        sql(sys.argv[2])
