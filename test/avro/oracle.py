"""Random Avro schemas and records, written by fastavro, as SQL that compares.

    oracle.py SEED SCHEMAS

Each schema becomes a table with a column for each field, of a type that takes it,
and one for the whole value as jsonb; each record must be in it as it was made,
and the same record without its end, or with a byte more, must be refused.  Every
query gives one row, "ok" or what is not.
"""
import datetime
import decimal
import io
import json
import math
import random
import struct
import sys
import uuid

import fastavro

EPOCH = datetime.datetime(1970, 1, 1)
NAMES = "a b c d e id name value Mixed_Case _x".split()


def quote(text):
    return "'" + text.replace("'", "''") + "'"


def dumps(value):
    """JSON, where a Decimal is a number with all of its digits."""
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, dict):
        return "{" + ", ".join(json.dumps(k) + ": " + dumps(v) for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(dumps, value)) + "]"
    return json.dumps(value)


def of_float(value):
    """What JSON has of it: its digits, or a string for what is no number there."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    result = decimal.Decimal(repr(value))
    return int(result) if result == result.to_integral_value() else result


def is_between(value):
    """Is its shortest text as far from another double?  Then the server takes a longer one."""
    if value != value or value in (float("inf"), float("-inf")):
        return False
    text, exact = decimal.Decimal(repr(value)), decimal.Decimal(value)
    other = math.nextafter(value, float("inf") if text > exact else float("-inf"))
    return text != exact and abs(decimal.Decimal(other) - text) == abs(exact - text)


class Maker:
    """A schema, records of it, and what they are in JSON."""

    def __init__(self, rng, logical=True):
        self.rng = rng
        self.logical = logical
        self.named = 0

    def named_type(self, kind, **more):
        self.named += 1
        return dict(type=kind, name="%s%d" % (kind, self.named), namespace=self.rng.choice(["x.y", "z"]), **more)

    # --- schemas ---

    def schema(self, depth):
        kinds = ["null", "boolean", "int", "long", "float", "double", "bytes", "string", "string",
                 "enum", "fixed"]
        if self.logical:
            kinds += ["date", "time-millis", "time-micros", "timestamp-millis",
                      "timestamp-micros", "local-timestamp-millis", "local-timestamp-micros",
                      "uuid", "decimal", "decimal-fixed"]
        if depth > 0:
            kinds += ["array", "map", "record", "union", "union"] * 2
        kind = self.rng.choice(kinds)
        if kind == "enum":
            return self.named_type("enum", symbols=["red", "green", "BLUE"][:self.rng.randint(1, 3)])
        if kind == "fixed":
            return self.named_type("fixed", size=self.rng.randint(1, 20))
        if kind == "date" or kind == "time-millis":
            return {"type": "int", "logicalType": kind}
        if "time" in kind:
            return {"type": "long", "logicalType": kind}
        if kind == "uuid":
            return {"type": "string", "logicalType": "uuid"}
        if kind.startswith("decimal"):
            precision = self.rng.randint(1, 30)
            result = {"type": "bytes", "logicalType": "decimal", "precision": precision,
                      "scale": self.rng.randint(0, precision)}
            if kind == "decimal-fixed":
                result.update(self.named_type("fixed", size=13))
            return result
        if kind == "array":
            return {"type": "array", "items": self.schema(depth - 1)}
        if kind == "map":
            return {"type": "map", "values": self.schema(depth - 1)}
        if kind == "record":
            return self.record(depth - 1)
        if kind == "union":
            return self.union(depth - 1)
        return kind

    def union(self, depth):
        branches, seen = [], set()
        for _ in range(self.rng.randint(1, 3)):
            branch = self.schema(depth)
            word = self.word(branch)
            if word and word not in seen:
                seen.add(word)
                branches.append(branch)
        if "null" not in seen and self.rng.random() < 0.7:
            branches.insert(self.rng.choice([0, len(branches)]), "null")
        return branches or ["null", "string"]

    @staticmethod
    def word(branch):
        """Of a branch: fastavro takes the first that a value fits, so no two share one."""
        if isinstance(branch, list):
            return ""
        kind = branch if isinstance(branch, str) else branch["type"]
        if kind == "record":
            return branch["name"]
        return {"int": "number", "long": "number", "float": "number", "double": "number",
                "enum": "string", "fixed": "bytes", "array": "bytes"}.get(kind, kind)

    def record(self, depth):
        names = self.rng.sample(NAMES, self.rng.randint(1, 6))
        return self.named_type("record", fields=[{"name": n, "type": self.schema(depth)} for n in names])

    # --- values: for fastavro, and in JSON ---

    def value(self, schema):
        rng = self.rng
        if isinstance(schema, list):
            return self.of_union(schema)
        kind = schema if isinstance(schema, str) else schema.get("logicalType") or schema["type"]
        if kind == "null":
            return None, None
        if kind == "boolean":
            v = rng.random() < 0.5
            return v, v
        if kind == "int" or kind == "long":
            bits = rng.randint(0, 31 if kind == "int" else 63)
            v = rng.choice([1, -1]) * rng.getrandbits(bits) if bits else 0
            v = max(v, -(2 ** 31 if kind == "int" else 2 ** 63))
            return v, v
        if kind == "float":
            # so few digits are the same as a float8
            v = rng.choice([float("nan"), float("inf"), float("%.6g" % rng.uniform(-1, 1)), float("%.4ge%d" % (rng.random() + 1, rng.randint(-30, 5)))])
            return v, of_float(v)
        if kind == "double":
            # of 15 digits everybody knows which are the fewest, but in the middle of two
            v = float("%.15g" % struct.unpack("d", rng.getrandbits(64).to_bytes(8, "little"))[0])
            return (0.0, 0) if is_between(v) else (v, of_float(v))
        if kind == "string":
            v = "".join(rng.choice("abc \"\\/\n\t\x01'{}äß€🐘") for _ in range(rng.randint(0, 30)))
            return v, v
        if kind == "bytes" or kind == "fixed":
            v = rng.randbytes(schema["size"] if kind == "fixed" else rng.randint(0, 40))
            return v, "\\x" + v.hex()
        if kind == "enum":
            v = rng.choice(schema["symbols"])
            return v, v
        if kind == "uuid":
            v = uuid.UUID(bytes=rng.randbytes(16))
            return v, str(v)
        if kind == "decimal":
            digits = rng.randint(1, schema["precision"])
            v = decimal.Decimal(rng.randint(-10 ** digits + 1, 10 ** digits - 1)).scaleb(-schema["scale"])
            return v, v
        if kind == "date":
            v = datetime.date.fromordinal(rng.randint(1, 3652059))
            return v, v.isoformat()
        if kind.startswith("time-"):
            us = rng.randrange(86400000000) // (1000 if kind == "time-millis" else 1) * (1000 if kind == "time-millis" else 1)
            v = (EPOCH + datetime.timedelta(microseconds=us)).time()
            return v, v.isoformat("microseconds")
        if "timestamp" in kind:
            us = rng.randint(-62135596800000000, 253402300799999999)
            if kind.endswith("millis"):
                us -= us % 1000
            v = EPOCH + datetime.timedelta(microseconds=us)
            text = v.isoformat("T", "microseconds")
            return (v, text) if kind.startswith("local") else (v.replace(tzinfo=datetime.timezone.utc), text + "Z")
        if kind == "array":
            pairs = [self.value(schema["items"]) for _ in range(rng.choice([0, 1, 2, 5, 70]) if isinstance(schema["items"], str) else rng.randint(0, 3))]
            return [p[0] for p in pairs], [p[1] for p in pairs]
        if kind == "map":
            pairs = {rng.choice(NAMES) + str(i): self.value(schema["values"]) for i in range(rng.randint(0, 3))}
            return {k: p[0] for k, p in pairs.items()}, {k: p[1] for k, p in pairs.items()}
        pairs = {f["name"]: self.value(f["type"]) for f in schema["fields"]}
        return {k: p[0] for k, p in pairs.items()}, {k: p[1] for k, p in pairs.items()}

    def of_union(self, schema):
        branch = self.rng.choice(schema)
        v, j = self.value(branch)
        if isinstance(branch, dict) and branch["type"] == "record":
            return (branch["namespace"] + "." + branch["name"], v), j
        return v, j


SCALARS = {"boolean": ["boolean", "text"], "int": ["int", "bigint", "numeric", "float8", "text"],
           "long": ["bigint", "numeric", "text"], "float": ["real"], "double": ["float8"],
           "bytes": ["bytea"], "fixed": ["bytea"], "string": ["text", "varchar(40)"], "enum": ["text"],
           "uuid": ["uuid", "text"], "decimal": ["numeric", "text"], "date": ["date", "text"],
           "time-millis": ["time"], "time-micros": ["time"], "timestamp-millis": ["timestamptz", "timestamp"],
           "timestamp-micros": ["timestamptz", "timestamp"], "local-timestamp-millis": ["timestamp"],
           "local-timestamp-micros": ["timestamp"]}


def column_type(rng, schema):
    """A type of the server that takes all of a schema's values."""
    if isinstance(schema, list):
        rest = [s for s in schema if s != "null"]
        return column_type(rng, rest[0]) if len(rest) == 1 else "jsonb"
    kind = schema if isinstance(schema, str) else schema.get("logicalType") or schema["type"]
    if kind == "array":
        items = schema["items"]
        inner = column_type(rng, items)
        array = inner == "jsonb" or inner.endswith("[]") or items == "null"
        return "jsonb" if array else inner + "[]"
    return rng.choice(SCALARS.get(kind, ["jsonb"]))


def expected(column, kind):
    member = "want.j -> %s" % quote(column)
    if kind == "jsonb":
        return "nullif(%s, 'null')" % member
    if kind.endswith("[]"):
        return ("CASE WHEN jsonb_typeof(%s) = 'array' THEN ARRAY(SELECT x::%s FROM jsonb_array_elements_text(%s) "
                "WITH ORDINALITY AS x (x, n) ORDER BY n) END" % (member, kind[:-2], member))
    if kind == "timestamp":
        # a moment in UTC, whatever the session's zone
        return "(replace(want.j ->> %s, 'Z', ''))::timestamp" % quote(column)
    return "(want.j ->> %s)::%s" % (quote(column), kind)


def write(rng, schema, value):
    """The record by itself, with a byte more, and without its end."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, value)
    good = out.getvalue()
    return [good, good + b"\0"] + ([good[:rng.randrange(len(good))]] if good else [])


def make(rng):
    """A schema, its records' bytes, and what four of them are; fastavro does not know
    every value from a string, so some are refused."""
    while True:
        maker = Maker(rng)
        schema = maker.record(3)
        try:
            parsed = fastavro.parse_schema(json.loads(json.dumps(schema)))
            pairs = [maker.value(schema) for _ in range(4)]
            return schema, sum((write(rng, parsed, p[0]) for p in pairs), []), [p[1] for p in pairs]
        except ValueError:
            continue


def main():
    rng = random.Random(int(sys.argv[1]))
    decimal.getcontext().prec = 100
    for i in range(int(sys.argv[2])):
        schema, records, wants = make(rng)
        kinds = {f["name"]: column_type(rng, f["type"]) for f in schema["fields"]}
        pairs = [("whole", "want.j")] + [(c, expected(c, k)) for c, k in kinds.items()]
        differs = " UNION ALL ".join('SELECT %s, got."%s"::text, (%s)::text' % (quote(c), c, e) for c, e in pairs)
        rows = ", ".join("ROW(NULL, NULL, NULL, NULL, NULL, '\\x%s', NULL)::kafka_sink.record" % r.hex() for r in records)
        columns = ", ".join('"%s" %s' % item for item in kinds.items())
        print(f"CREATE TABLE t{i} (row_no serial, whole jsonb, {columns});")
        print(f"SELECT kafka_sink.create_sink('s{i}', target => 't{i}', format => 'avro', on_error => 'ignore', "
              f"columns => '{{\"row_no\": null, \"whole\": \"@value\"}}', value_schema => {quote(json.dumps(schema))}) \\g /dev/null")
        print(f"SELECT CASE WHEN r.consumed = {len(records)} AND r.applied = 4 AND r.ignored = {len(records) - 4} "
              f"THEN 'ok' ELSE 't{i}: ' || r::text END FROM kafka_sink.ingest('s{i}', ARRAY[{rows}]) r;")
        print(f"CREATE TEMP TABLE e{i} AS SELECT n, j::jsonb FROM "
              f"unnest(ARRAY[{', '.join(quote(dumps(w)) for w in wants)}]) WITH ORDINALITY AS e (j, n);")
        print(f"SELECT coalesce(string_agg(format('t{i}.%s: %s instead of %s', d.c, d.got, d.want), ' | '), 'ok') FROM "
              f"(SELECT *, rank() OVER (ORDER BY row_no) FROM t{i}) got JOIN e{i} want ON want.n = got.rank, "
              f"LATERAL ({differs}) d (c, got, want) WHERE d.got IS DISTINCT FROM d.want;")


if __name__ == "__main__":
    main()
